"""Which nodes, pairs or racks explain the slow ways of a fabric: pure, from what pairs of nodes measured."""

import math
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, TypeVar

from sentinel.checks._ways import FAR, FEW_NODES, FLOOR, Fabric, Lag, Pair, fabric_of, ways_of
from sentinel.model.collective import NO_ANSWER, MemberSample
from sentinel.model.ids import NodeId

K = TypeVar("K")

NEEDED = 14.0
"""Natural logarithm of the odds from which on a node or rack is named.

Of 512 good nodes in 90 simulated fabrics without a fault the worst had 5; in 320 with others one had 12.7.
"""
FALSE_PAIRS = 1e-3
"""How often a pair of a healthy fabric may be named: there are many, most meet once, and people only look."""
HINT = 0.25
"""From this share of the evidence that it takes, a suspect is worth more rounds."""
USUAL_SHARE, USUAL_WEIGHT = 0.02, 50
"""So many of its ways are slow for once in a healthy fabric: what is believed before any is measured."""
USUAL_EXCESSES = {0.35: 0.9, 1.0: 0.1}
"""How far beyond the cut such ways are on average, in natural logarithms, and the share of them that is."""
EXCESSES = {"node": (0.15, 0.4, 1.0, 6.0), "pair": (0.4, 1.0, 6.0), "rack": (1.0, 6.0)}
"""How far the ways of something bad are on average.

Racks differ a little by themselves: some have more ways through their uplinks in a round than others.
"""
BOUNDS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0)
"""Between these what is beyond the cut is counted: how often chance has it, the probe itself says."""
MOST_EXCESS = 0.8
"""What is slower than twice this is no chance: others must not look like it, and it counts as if so much."""
MOST_TOLD = 14.0
"""No single measurement tells more than this, in natural logarithms of the odds."""
SHARES = {"node": (0.25, 0.5, 0.75, 0.95), "pair": (0.95,), "rack": (0.75, 0.95)}
"""In which share of the looks something bad may show.

What comes and goes is called a node's; of ways that use a bad uplink some are slow at their other end, too.
"""
ALIKE = math.log(100.0)
"""Two explanations can't be told apart if neither is so many times likelier."""
MOSTLY, SOMETIMES = 0.75, 0.3
"""What is slow with so many far nodes, and well with so many near ones, is behind something slow."""
LEAST_GROUP = 4
MOST_GROUP = 8
"""Nodes that are slow together, without a topology that says why, are one of so many racks at least."""
PER_RACK = 100
"""A rack has no more nodes: of many in a row, one pair of so many goes from one rack to the next at least."""
STUBBORN_LOOKS, STUBBORN = 3, 5.0
"""So often has a pair to be measured, and so much be told of it, to be taken for one that does."""
MOST_CULPRITS, PER_CULPRIT = 4, 16
"""At most so many are named, or one of so many nodes: where more stand out it is no fault of theirs."""


@dataclass(frozen=True, slots=True)
class Culprit:
    """What explains slow ways: a node, a pair, or a rack's uplink."""

    kind: str
    """`node`, `pair` or `rack`"""
    nodes: tuple[NodeId, ...]
    """The node, both ends, or all measured nodes of the rack."""
    rack: str = ""
    """Its name; empty if no topology says it, and that these nodes share something is inferred."""
    told: float = 0.0
    """Natural logarithm of the odds that it is bad, against chance."""
    needed: float = math.inf
    """How much has to be told until it is named."""
    slow: Sequence[Lag] = field(default=(), compare=False)
    fine: Sequence[Lag] = field(default=(), compare=False)
    """Ways on which it could have shown, and did not."""

    @property
    def looks(self) -> int:
        """On how many ways it could show."""
        return len(self.slow) + len(self.fine)

    @property
    def who(self) -> tuple[str, str, tuple[NodeId, ...]]:
        """Which node, pair or rack it is."""
        return self.kind, self.rack, self.nodes

    @property
    def is_certain(self) -> bool:
        """Say whether enough is told."""
        return self.told >= self.needed


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the ways of a fabric say."""

    culprits: tuple[Culprit, ...] = ()
    unclear: tuple[tuple[Culprit, ...], ...] = ()
    """Explanations of the same slow ways that can't be told apart."""
    open: tuple[Culprit, ...] = ()
    """Suspects that more rounds may confirm or clear."""
    watched: tuple[Culprit, ...] = ()
    """Who was slow for once, the worst first: that they are again tells them from chance."""
    silent: tuple[NodeId, ...] = ()
    """Nodes that were asked and did not answer."""
    too_many: tuple[Culprit, ...] = ()
    """Who stands out where more do than can be broken by themselves: none of them is named."""
    fabric: Fabric | None = None


