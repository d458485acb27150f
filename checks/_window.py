"""A device over the last while: by how much its counters rose, and in how many minutes something was seen.

A window lies in the check that owns it, so in the prober. After the prober's restart it is empty, and nothing
is known until the second reading: that is no alarm, and no fault that was seen before counts twice.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import NamedTuple

from sentinel.model.ids import Seconds

Clock = Callable[[], Seconds]


class Rise(NamedTuple):
    """By how much a counter rose, and within which time."""

    by: int
    seconds: Seconds

    @property
    def per_second(self) -> float:
        """Its mean rate."""
        return self.by / self.seconds

    @property
    def per_minute(self) -> float:
        """Its mean rate."""
        return self.by * 60 / self.seconds


Readings = deque[tuple[Seconds, int]]


class Window:
    """Readings of a device's counters of the last `span`."""

    def __init__(self, span: Seconds, clock: Clock = time.monotonic) -> None:
        self._span = span
        self._clock = clock
        self._devices: dict[str, dict[Hashable, Readings]] = {}

    def rises(self, device: str, counters: Mapping[Hashable, int | None]) -> dict[Hashable, Rise]:
        """Take a reading of all counters of a device; give by how much each rose since it is known.

        One that went back (the driver was loaded again), or is not there now, is forgotten: it begins anew.
        """
        now, before = self._clock(), self._devices.get(device, {})
        kept = {
            name: self._kept(before.get(name, deque()), now, value)
            for name, value in counters.items()
            if value is not None
        }
        self._devices[device] = kept
        return {name: _rise(readings) for name, readings in kept.items() if readings[0][0] < now}

    def _kept(self, readings: Readings, now: Seconds, value: int) -> Readings:
        if readings and value < readings[-1][1]:
            readings.clear()
        readings.append((now, value))
        while len(readings) > 1 and readings[1][0] <= now - self._span:
            readings.popleft()
        return readings


def _rise(readings: Readings) -> Rise:
    (then, before), (now, value) = readings[0], readings[-1]
    return Rise(value - before, now - then)


MINUTE_S: Seconds = 60.0


class Minutes:
    """In how many of the last `span` minutes a device did something: a storm within one counts once."""

    def __init__(self, span: int, clock: Clock = time.monotonic) -> None:
        self._span = span
        self._clock = clock
        self._devices: dict[str, dict[Hashable, frozenset[int]]] = {}

    def count(self, device: str, seen: Collection[Hashable]) -> dict[Hashable, int]:
        """Take what is seen of a device now; give the minutes of each thing that was seen at all."""
        minute = int(self._clock() // MINUTE_S)
        known = self._devices.get(device, {})
        kept = {
            name: frozenset(
                each
                for each in known.get(name, frozenset()) | ({minute} if name in seen else set())
                if each > minute - self._span
            )
            for name in {*known, *seen}
        }
        self._devices[device] = {name: minutes for name, minutes in kept.items() if minutes}
        return {name: len(minutes) for name, minutes in self._devices[device].items()}
