"""The events that the controller has not yet acknowledged."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from sentinel.model.ids import Seconds
from sentinel.model.report import Event, ExitSeen, FindingSeen, RaisedSeen
from sentinel.redact import redacted

_KEEP = 10_000
"""Events kept while the controller is away; the oldest go first, and are counted."""
_PER_REPORT = 200
_AT_ONCE_S: Seconds = 1.0
"""What is told within this is told at once."""


@dataclass(slots=True)
class _Kept:
    event: Event
    release: Callable[[], None]
    since: Seconds
    sent: bool = False

    @property
    def told(self) -> Event:
        """The event, and how long ago it was by now."""
        if not isinstance(self.event, ExitSeen | RaisedSeen):
            return self.event
        age_s = self.event.age_s + time.monotonic() - self.since
        return replace(self.event, age_s=round(age_s, 3) if age_s > _AT_ONCE_S else 0.0)


class Spool:
    """Events in order, numbered from 1, each kept until its number is acknowledged.

    Of a burst are kept what was reported first, for it may have come before what followed it, and what was
    reported last. As long as that was not sent it keeps its number; what was sent is what an
    acknowledgement means.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.added = 0
        self._kept: dict[int, _Kept] = {}
        self._bursts: dict[str, list[int]] = {}
        """The numbers of what is kept of each burst, at most two."""

    def add(self, event: Event, release: Callable[[], None] = lambda: None) -> None:
        """Keep an event without secrets; `release` is called when it is acknowledged: its source may go."""
        event = redacted(event)
        burst = _burst(event)
        if burst and self._supersede(burst, event):
            return
        self.added += 1
        self._kept[self.added] = _Kept(event, release, time.monotonic())
        if burst:
            self._bursts.setdefault(burst, []).append(self.added)
        if len(self._kept) > _KEEP:
            self._drop(next(iter(self._kept)))
            self.dropped += 1

    def _supersede(self, burst: str, event: Event) -> bool:
        """Put an event in the place of one that nobody has heard; let go of one that says less."""
        numbers = self._bursts.get(burst, [])
        if numbers and not self._kept[numbers[-1]].sent:
            self._kept[numbers[-1]].event = event
            return True
        for number in numbers[1:]:
            self._drop(number)
        return False

    def _drop(self, number: int) -> None:
        kept = self._kept.pop(number)
        if burst := _burst(kept.event):
            self._bursts[burst].remove(number)
            if not self._bursts[burst]:
                del self._bursts[burst]
        kept.release()

    def acknowledge(self, number: int) -> None:
        """Forget every event up to this number."""
        for each in list(itertools.takewhile(lambda kept: kept <= number, self._kept)):
            self._drop(each)

    def pending(self) -> tuple[tuple[int, Event], ...]:
        """The oldest events that are not acknowledged, as many as fit a report, which now are told."""
        pending = [*itertools.islice(self._kept.items(), _PER_REPORT)]
        for _, kept in pending:
            kept.sent = True
        return tuple((number, kept.told) for number, kept in pending)

    def __len__(self) -> int:
        return len(self._kept)


def _burst(event: Event) -> str:
    return event.finding.burst if isinstance(event, FindingSeen) else ""
