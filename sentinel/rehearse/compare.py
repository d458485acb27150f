"""What would be decided differently: two tellings of the past, incident by incident."""

from collections.abc import Iterator

from msgspec import Struct

from sentinel.core.page.words import places
from sentinel.model.action import Evict, Page, Refusal, Resume, StopJob
from sentinel.model.counted import counted
from sentinel.model.ids import Instant, Seconds
from sentinel.model.incident import Incident
from sentinel.rehearse.history import Name, Past

SAME_S: Seconds = 1.5
"""Incidents that were opened within this are about the same event."""


class Decided(Struct, frozen=True):
    """What was, or would be, decided about one incident."""

    cause: str
    where: str
    evicted: list[str]
    stopped: list[str]
    resumes: int
    refused: list[str]
    paged: bool

    def __str__(self) -> str:
        return ", ".join(self._words())

    def _words(self) -> Iterator[str]:
        yield f"{self.cause or 'not diagnosed'}{f' at {self.where}' if self.where else ''}"
        if self.evicted:
            yield f"evicted {' '.join(self.evicted)}"
        if self.stopped:
            yield f"stopped {' '.join(self.stopped)}"
        if self.resumes:
            yield f"resumed {counted(self.resumes, 'time')}"
        yield from (f"not done: {refused}" for refused in self.refused)
        yield "paged" if self.paged else "nobody paged"


class Pair(Struct, frozen=True):
    """One event, as it was decided then and as it would be now; None where it made no incident."""

    at: Instant
    then: Decided | None
    now: Decided | None

    @property
    def differs(self) -> bool:
        """Whether anything that people or nodes would have felt is different."""
        return self.then != self.now


def compare(then: Past, now: Past, since: Instant) -> list[Pair]:
    """Pair the incidents of two tellings by when they were opened, oldest first."""
    left, pairs = _by_time(now, since), list[Pair]()
    for name in _by_time(then, since):
        incident = then.incidents[name]
        near = {each: _distance(now.incidents[each], incident) for each in left}
        same = min(near, key=near.__getitem__, default=None)
        if same is not None and near[same][1] <= SAME_S:
            left.remove(same)
        else:
            same = None
        pairs.append(Pair(incident.opened, _decided(then, name), same and _decided(now, same)))
    pairs += [Pair(now.incidents[name].opened, None, _decided(now, name)) for name in left]
    return sorted(pairs, key=lambda pair: pair.at)


def _distance(one: Incident, other: Incident) -> tuple[bool, Seconds]:
    """Order by nearness in time; among those that are near the same job's come first."""
    apart = abs(one.opened - other.opened)
    return one.job != other.job if apart <= SAME_S else True, apart


def _by_time(past: Past, since: Instant) -> list[Name]:
    late = (name for name, incident in past.incidents.items() if incident.opened >= since)
    return sorted(late, key=lambda name: past.incidents[name].opened)


def _decided(past: Past, name: Name) -> Decided:
    incident, actions = past.incidents[name], past.actions[name]
    found, refused = incident.diagnosis, [action for action in actions if isinstance(action, Refusal)]
    return Decided(
        cause=found.cause if found else "",
        where=places(found) if found else "",
        evicted=sorted({str(action.node) for action in actions if isinstance(action, Evict)}),
        stopped=sorted({str(action.job) for action in actions if isinstance(action, StopJob)}),
        resumes=sum(isinstance(action, Resume) for action in actions),
        refused=sorted({f"{action.wanted} ({action.reason})" for action in refused}),
        paged=any(isinstance(action, Page) for action in actions),
    )