def localise(samples: Iterable[MemberSample]) -> Verdict:
    """Name the fewest nodes, pairs and racks that explain why ways are slow.

    Where nobody knows the racks, ways are taken for those of one rack at first. If as many are slow then as
    would be between racks, that is why, and only what is slower than these is slow.
    """
    samples = list(samples)
    silent = tuple(sorted({sample.node for sample in samples if sample.error == NO_ANSWER}))
    ways = ways_of(samples)
    if not ways:
        return Verdict(silent=silent)
    found = None
    if not any(all(way.racks) for way in ways):
        found = _explained(_Ways(fabric_of(ways, is_one_rack=True)))
    if found is None or not found.is_one_rack:
        found = _explained(_Ways(fabric_of(ways)))
    nodes = found.left.nodes
    if len(found.culprits) > max(MOST_CULPRITS, len(nodes) // PER_CULPRIT) or not _is_minority(
        found.culprits, nodes
    ):
        return Verdict(silent=silent, too_many=tuple(found.culprits), fabric=found.left.fabric)
    opened, watched = tuple(found.left.suspects(HINT)), tuple(found.left.watched())
    culprits, unclear = tuple(found.culprits), tuple(found.unclear)
    return Verdict(culprits, unclear, opened, watched, silent, fabric=found.left.fabric)


class _Explained(NamedTuple):
    """Who explains slow ways, and what they leave."""

    culprits: Sequence[Culprit]
    unclear: Sequence[tuple[Culprit, ...]]
    left: "_Ways"

    @property
    def is_one_rack(self) -> bool:
        """Say whether fewer ways are slow than would be between racks, and no nodes by what they share."""
        if any(each.kind == "rack" for each in self.culprits):
            return False
        return (
            len(self.culprits) + len(self.unclear) + self.left.stubborn() < len(self.left.nodes) // PER_RACK
        )


def _explained(left: "_Ways") -> _Explained:
    culprits, unclear = list[Culprit](), list[tuple[Culprit, ...]]()
    while named := next(iter(left.suspects()), None):
        alike = left.alike(named)
        (unclear.append((named, *alike)) if alike else culprits.append(named))
        left = left.without([named, *alike])
    return _Explained(culprits, unclear, left)


def _is_minority(culprits: Sequence[Culprit], nodes: Collection[NodeId]) -> bool:
    blamed = {node for each in culprits if each.kind != "pair" for node in each.nodes}
    return 2 * len(blamed) < len(nodes)


