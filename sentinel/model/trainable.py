"""The small protocol in which the gang and a trainer meet, loaded as `module:name`."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from os import PathLike
from typing import Any, Protocol

from sentinel.model.ids import Seconds


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rank stands in its generation."""

    rank: int
    world: int
    gpu: int
    generation: int
    backend: str
    """`gloo` or `nccl`"""
    key: bytes = field(default=b"", repr=False)
    """The job's own, in all its generations: to seal what is left where others can write to."""


class ReplayWhy(StrEnum):
    """Why a step was computed again before it was applied."""

    NOT_FINITE = "not-finite"
    """A loss or a gradient is not finite."""
    SPIKE = "spike"
    """One is far above what was usual."""
    ROTATION = "rotation"
    """It was its turn."""


class ReplayResult(StrEnum):
    """What came of it."""

    AGREED = "agreed"
    """All devices gave the same, to the bit: what looks wrong is the data's or the model's."""
    NAMED = "named"
    """They did not, and it is told whose computes wrong."""
    UNCLEAR = "unclear"
    """They did not, and nothing tells whose."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A step that was computed again, by all ranks and on each other's batches, to compare the devices."""

    why: ReplayWhy
    result: ReplayResult
    ranks: Sequence[int] = ()
    """Whose devices computed wrong: of a named one only, and the same on all ranks."""
    said: str = ""
    """In one line, who differed from whom."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """One completed training step of one rank."""

    step: int
    loss: float
    """The global mean loss, identical on all ranks."""
    local_losses: Sequence[float]
    """Every rank's own loss in rank order, so that a NaN names its rank."""
    outside_s: Seconds
    """Time this rank spent outside collectives."""
    arrival: float
    """When this rank entered the step's closing collective, epoch seconds of its node."""
    votes: Sequence[int]
    """Every rank's `vote` of this step in rank order."""
    last: bool = False
    """There is nothing left to train, on no rank: each ends its process with 0 when this step is kept."""
    replayed: Replayed | None = None
    """Of a trainer that compares its devices (see `step`)."""


@dataclass(frozen=True, slots=True)
class SaveReport:
    """What became of the durable checkpoints since `setup`."""

    committed: int = -1
    """Newest step whose checkpoint committed, -1 for none."""
    error: str = ""
    """Why the last save did not commit, in one line; empty when it did, or when none has ended."""
    full: bool = False
    """The volume had no room for it."""


class Beats(Protocol):
    """Where the trainer says what it is doing; a heartbeat writer, or nothing."""

    def phase(self, phase: str) -> AbstractContextManager[None]:
        """Enter a phase of `sentinel.phases.PHASES`, such as `data`, `compute`, `collective` or `save`.

        Between two steps `with beats.phase("evaluate"):` names an evaluation, or what else takes long there.
        """

    def enqueue(self) -> None:
        """A collective is entered."""

    def complete(self) -> None:
        """The collective entered last has returned."""


class Trainable(Protocol):
    """What a training program must be to be run by the gang. One object per process."""

    def warm(self, gpu: int) -> None:
        """One dry step alone, so that a standby joins fast. No process group exists.

        `gpu` is the likeliest place of this process (-1 where none is known). Ranks may be using it: what
        stays in its memory is theirs no more.
        """

    def setup(self, place: Place, beats: Beats) -> None:
        """Build model and optimizer on the current default process group, from the seed."""

    def step(self, step: int, vote: int) -> StepResult:
        """Train on batch number `step`. `vote` travels with the step's closing collective.

        Raises `torch.distributed` errors when a peer is gone. Changes nothing when the loss is not finite.

        To find devices that compute wrong is up to the trainer, and needs a step that is a function of its
        inputs to the bit: `sentinel.trainer.replay` decides when to replay one and who is to be named, and
        `StepResult.replayed` tells. A step with a named rank changes nothing: the next generation, without
        that rank's node, trains it anew. A trainer that never replays leaves it None, and nothing else
        changes.
        """

    def state(self) -> Mapping[str, Any]:
        """Give this rank's training state: a flat mapping of name → CPU-readable tensor or plain value."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` of the same rank and world size gave.

        It came from this node's memory or from one that knows the job's key, and its checksum fits.
        """

    def save(self, directory: PathLike[str], step: int) -> None:
        """Start a durable checkpoint without blocking the next step; it commits when complete."""

    def save_report(self) -> SaveReport:
        """What became of the saves; cheap, asked after every step."""

    def finish_save(self, seconds: Seconds) -> bool:
        """Wait for the save that runs, if any does; false when it still runs after so long.

        All ranks wait, for who has waited begins the next one, whoever was still saving at the last step.
        """

    def latest(self, directory: PathLike[str], above: int = -1, since: int = -1) -> tuple[int, Sequence[str]]:
        """Load the newest checkpoint that verifies, of any world size, on all ranks together.

        Nobody has looked at what lies in `directory`, which others may be able to write to: verify it before
        anything in it is unpickled (`Place.key`).
        Only those of a step above `above` count, written by generation `since` or a later one; of two, the
        later generation's is the newer. Every recovery asks, so that there is none must be cheap to tell.
        With `above` -1 there is no snapshot to go back to: what can't be read is raised, not passed over.
        Returns (its step or -1, one line per damaged checkpoint that was passed over).
        """

    def skip(self, steps: Sequence[int]) -> None:
        """Leave these batches out from now on: their steps train on nothing."""

    def teardown(self) -> None:
        """Drop what belongs to the process group; warm memory stays."""
