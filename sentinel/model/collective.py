"""What a collective check is: it measures on several nodes together, and its judge sees them all."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

from sentinel.model.finding import Finding
from sentinel.model.ids import Address, Count, Instant, NodeId, NodeName, Port, Rank, Seconds, Span

NO_ANSWER = "no answer"
"""The error of a member that did not answer in time: it is asked no more."""
PREPARE_S: Seconds = 60.0
"""So long at most members get ready, before the clock of their first round starts: torch alone takes a second
on an idle machine, and half a minute where others keep its processors busy or its disk is a slow one."""
Members: TypeAlias = tuple[NodeId, ...]
"""Nodes that measure together."""
ABOUT = "about|"
"""Begins the name of a value that is a word about the node, and no measurement: `about|driver|580.65.06`."""


def parted(values: Mapping[str, float]) -> tuple[dict[str, float], dict[str, str]]:
    """Give what was measured, and beside it the words that say under which circumstances."""
    words = (name.removeprefix(ABOUT).partition("|") for name in values if name.startswith(ABOUT))
    measured = {name: value for name, value in values.items() if not name.startswith(ABOUT)}
    return measured, {kind: word for kind, _, word in words}


class Meeting(Struct, frozen=True):
    """Where the members of one measurement meet, and which of them this node is."""

    members: tuple[NodeName, ...]
    """In the order of their ranks."""
    addresses: tuple[Address, ...]
    """Theirs, in the same order; the first member listens at its own."""
    port: Port
    rank: Rank
    """Of this node."""
    deadline: Span
    """Whoever has not answered after so many seconds is ended."""


class MemberSample(Struct, frozen=True, gc=False):
    """What one node measured with its fellow members."""

    node: NodeId
    members: Members
    values: Mapping[str, float] = {}
    """By name, with units in it; empty if nothing was measured."""
    error: str = ""
    """Why nothing was; that accuses nobody by itself."""
    round: Count = 0
    """In which of the probe's rounds, from 0."""
    rack: str = ""
    """What the node reaches others through: its switch, or else its rack; empty where no topology says."""
    busy: bool = False
    """Ranks sit on the node, so that a job's traffic may take a share meanwhile."""
    about: Mapping[str, str] = {}
    """What it was measured with, such as `driver`: figures of others may be none to compare with."""


class MemberFinding(Struct, frozen=True, gc=False):
    """What a collective check's judge found, and on which node."""

    node: NodeId
    finding: Finding


class Figure(Struct, frozen=True, gc=False):
    """A rate that a node measured beside no job, comparable with that of other nodes: more is better."""

    node: NodeId
    component: str
    """What of the node: `gpu-3`, `link`."""
    kind: str
    """Of which hardware: only figures of one kind are compared."""
    what: str
    """With its unit: `bf16_tflops`."""
    value: float
    under: str = ""
    """With which driver and libraries: where these differ, they may be why figures do."""


class Standing(StrEnum):
    """How a figure stands beside the fleet's."""

    USUAL = "usual"
    """Within what others have, or better."""
    BEHIND = "behind"
    """Far below it, and this node alone."""
    SHARED = "shared"
    """Far below what the fleet had, as the other nodes that were measured since are."""
    UNDER_ANOTHER = "under another"
    """Far below it, but too few others have this driver and these libraries: they may be why."""
    UNKNOWN = "unknown"
    """Too few others are known to say anything."""


class Held(Struct, frozen=True, gc=False):
    """A figure, held against what other nodes of its kind have measured before."""

    figure: Figure
    standing: Standing
    usual: float = 0.0
    """Median of these nodes; 0 while nobody knows."""
    spread: float = 0.0
    """Median absolute deviation from it."""
    nodes: int = 0
    """How many other nodes that is of; where nothing is said, how many are known."""
    was: float = 0.0
    """What was usual before the fleet as a whole changed; 0 if it has not."""
    changed: Instant = 0.0
    """When that was seen."""


Round: TypeAlias = Sequence[Members]
"""Who measures with whom at the same time; no node is in two of them."""


def tournament(nodes: Sequence[NodeId]) -> Sequence[Round]:
    """Pair all nodes in rounds, so that each meets each other one once and none two at a time.

    One stays where it is and the others go round it by a place each time.
    """
    seats: list[NodeId | None] = [*nodes, *[None] * (len(nodes) % 2)]
    rounds = []
    for _ in range(len(seats) - 1):
        opposite = zip(seats[: len(seats) // 2], reversed(seats), strict=False)
        rounds.append([(one, other) for one, other in opposite if one is not None and other is not None])
        seats = [seats[0], seats[-1], *seats[1:-1]]
    return rounds


def no_figures(samples: Sequence[MemberSample]) -> Iterable[Figure]:  # noqa: ARG001 (a `figures`)
    """Give none: nothing of it can be compared between probes."""
    return ()


def all_pairs(nodes: Sequence[NodeId], samples: Sequence[MemberSample]) -> Round:
    """Give those of the next tournament round that have not met, until every two have."""
    met = {frozenset(sample.members) for sample in samples}
    left = ([pair for pair in together if frozenset(pair) not in met] for together in tournament(nodes))
    return next(filter(None, left), [])


def nothing() -> None:
    """Load nothing: what measures is ready as it is."""


@dataclass(frozen=True, slots=True)
class CollectiveCheck:
    """A check of several nodes together, run only when asked. `checks/<name>.py` defines it as `CHECK`."""

    name: str
    deadline: Seconds
    """Of one measurement: the child that has not answered by then is killed, and gave no answer."""
    measure: Callable[[Meeting], Mapping[str, float]]
    """Runs on every member at once; may hang, may raise."""
    judge: Callable[[Sequence[MemberSample]], Iterable[MemberFinding]]
    """Pure: sees all samples of all rounds that fitted into the probe's deadline."""
    causes: tuple[str, ...]
    """Every cause that its findings can raise; each has a runbook."""
    plan: Callable[[Sequence[NodeId], Sequence[MemberSample]], Round] = all_pairs
    """Pure: the next round of nodes that answer, given all samples so far; an empty one ends the probe.

    Nodes come in the order of the job's ranks, and idle ones after them.
    """
    figures: Callable[[Sequence[MemberSample]], Iterable[Figure]] = no_figures
    """Pure: what of the samples the fleet's baseline is made of; nothing that was measured beside a job."""
    prepare: Callable[[], None] = nothing
    """Loads what `measure` needs, on every member by itself, within `PREPARE_S`."""
    behind: str = ""
    """Code of the finding about a figure that is far below the fleet's; empty if that is only told."""