class _Case:
    """Ways that something bad would explain: how much they tell is computed when it is asked."""

    def __init__(self, culprit: Culprit, chance: Callable[[int], float]) -> None:
        """`chance` says how often other ways are so slow, by the bounds between which that is."""
        self.culprit, self._chance = culprit, chance
        self._slow = [_bin(lag) for lag in culprit.slow]

    @cached_property
    def _odds(self) -> Sequence[Mapping[int, float]]:
        """Say what each look tells, if what is bad is so by each of the factors."""
        often = {each: math.log(self._chance(each)) for each in {*self._slow}}
        return [
            {each: min(MOST_TOLD, bad[each] - log) for each, log in often.items()}
            for bad in _BAD[self.culprit.kind]
        ]

    @cached_property
    def most(self) -> float:
        """Give what is told at most."""
        told = max(sum([odds[each] for each in self._slow if odds[each] > 0]) for odds in self._odds)
        return told + len(self.culprit.fine) * math.log(1 - min(SHARES[self.culprit.kind]))

    @cached_property
    def told(self) -> Culprit:
        """Compare that something bad shows in a share of these ways with that all of them are chance."""
        slow, fine = defaultdict[Pair, list[int]](list), Counter(lag.pair for lag in self.culprit.fine)
        for lag, each in zip(self.culprit.slow, self._slow, strict=True):
            slow[lag.pair].append(each)
        looks = [(fine[pair], slow.get(pair, ())) for pair in {**fine, **slow}]
        told = max(_told(looks, odds, share) for odds in self._odds for share in SHARES[self.culprit.kind])
        return replace(self.culprit, told=told)


