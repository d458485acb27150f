"""Ways between two nodes, and how far each falls behind what its likes give."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median_high, median_low
from typing import NamedTuple, TypeAlias

from sentinel.checks._reduce import over_one_stack
from sentinel.model.collective import Members, MemberSample
from sentinel.model.ids import NodeId

Kind: TypeAlias = tuple[str, int, int]
"""What compared ways have in common: whom they are among, how busy ends are, the round if it counts."""
Pair: TypeAlias = tuple[NodeId, NodeId]
"""Two nodes, in the order of their names."""

FLOOR = math.log(1.25)
"""A way at four fifths of the others is none that training waits for: nodes at 70% are to be found."""
FULL = 0.05
"""Who lags no more has all that its likes have: its ends are near each other, whatever they have later."""
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
FAR = frozenset({2, 5, 9, 13})
"""Rounds of many nodes in which all go between racks: only uplinks that are full show that they are slow."""
SPARSE = 0.25
"""Uplinks that no more than this share of a rack's nodes use at once are not full."""
LEAST, WIDTH = -0.8, 0.02
"""Lags are counted from here, in so many natural logarithms: links have more noise than that."""
STEP = 0.05
"""What uplinks hide is told apart in such steps."""


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
    hidden: float
    """By so much its likes fall behind the best of all, in natural logarithms.

    Where all share a full uplink, a node that is slower by less is as good as others.
    """
    among: str
    """Whom it is compared with: `near` ones, `full` or `crossing` ones between racks, or `sparse` ones.

    Of those between racks many use the uplinks, or few; sparse ones are nearly alone, and racks unknown.
    """
    cell: int
    """How far it is behind, counted in WIDTH from LEAST."""
    step: int
    """What is hidden, counted in STEP."""

    @property
    def of_best(self) -> float:
        """How far it falls behind the best of all rounds, whatever hides it, in natural logarithms."""
        return self.behind + self.hidden


class Fabric(NamedTuple):
    """All lags of a probe."""

    lags: Sequence[Lag]
    usual: Way
    """The median of all, as what others have."""


class _Level(NamedTuple):
    value: float
    is_alike: bool
    """It is of ways of the same kind, as many as can be relied on."""


def fabric_of(samples: Iterable[MemberSample], *, hopeful: bool = False) -> Fabric | None:
    """Compare ways with their likes; None if none was measured.

    Where nobody knows the racks, a way may be one between them and have what is normal there. Hopeful, that
    excuses nobody until it is measured what such a way has while others don't use its uplinks.
    """
    ways = ways_of(samples)
    if not ways:
        return None
    alike = _alike(ways)
    rates = _levels({kind: [way.mb_per_s for way in has] for kind, has in alike.items()})
    late = any(way.ms > NOTICED_MS for way in ways)
    delays = _levels({kind: [1 / way.ms for way in has] for kind, has in alike.items()}) if late else rates
    best, normal = (
        math.log(max(rate.value for rate in rates.values())),
        math.log(_normal(rates, hopeful=hopeful)),
    )
    reached = _reached(alike, rates)
    lags = list[Lag]()
    for kind, has in alike.items():
        rate, delay = rates[kind], math.log(delays[kind].value)
        usual_level, allowed = math.log(rate.value), 0.0 if rate.is_alike else math.log(NORMAL)
        among = kind[0]
        for way in has:
            level = usual_level
            if among == "near" and level > normal and "" in way.racks and way.pair not in reached:
                level = normal
            behind, hidden = level - math.log(way.mb_per_s), best - level
            if way.ms > NOTICED_MS and math.log(way.ms) + delay > behind:
                behind, hidden = math.log(way.ms) + delay, 0.0
            behind -= allowed
            cell = int((behind - LEAST) / WIDTH) if behind > LEAST else 0
            lags.append(Lag(way.pair, way, behind, hidden, among, cell, int(hidden / STEP + 0.5)))
    return Fabric(lags, usual(ways))


def _reached(alike: Mapping[Kind, Sequence[Way]], rates: Mapping[Kind, _Level]) -> set[Pair]:
    """Give pairs that once had all that near ones have: being far apart excuses nothing of theirs."""
    return {
        way.pair
        for kind, has in alike.items()
        if kind[0] == "near"
        for least in [rates[kind].value * math.exp(-FULL)]
        for way in has
        if way.mb_per_s > least and "" in way.racks and way.round not in FAR
    }


