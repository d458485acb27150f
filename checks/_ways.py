"""Ways between two nodes, and how far each falls behind what its likes give."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median_high, median_low
from typing import NamedTuple, TypeAlias

from sentinel.checks._reduce import over_one_stack
from sentinel.model.collective import MemberSample
from sentinel.model.ids import NodeId

Pair: TypeAlias = tuple[NodeId, NodeId]
"""Two nodes, in the order of their names."""

FLOOR = math.log(1.25)
"""A way at four fifths of the others is none that training waits for: nodes at 70% are to be found."""
NOTICED_MS = 20.0
"""A shorter way is none to speak of, however much shorter the others are: a busy processor takes as long."""
NORMAL = 4.0
"""Where no topology says which nodes are in one rack, and nothing measured what a way between racks gives.

Between racks a fabric often gives a half or a third of what it gives within one: that is no fault.
"""
ENOUGH = 8
"""Ways of one kind in one round whose median can be relied on, if one node among them is slow."""
FEW = 32
"""Of fewer ways the upper quartile is what they should give."""
ROUNDS = 3
"""In so many rounds many nodes have met near and far ones."""


FEW_NODES = 17
"""So few meet every other one; more meet near and far ones by turns."""
FAR = frozenset({2, 5, 9, 13, 17})
"""Rounds of many nodes in which all go between racks: only uplinks that are full show that they are slow."""


class Way(NamedTuple):
    """What two nodes measured once: the better of what both ends say, for both have to say that it is bad."""

    pair: Pair
    mb_per_s: float
    ms: float
    round: int
    racks: tuple[str, str]
    crosses: bool
    """It is known to go from one rack to another."""
    busy: int
    """On how many of the two ends ranks sit."""

    def __str__(self) -> str:
        return f"{self.mb_per_s:.3g} MB/s and {self.ms:.3g} ms"


class Lag(NamedTuple):
    """A way, and how far it falls behind its likes."""

    pair: Pair
    way: Way
    behind: float
    """Natural logarithm of how many times slower it is; 0 or less if it is not."""
    tells: bool
    """Its likes give all that nodes can: where all share a full uplink, a slow node is as good as others."""


class Fabric(NamedTuple):
    """All lags of a probe."""

    lags: Sequence[Lag]
    usual: Way
    """The median of all, as what others have."""


class _Level(NamedTuple):
    value: float
    is_alike: bool
    """It is of ways of the same kind, as many as can be relied on."""


def fabric_of(ways: Sequence[Way], *, is_one_rack: bool = False) -> Fabric:
    """Compare ways, one at least, with their likes.

    `is_one_rack`: where nobody knows the racks, take ways for those of one.
    """
    kinds = [_kinds(way) for way in ways]
    rates = _levels(kinds, [way.mb_per_s for way in ways])
    delays = _levels(kinds, [1 / way.ms for way in ways])
    best = max(rate for rate, _ in rates)
    lowest = best if is_one_rack else _lowest(kinds, rates)
    tells = best * math.exp(-FLOOR)
    lags = [
        Lag(
            way.pair,
            way,
            _behind(way, rate, delay, lowest),
            rate.value >= tells or not (is_one_rack or all(way.racks)),
        )
        for way, rate, delay in zip(ways, rates, delays, strict=True)
    ]
    return Fabric(lags, usual(ways))


def _behind(way: Way, rate: _Level, delay: _Level, lowest: float) -> float:
    late = math.log(way.ms * delay.value) if way.ms > NOTICED_MS else 0.0
    if not rate.is_alike:
        return max(math.log(rate.value / way.mb_per_s), late) - math.log(NORMAL)
    if not all(way.racks):
        rate = rate._replace(value=min(rate.value, lowest))
    return max(math.log(rate.value / way.mb_per_s), late)


def usual(ways: Sequence[Way]) -> Way:
    """Give what most of some ways have."""
    speed, ms = median_low(way.mb_per_s for way in ways), median_high(way.ms for way in ways)
    return ways[0]._replace(mb_per_s=speed, ms=ms)


def ways_of(samples: Iterable[MemberSample]) -> list[Way]:
    """Give what both ends measured through the same stack as most; the rest says nothing."""
    halves: dict[tuple[int, Pair], MemberSample] = {}
    ways = []
    for each in over_one_stack(samples):
        if len(each.members) != 2 or not _is_measured(each):
            continue
        one, other = sorted(each.members)
        first = halves.setdefault((each.round, (one, other)), each)
        if first.node != each.node:
            ways.append(_way((one, other), first, each))
    return ways


def _is_measured(sample: MemberSample) -> bool:
    return sample.values.get("mb_per_s", 0.0) > 0.0 and sample.values.get("ms", 0.0) > 0.0


def _way(pair: Pair, first: MemberSample, second: MemberSample) -> Way:
    one, other = (first, second) if first.node == pair[0] else (second, first)
    speed = max(one.values["mb_per_s"], other.values["mb_per_s"])
    ms = min(one.values["ms"], other.values["ms"])
    racks, busy = (one.rack, other.rack), one.busy + other.busy
    return Way(pair, speed, ms, one.round, racks, "" not in racks and racks[0] != racks[1], busy)


def _levels(kinds: Sequence[Sequence[object]], values: Sequence[float]) -> list[_Level]:
    """Give what each way's likes have: those of its round, or where these are few, of all rounds."""
    alike: dict[object, list[float]] = defaultdict(list)
    for likes, value in zip(kinds, values, strict=True):
        for kind in likes:
            alike[kind].append(value)
    levels = {kind: _Level(_typical(each), True) for kind, each in alike.items() if len(each) >= ENOUGH}
    of_all = _Level(_typical(values), False)
    return [next((levels[kind] for kind in likes if kind in levels), of_all) for likes in kinds]


def _kinds(way: Way) -> Sequence[object]:
    """Name whom a way is compared with, the nearest first.

    Between racks that is all rounds: what uplinks give depends on how many use them, and the least is normal.
    """
    kind = way.crosses, way.busy
    return (kind,) if way.crosses else ((way.round, kind), kind)


def _typical(values: Sequence[float]) -> float:
    """Give the median, or of few the upper quartile: one slow node of four slows half of all ways."""
    return sorted(values)[len(values) * 3 // 4] if len(values) < FEW else median_low(values)


def _lowest(kinds: Sequence[Sequence[object]], rates: Sequence[_Level]) -> float:
    """Give what is normal where nobody knows which ways go between racks: the least of all rounds.

    Some rounds have all nodes meet others far away.
    """
    rounds = {likes[0]: rate.value for likes, rate in zip(kinds, rates, strict=True) if rate.is_alike}
    return min(rounds.values()) if len(rounds) >= ROUNDS else max(rate.value for rate in rates) / NORMAL