class _Ways:
    """Ways that nothing explains yet, by whom they may speak of."""

    def __init__(self, fabric: Fabric, lags: Sequence[Lag] | None = None) -> None:
        self.fabric = fabric
        self._lags = fabric.lags if lags is None else lags
        self._slow = [lag for lag in self._lags if lag.behind >= FLOOR]
        self._fine = [lag for lag in self._lags if lag.behind < FLOOR]
        self._counts = Counter(map(_bin, self._slow))
        self._far = sum(count for place, count in self._counts.items() if place >= _NO_CHANCE)
        self._pairs = {lag.pair for lag in self._lags}
        self.nodes = {node for lag in fabric.lags for node in lag.pair}

    def without(self, culprits: Iterable[Culprit]) -> "_Ways":
        """Leave out what these explain."""
        touched = [_touching(each) for each in culprits]
        return _Ways(self.fabric, [lag for lag in self._lags if not any(each(lag) for each in touched)])

    def watched(self) -> list[Culprit]:
        """Give nodes and pairs that are slower than chance has them, unless one tells more of the same."""
        nodes = {each.nodes[0]: each for each in _least(self._bad_nodes, 0.0) if each.told > 0}
        told = {node: each.told for node, each in nodes.items()}
        lasting = (each for each in _least(self._bad_pairs, 0.0) if each.looks == len(each.slow))
        pairs = (each for each in lasting if each.told > max(told.get(node, 0.0) for node in each.nodes))
        return sorted([*nodes.values(), *pairs], key=lambda each: (-each.told, each.nodes))

    def stubborn(self) -> int:
        """Count the pairs that are slow again and again, as those between racks would be."""
        often = [each for each in self._bad_pairs if each.culprit.looks >= STUBBORN_LOOKS]
        return sum(case.most >= STUBBORN and case.told.told >= STUBBORN for case in often)

    def suspects(self, share: float = 1.0) -> list[Culprit]:
        """Give who may be bad, the likeliest first, if this share of what it takes is told."""
        racks = [each for each in self._slow_racks if _is_shared(each.culprit)]
        found = _least([*self._bad_nodes, *self._bad_pairs, *racks, *self._bad_group()], share)
        return sorted(found, key=lambda each: (each.needed - each.told, each.nodes))

    def alike(self, named: Culprit) -> list[Culprit]:
        """Give who may be bad instead: either explains what the other does, about as well.

        A node and its rack are told apart by what others of the rack measured, or by its ways to them. Where
        there are none, nothing tells them apart, however slow it is.
        """
        if named.kind != "node":
            return []
        rest = self.without([named]).certain()
        close = (each for each in self._may_be() if each.told >= named.told - ALIKE)
        others = (each for each in close if each.who != named.who and each.who not in rest)
        return [each for each in others if named.who not in self.without([each]).certain()]

    def certain(self) -> set[tuple[str, str, tuple[NodeId, ...]]]:
        """Give the nodes and racks of which enough is told."""
        return {each.who for each in self._may_be()}

    def _may_be(self) -> list[Culprit]:
        return _least([*self._bad_nodes, *self._slow_racks], 1.0)

    @cached_property
    def _bad_nodes(self) -> list[_Case]:
        return [each for each in self._slow_nodes if each.culprit.nodes[0] not in self._behind]

    @cached_property
    def _slow_nodes(self) -> list[_Case]:
        slow = _by(self._slow, lambda lag: lag.pair)
        fine = _by(self._fine, lambda lag: lag.pair if lag.tells else ())
        return [
            self._case("node", (node,), lags, fine.get(node, ()))
            for node, lags in slow.items()
            if len({lag.pair for lag in lags}) > 1  # or it is the way to that one other
        ]

    @cached_property
    def _behind(self) -> set[NodeId]:
        return {each.culprit.nodes[0] for each in self._slow_nodes if self._is_behind(each.culprit)}

    def _is_behind(self, node: Culprit) -> bool:
        """Say whether it is well with some near it and with none far away, behind nobody knows what."""
        if len(self.nodes) <= FEW_NODES or all(all(lag.way.racks) for lag in node.slow):
            return False
        slow, fine = _far(node.slow), _far(node.fine)
        near, well = node.looks - slow - fine, len(node.fine) - fine
        return slow > 1 and slow >= MOSTLY * (slow + fine) and well >= SOMETIMES * near

    @cached_property
    def _bad_pairs(self) -> list[_Case]:
        fine = _by(self._fine, lambda lag: (lag.pair,) if lag.tells else ())
        return [
            self._case("pair", pair, lags, fine.get(pair, ()))
            for pair, lags in _by(self._slow, lambda lag: (lag.pair,)).items()
            if self._behind.isdisjoint(pair)
        ]

    @cached_property
    def _slow_racks(self) -> list[_Case]:
        slow, fine = _by(self._slow, _left), _by(self._fine, _left)
        return [self._rack(rack, lags, fine.get(rack, ())) for rack, lags in slow.items()]

    def _rack(self, rack: str, slow: Sequence[Lag], fine: Sequence[Lag]) -> _Case:
        ends = {
            node
            for lag in (*slow, *fine)
            for node, there in zip(lag.pair, lag.way.racks, strict=True)
            if there == rack
        }
        return self._case("rack", tuple(sorted(ends)), slow, fine, rack)

    def _bad_group(self) -> Iterator[_Case]:
        """Give nodes that are slow with all far ones: what they share may be slow, and not they."""
        group = self._behind
        if LEAST_GROUP <= len(group) <= len(self.nodes) // MOST_GROUP:
            touches = _touching(Culprit("rack", tuple(group)))
            far = [lag for lag in self._lags if lag.way.round in FAR and touches(lag)]
            slow = [lag for lag in far if lag.behind >= FLOOR]
            fine = [lag for lag in far if lag.behind < FLOOR]
            found = self._case("rack", tuple(sorted(group)), slow, fine)
            yield from [found] if _is_shared(found.culprit) else ()

    def _case(
        self, kind: str, nodes: tuple[NodeId, ...], slow: Sequence[Lag], fine: Sequence[Lag], rack: str = ""
    ) -> _Case:
        needed = self._needed(kind, rack, len(nodes))
        return _Case(Culprit(kind, nodes, rack, 0.0, needed, slow, fine), self._without(slow, fine))

    def _needed(self, kind: str, rack: str, size: int) -> float:
        """Give how much has to be told: more where one of many is picked because it is slow."""
        if kind == "pair":
            return math.log(max(2, len(self._pairs)) / FALSE_PAIRS)
        if kind == "node" or rack:
            return NEEDED
        return NEEDED + size * (1 + math.log(len(self.nodes) / size))  # any so many nodes could be this group

    def _without(self, slow: Sequence[Lag], fine: Sequence[Lag]) -> Callable[[int], float]:
        """Say how often all other ways are so slow, by the bounds between which that is."""

        def chance(place: int) -> float:
            counted = (
                self._counts[place] - sum(_bin(lag) == place for lag in slow) if place < _NO_CHANCE else 0
            )
            far = self._far - sum(_bin(lag) >= _NO_CHANCE for lag in slow)
            looks = len(self._lags) - len(slow) - len(fine) + USUAL_WEIGHT
            return (counted + far * _BEYOND[place] + _USUAL[place] * USUAL_WEIGHT) / max(USUAL_WEIGHT, looks)

        return chance


