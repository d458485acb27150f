"""What takes part in the comparison: one trial in, one measurement out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Fault = Literal["SIGKILL", "SIGSTOP"]

WORLD = 2
"""Ranks of every trial, so that two cores are enough."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One fault to survive. The same seed means the same rank and moment for every contender."""

    fault: Fault
    seed: int
    timeout_s: float | None
    """Collective timeout, equal for all; None: every timeout is the contender's own default."""
    cap_s: float
    """Seconds after the injection at which the wait is given up."""
    save_every: int
    """Steps from one checkpoint to the next."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What became of one trial."""

    seconds: float | None
    """From the injection to the end of the first step never completed before; None: not within the cap."""
    steps_lost: int | None
    """Completed steps that had to be trained again."""
    pids_kept: int
    """Ranks that go on in the process they had before the fault."""
    note: str = ""
    """Why there is no number, in the contender's own last words where it has any."""


class Contender(Protocol):
    """Something that restarts training. Its ranks append to the step log in `folder`.

    Whatever it starts must descend from this process: after each trial every descendant is killed.
    """

    name: str

    def prepare(self) -> str:
        """Install what is missing; returns the versions that take part, for the table."""

    def run(self, trial: Trial, folder: Path) -> Measurement:
        """Train, suffer the fault, and say how long it took. `folder` is empty and goes away afterwards."""
