"""What one more runbook would change in the logbook: which incidents it would name, and which wrongly."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

from sentinel.drafting.library import Case, only_names
from sentinel.drafting.traits import has
from sentinel.model.ids import Cause, Instant
from sentinel.model.judgement import RIGHT
from sentinel.model.runbook import Runbook


class Judged(StrEnum):
    """Whether an incident is renamed rightly, as far as anybody can tell."""

    RIGHTLY = "rightly"
    """Nothing better was known of it than a symptom, or people say that its cause was another one."""
    WRONGLY = "wrongly"
    """It had a cause that explains it, or people say that its cause was right."""


class Renamed(Struct, frozen=True):
    """One incident that would have another cause."""

    incident: str
    at: Instant
    was: str
    now: str
    judged: Judged
    why: str


def score(book: Runbook, every: Sequence[Case], books: Mapping[Cause, Runbook]) -> Iterator[Renamed]:
    """Decide all incidents again that it could match, with it and without it; gives those that differ."""
    more = {**books, book.cause: book}
    for case in every:
        if not any(has(case.told, match) for match in book.matches):
            continue
        was, now = case.named_by(books), case.named_by(more)
        if was != now:
            judged, why = _judge(case, was, books)
            yield Renamed(case.id, case.incident.opened, was, now, judged, why)


def _judge(case: Case, was: Cause, books: Mapping[Cause, Runbook]) -> tuple[Judged, str]:
    if case.judged == RIGHT:
        return Judged.WRONGLY, f"people say that {case.cause} was right"
    if case.judged:
        return Judged.RIGHTLY, f"people say that {case.cause} was wrong"
    if only_names(was, books):
        return Judged.RIGHTLY, f"{was} names no more than what was seen"
    return Judged.WRONGLY, f"{was} explains it"
