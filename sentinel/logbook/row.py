"""One line of the logbook's index: an incident in short."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from sentinel.model.ids import Instant, Seconds
from sentinel.model.incident import UNKNOWN, Stage

STAGES = {
    "detected": "seen",
    "diagnosed": "cause named",
    "paged": "page sent",
    "evicted": "node evicted",
    "new_step": "first new step",
    "resolved": "resolved",
}
"""Keys of `Incident.times` in their order, and what they are called in an entry."""


UNNAMED = "not diagnosed"
"""What the stage of the diagnosis is called where that was: nobody knows."""
OVER = "over"
"""Stage of an incident that is open no more, and of which no entry says how it ended."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the logbook's index. Times are seconds after `opened`; None: did not happen."""

    incident: str
    opened: Instant
    stage: str
    cause: str
    title: str
    where: str
    job: str
    times: dict[str, Seconds]
    steps_lost: int | None
    gpu_seconds_lost: float | None
    evicted: tuple[str, ...]
    suspects: tuple[tuple[str | None, int | None, int | None], ...]
    """(node, rank, gpu) of each."""
    words: str
    """What a search looks through besides the other fields."""
    others: tuple[str, ...] = ()
    """Its other causes, each with whom it blames."""
    again: tuple[Seconds, ...] = ()
    """Of each further break, how long it took until the job made a new step."""
    judged: tuple[str, ...] = ()
    """What people say of its diagnosis, each with who and why."""
    part_of: str = ""
    """The incident of what its nodes share with others, which tells the rest; empty for none."""
    refused: int = 0
    """How many actions a guard refused."""
    unseen: Seconds = 0.0
    """For how long its job had stood still before it was opened."""


def reached(times: Mapping[str, Seconds], cause: str) -> list[tuple[str, Seconds]]:
    """Give what each stage that an incident came to is called, and when that was, in their order."""
    called = STAGES if cause != UNKNOWN else {**STAGES, "diagnosed": UNNAMED}
    return [(words, times[name]) for name, words in called.items() if name in times]


def as_of(found: Row, now: Instant, opened: Collection[str]) -> Row:
    """Give a row as it was at a moment when these incidents were open.

    Whose end could not be written, or was in a journal that is gone, is `over`: nobody works on it any more.
    """
    is_over = found.stage != Stage.RESOLVED and found.opened < now and found.incident not in opened
    return replace(found, stage=OVER) if is_over else found
