"""What statistics are counted from besides the index: spans of time and single events of the journal."""

from collections.abc import Iterable
from typing import TypeAlias

from msgspec.structs import replace

from sentinel.logbook.judgement import Judged
from sentinel.model.ids import Count, IncidentId, JobId, NodeId
from sentinel.model.ids import Span as Moment
from sentinel.model.noun import Noun

TRAINING = "training"
"""What a job's time goes into while it makes new steps; all other is lost to a word or an incident."""


class Watched(Noun, frozen=True):
    """For this time so many GPUs were on nodes that reported."""

    begin: Moment
    end: Moment
    gpus: Count


class Spent(Noun, frozen=True):
    """For this time a job trained, or lost it to something."""

    begin: Moment
    end: Moment
    job: JobId
    on: str
    """`training`, a word of `model.idleness`, or the id of the incident that kept it from training."""
    ranks: Count


class Evicted(Noun, frozen=True):
    """A node was evicted."""

    at: Moment
    node: NodeId
    incident: IncidentId


class Proved(Noun, frozen=True):
    """A node that an incident had taken out has shown, or not, that it is well."""

    at: Moment
    node: NodeId
    incident: IncidentId
    result: str
    """`passed | failed | could not be run`"""
    repairs: tuple[str, ...] = ()
    """What was tried on it before: who passes after one may have been ill."""
    said: str = ""


Span: TypeAlias = Watched | Spent
Entry: TypeAlias = Span | Evicted | Proved | Judged


def merged(entries: Iterable[Entry]) -> list[Entry]:
    """Join spans that go on where a like one ended; the order stays that of their beginnings."""
    whole: list[Entry] = []
    newest: dict[str, int] = {}
    """Where the newest span of GPUs (no name) and of each job is."""
    for each in entries:
        if isinstance(each, Watched | Spent):
            of = each.job if isinstance(each, Spent) else ""
            before = whole[newest[of]] if of in newest else None
            if isinstance(before, Watched | Spent) and _goes_on(before, each):
                whole[newest[of]] = replace(before, end=each.end)
                continue
            newest[of] = len(whole)
        whole.append(each)
    return whole


def _goes_on(before: Span, after: Span) -> bool:
    return before.end == after.begin and replace(before, begin=0.0, end=0.0) == replace(
        after, begin=0.0, end=0.0
    )
