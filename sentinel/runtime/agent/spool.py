"""The events that the controller has not yet acknowledged."""

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sentinel.model.report import Event

_KEEP = 10_000
"""Events kept while the controller is away; the oldest go first, and are counted."""
_PER_REPORT = 200


@dataclass(frozen=True, slots=True)
class _Kept:
    number: int
    event: Event
    release: Callable[[], None]


class Spool:
    """Events in order, numbered from 1, each kept until its number is acknowledged."""

    def __init__(self) -> None:
        self.dropped = 0
        self.added = 0
        self._kept: deque[_Kept] = deque()

    def add(self, event: Event, release: Callable[[], None] = lambda: None) -> None:
        """Keep an event; `release` is called when it is acknowledged: its source may go."""
        self.added += 1
        self._kept.append(_Kept(self.added, event, release))
        if len(self._kept) > _KEEP:
            self._kept.popleft().release()
            self.dropped += 1

    def acknowledge(self, number: int) -> None:
        """Forget every event up to this number."""
        while self._kept and self._kept[0].number <= number:
            self._kept.popleft().release()

    def pending(self) -> tuple[tuple[int, Event], ...]:
        """The oldest events that are not acknowledged, as many as fit a report."""
        return tuple((kept.number, kept.event) for kept in itertools.islice(self._kept, _PER_REPORT))

    def __len__(self) -> int:
        return len(self._kept)