def _least(cases: Iterable[_Case], share: float) -> list[Culprit]:
    """Give those of whom this share of what it takes is told."""
    likely = (case for case in cases if case.most >= share * case.culprit.needed)
    return [case.told for case in likely if case.told.told >= share * case.told.needed]


def _bin(lag: Lag) -> int:
    """Say between which bounds a slow way is beyond the cut."""
    return bisect(BOUNDS, lag.behind - FLOOR)


def _spread(excess: float) -> Sequence[float]:
    """Give the share of ways between the bounds, if they are so far beyond the cut on average."""
    beyond = [1.0, *(math.exp(-bound / excess) for bound in BOUNDS), 0.0]
    return [one - other for one, other in pairwise(beyond)]


_USUAL: list[float] = [
    USUAL_SHARE * sum(each)
    for each in zip(
        *([part * each for each in _spread(excess)] for excess, part in USUAL_EXCESSES.items()), strict=True
    )
]
_NO_CHANCE = bisect(BOUNDS, 2 * MOST_EXCESS)
_BEYOND = _spread(MOST_EXCESS)
_BAD = {
    kind: [[math.log(share) for share in _spread(excess)] for excess in each]
    for kind, each in EXCESSES.items()
}


def _far(lags: Sequence[Lag]) -> int:
    return sum(lag.way.round in FAR for lag in lags)


def _told(looks: Iterable[tuple[int, Sequence[int]]], odds: Mapping[int, float], share: float) -> float:
    """Sum up what each pair tells, how often well and how slow else, of what shows in this share of looks.

    What one pair tells beyond all others is its own, and no other's fault.
    """
    nothing = math.log(1 - share)
    tells = {place: math.log(1 - share + share * math.exp(each)) for place, each in odds.items()}
    told = [well * nothing + sum([tells[each] for each in slow]) for well, slow in looks]
    if len(told) == 1:
        return told[0]
    most = max(told)
    told.remove(most)
    return sum(told) + min(most, max(told))


def _is_shared(rack: Culprit) -> bool:
    """Say whether so many of these nodes are slow that it is what they share."""
    ends = {node for lag in rack.slow for node in lag.pair if node in rack.nodes}
    return len(ends) >= min(LEAST_GROUP, max(2, len(rack.nodes)))


def _touching(culprit: Culprit) -> Callable[[Lag], bool]:
    """Say which ways a culprit may have slowed."""
    nodes = {*culprit.nodes}
    if culprit.kind == "node":
        return lambda lag: culprit.nodes[0] in lag.pair
    if culprit.kind == "pair":
        return lambda lag: lag.pair == culprit.nodes
    if culprit.rack:
        return lambda lag: culprit.rack in _left(lag)
    return lambda lag: (lag.pair[0] in nodes) != (lag.pair[1] in nodes)


def _left(lag: Lag) -> Sequence[str]:
    """Give the racks that a way goes out of; where one end is nobody knows, it may."""
    one, other = lag.way.racks
    return [rack for rack in (one, other) if rack] if one != other else ()


def _by(lags: Sequence[Lag], of: Callable[[Lag], Iterable[K]]) -> Mapping[K, list[Lag]]:
    found: dict[K, list[Lag]] = defaultdict(list)
    for lag in lags:
        for each in of(lag):
            found[each].append(lag)
    return found
