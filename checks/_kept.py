"""What a check remembers beyond its prober, in a small file that counts until the machine starts again."""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

HOUR_S = 3600.0
"""The longest window that any limit looks at."""
_GRAIN_S = 10.0
"""Growth within this is one entry: a counter that never rests has 360 of them."""
GAP_S = 120.0
"""After so long without a look nobody knows when a counter grew: the agent was off, as for maintenance."""
_TOUCH_S = 30.0
_LARGEST = 1 << 20
_BOOT = Path("/proc/sys/kernel/random/boot_id")
MINUTE_S = 60.0
Clock = Callable[[], float]
"""Gives seconds of the monotonic clock."""
T = TypeVar("T", bound=msgspec.Struct)


class Counter(msgspec.Struct):
    """A counter that grows while the machine runs, and when it grew within the last hour."""

    last: int | None
    """None where nobody knows since when it grew."""
    grown: list[tuple[float, int]] = []
    """(seconds of the monotonic clock, by how much), oldest first."""

    def take(self, value: int, now: float) -> int:
        """Take its newest value; gives by how much it grew. One that went back was reset, and counts anew."""
        growth, self.last = max(0, value - (value if self.last is None else self.last)), value
        self.grown = [each for each in self.grown if each[0] > now - HOUR_S]
        if growth and self.grown and self.grown[-1][0] > now - _GRAIN_S:
            at, before = self.grown[-1]
            self.grown[-1] = (at, before + growth)
        elif growth:
            self.grown.append((now, growth))
        return growth

    def within(self, window_s: float, now: float) -> int:
        """Say by how much it grew within the last seconds."""
        return sum(growth for at, growth in self.grown if at > now - window_s)


def counted(counters: dict[str, Counter], name: str, value: int, now: float) -> tuple[Counter, int]:
    """Take a counter's value; gives it and its growth since the last look, which is 0 at the first one."""
    known = counters.setdefault(name, Counter(value))
    return known, known.take(value, now)


class Rise(NamedTuple):
    """By how much a counter rose, and within how many seconds."""

    by: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Its mean rate."""
        return self.by / self.seconds

    @property
    def per_minute(self) -> float:
        """Its mean rate."""
        return self.by * MINUTE_S / self.seconds


Readings = list[tuple[float, int]]
"""(seconds of the monotonic clock, value), oldest first."""


def rises(
    window: dict[str, Readings], counters: Mapping[str, int | None], span_s: float, now: float
) -> dict[str, Rise]:
    """Take a reading of all counters of a device; give by how much each rose within `span_s`, if known.

    A mean rate is what they are for, so the reading before the span counts. A counter that went back (the
    driver was loaded again), or is not there now, begins anew.
    """
    before = dict(window)
    window.clear()
    window |= {
        name: _taken(before.get(name, []), value, span_s, now)
        for name, value in counters.items()
        if value is not None
    }
    return {name: _rise(readings) for name, readings in window.items() if readings[0][0] < now}


def _taken(readings: Readings, value: int, span_s: float, now: float) -> Readings:
    """Add a reading, and leave out what no rate needs: of a time of rest all but its begin and its end."""
    if readings and (value < readings[-1][1] or now < readings[-1][0]):
        readings = []
    rests = len(readings) > 1 and readings[-2][1] == readings[-1][1] == value
    kept = [*(readings[:-1] if rests else readings), (now, value)]
    begins = now - span_s
    while len(kept) > 1 and kept[1][0] <= begins:
        del kept[0]
    if len(kept) > 1 and kept[0][0] < begins and kept[0][1] == kept[1][1]:
        kept[0] = (begins, kept[0][1])
    return kept


def _rise(readings: Readings) -> Rise:
    (then, before), (now, value) = readings[0], readings[-1]
    return Rise(value - before, now - then)


def minutes(seen: dict[str, list[int]], things: Collection[str], span: int, now: float) -> dict[str, int]:
    """Take what is seen now; give in how many of the last `span` minutes each was: a storm counts once."""
    minute = int(now // MINUTE_S)
    for name in {*seen, *things}:
        of = {*seen.get(name, ()), *([minute] if name in things else ())}
        seen[name] = sorted(each for each in of if minute - span < each <= minute)
        if not seen[name]:
            del seen[name]
    return {name: len(of) for name, of in seen.items()}


@contextmanager
def remembered(folder: str, name: str, kind: type[T], *, over_gaps: bool = True) -> Iterator[T]:
    """Give what a check remembers, to be changed in place; what it changed is written.

    A new one where there is no folder, or nothing readable of this boot in it: then nothing is known yet, and
    nothing follows from it. Where it can't be written the check goes on without. What a counter grew by while
    nobody looked is not known to be new: its file, which is touched while somebody does, says so. Without
    `over_gaps` nothing else is known after such a pause, either: a device may have been reset or exchanged.
    """
    path = Path(folder, f"{name}.json") if folder else None
    before = _read(path) if path else b""
    memory = _decoded(before, kind)
    unseen_s = _age(path) if path else 0.0
    if unseen_s > GAP_S:
        memory = memory if over_gaps else kind()
        for counter in getattr(memory, "counters", {}).values():
            counter.last = None
    yield memory
    after = _boot() + b"\n" + msgspec.json.encode(memory)
    if path and after != before:
        with suppress(OSError):
            _write(path, after)
    elif path and unseen_s > _TOUCH_S:
        with suppress(OSError):
            os.utime(path)


def _age(path: Path) -> float:
    """Say for how long nobody has looked, in seconds of the clock on the wall; one that was set is a gap."""
    try:
        return abs(time.time() - path.stat().st_mtime)
    except OSError:
        return 0.0


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except OSError:
        return b""


def _decoded(data: bytes, kind: type[T]) -> T:
    boot, _, plain = data.partition(b"\n")
    try:
        return _decoder(kind).decode(plain) if boot == _boot() else kind()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return kind()


def _write(path: Path, data: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    try:
        new.write_bytes(data)
    except FileNotFoundError:
        path.parent.mkdir(exist_ok=True)
        new.write_bytes(data)
    new.replace(path)


@cache
def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    return msgspec.json.Decoder(kind)


@cache
def _boot() -> bytes:
    try:
        return _BOOT.read_bytes().strip()
    except OSError:
        return b"unknown"