def usual(ways: Sequence[Way]) -> Way:
    """Give what most of some ways have."""
    speed, ms = median_low(way.mb_per_s for way in ways), median_high(way.ms for way in ways)
    return ways[0]._replace(mb_per_s=speed, ms=ms)


def ways_of(samples: Iterable[MemberSample]) -> list[Way]:
    """Give what both ends measured through the same stack as most; the rest says nothing."""
    halves: dict[tuple[int, Members], MemberSample] = {}
    ways = []
    for each in over_one_stack(samples):
        members = each.members
        said = (each.values.get("mb_per_s", 0.0), each.values.get("ms", 0.0))
        if len(members) != 2 or not all(0.0 < value < math.inf for value in said):
            continue
        pair = members if members[0] < members[1] else members[::-1]
        first = halves.pop((each.round, pair), None)
        if first is None or first.node == each.node:
            halves[each.round, pair] = each
        else:
            ways.append(_way(first, each) if first.node < each.node else _way(each, first))
    return ways


def _way(one: MemberSample, other: MemberSample) -> Way:
    here, there = one.values, other.values
    racks = one.rack, other.rack
    return Way(
        (one.node, other.node),
        max(here["mb_per_s"], there["mb_per_s"]),
        min(here["ms"], there["ms"]),
        one.round,
        racks,
        racks[0] != racks[1] and "" not in racks,
        one.busy + other.busy,
    )


def _alike(ways: Sequence[Way]) -> Mapping[Kind, Sequence[Way]]:
    """Give ways by whom they are compared with: those of their round, unless they cross racks.

    Between racks that is all rounds: what uplinks give depends on how many use them, and the least is normal.
    Few nodes' rounds are too few to tell by how many.
    """
    of = Counter([way.round for way in ways])
    most = max(of.values())
    sparse = {number for number, count in of.items() if count <= SPARSE * most}
    using = Counter((way.round, rack) for way in ways if way.crosses for rack in way.racks)
    there = {end for way in ways if way.crosses for end in zip(way.racks, way.pair, strict=True)}
    can_use = {rack: SPARSE * count for rack, count in Counter(rack for rack, _ in there).items()}
    found: dict[Kind, list[Way]] = defaultdict(list)
    for way in ways:
        kind: Kind = ("near", way.busy, way.round)
        if way.crosses:
            is_full = most <= FEW_NODES // 2 or any(
                using[way.round, rack] > can_use[rack] for rack in way.racks
            )
            kind = ("full" if is_full else "crossing", way.busy, -1)
        elif way.round in sparse and "" in way.racks:
            kind = ("sparse", way.busy, -1)
        found[kind].append(way)
    return found


def _levels(alike: Mapping[Kind, Sequence[float]]) -> Mapping[Kind, _Level]:
    """Give what ways of each kind have: those of its round, or where these are few, of all rounds."""
    wide: dict[tuple[bool, int], list[float]] = defaultdict(list)
    for kind, has in alike.items():
        wide[_wider(kind)] += has
    wider = {kind: _level(has) for kind, has in wide.items()}
    of_all = _Level(_typical([value for has in alike.values() for value in has]), is_alike=False)
    return {kind: _level(has) or wider[_wider(kind)] or of_all for kind, has in alike.items()}


def _wider(kind: Kind) -> tuple[bool, int]:
    return (kind[0] in ("crossing", "full"), kind[1])


def _level(values: Sequence[float]) -> _Level | None:
    return _Level(_typical(values), is_alike=True) if len(values) >= ENOUGH else None


def _typical(values: Sequence[float]) -> float:
    """Give the median, or of few the upper quartile: one slow node of four slows half of all ways."""
    return sorted(values)[len(values) * 3 // 4] if len(values) < FEW else median_low(values)


def _normal(rates: Mapping[Kind, _Level], *, hopeful: bool) -> float:
    """Give what is normal where nobody knows which ways go between racks: the least of all rounds.

    Some rounds have all nodes meet others far away.
    """
    alone = [rate.value for kind, rate in rates.items() if kind[0] == "sparse" and rate.is_alike]
    if hopeful:
        return min(alone, default=math.inf)
    rounds = {kind: rate.value for kind, rate in rates.items() if kind[0] != "sparse" and rate.is_alike}
    if len({kind[2] for kind in rounds}) >= ROUNDS:
        return min(rounds.values())
    return max(rate.value for rate in rates.values()) / NORMAL
