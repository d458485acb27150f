"""Who may explain that ways are slow: nodes, pairs and racks, and how much tells against each."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median, median_low
from typing import TypeVar

from sentinel.checks._ways import FAR, FEW_NODES, FLOOR, Lag, Pair
from sentinel.checks._weights import ONE_PAIR, Weights
from sentinel.model.collective import Members
from sentinel.model.ids import NodeId

K = TypeVar("K")

FALSE = 1e-3
"""How often a node, a rack or a pair of a healthy fabric may be named.

Odds of x come by chance at most once in x cases, whatever is drawn (Markov's inequality): as many times more
are needed as there are nodes or pairs.
"""
LEAST_NODES = 64
"""Of fewer nodes as much is needed as of so many: what chance has is known less well there."""
HINT = 0.35
"""From this share of the evidence that it takes, a suspect is worth more rounds."""
CANDIDATES, FEW_CANDIDATES = 1.0, 64
"""Of more nodes than so many only those are looked at closely that are so much likelier bad, or more."""
BY_FAR = 2.0
"""A pair explains what it does so much better than either of its nodes, in natural logarithms."""
ALIKE = math.log(100.0)
"""Two explanations can't be told apart if neither is so many times likelier."""
MOSTLY, SOMETIMES = 0.75, 0.3
"""What is slow with so many far nodes, and well with so many near ones, is behind something slow."""
AS_SLOW = 0.7
"""Of its lag with far ones: who is so slow with one that it was well with, too, is slow by itself."""
LIKE = 0.35
"""What shares an uplink lags by no more than so much more or less, in natural logarithms."""
LEAST_GROUP = 4
MOST_GROUP = 8
"""Nodes that are slow together, without a topology that says why, are one of so many racks at least."""


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
    whole: float = 0.0
    """The same, also what one of its pairs tells beyond all others."""
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


class Suspects:
    """Ways that nothing explains yet, by whom they may speak of."""

    def __init__(self, lags: Sequence[Lag], before: "Suspects | None" = None, *, anew: bool = False) -> None:
        self._lags = lags
        self._before = before
        self._anew = anew or before is None
        self._weights = Weights(lags)
        self._slow = [lag for lag in lags if lag.behind >= FLOOR]
        self._nodes: Collection[NodeId] = before._nodes if before else self._of_node
        self._pairs: int = before._pairs if before else len({lag.pair for lag in lags})

    def without(self, culprits: Sequence[Culprit]) -> "Suspects":
        """Leave out what these explain."""
        touched = [_touching(each) for each in culprits]
        left = [lag for lag in self._lags if not any(each(lag) for each in touched)]
        return Suspects(left, self, anew=any(each.kind == "rack" for each in culprits))

    @cached_property
    def _of_node(self) -> Mapping[NodeId, Sequence[Lag]]:
        """Give the ways of each node."""
        found: dict[NodeId, list[Lag]] = defaultdict(list)
        for lag in self._lags:
            for node in lag.pair:
                found[node].append(lag)
        return found

    @cached_property
    def _of_pair(self) -> Mapping[Pair, Sequence[Lag]]:
        """Give the ways of each pair that was slow."""
        found: dict[Pair, list[Lag]] = {lag.pair: [] for lag in self._slow}
        for lag in self._lags:
            if lag.pair in found:
                found[lag.pair].append(lag)
        return found

    def watched(self) -> list[Culprit]:
        """Give nodes and pairs that are slower than chance has them, unless one tells more of the same."""
        nodes = {each.nodes[0]: each for each in self._bad_nodes if each.told > 0}
        told = {node: each.told for node, each in nodes.items()}
        lasting = (each for each in self._bad_pairs if each.looks == len(each.slow))
        pairs = (each for each in lasting if each.told > max(told.get(node, 0.0) for node in each.nodes))
        return sorted([*nodes.values(), *pairs], key=lambda each: (-each.told, each.nodes))

    def suspects(self, share: float = 1.0) -> list[Culprit]:
        """Give who may be bad, the likeliest first, if this share of what it takes is told.

        A pair is bad each time: else one of its nodes may be at times, which more rounds can tell.
        """
        racks = [each for each in self._slow_racks if _is_shared(each)]
        pairs = [each for each in self._bad_pairs if share < 1.0 or not any(map(_is_well, each.fine))]
        found = [*self._bad_nodes, *pairs, *racks, *self._bad_groups()]
        found = [each for each in found if each.told >= share * each.needed]
        return sorted(found, key=lambda each: (each.needed - each.told, each.nodes))

    def alike(self, named: Culprit) -> list[Culprit]:
        """Give who may be bad instead: either explains what the other does, about as well.

        A node and its rack are told apart by what others of the rack measured, or by its ways to them. Where
        there are none, nothing tells them apart, however slow it is.
        """
        if named.kind == "pair":
            ends = (each for each in self._bad_nodes if each.nodes[0] in named.nodes)
            return [each for each in ends if each.whole >= named.told - BY_FAR]
        if named.kind != "node":
            return []
        touched = _touching(named)
        close = (each for each in self._may_be() if each.is_certain and each.told >= named.told - ALIKE)
        others = [each for each in close if each.who != named.who and any(map(touched, each.slow))]
        rest = self.without([named]).certain() if others else set()
        others = [each for each in others if each.who not in rest]
        return [each for each in others if named.who not in self.without([each]).certain()]

    def may_share(self, named: Culprit, suspects: Iterable[Culprit]) -> list[Culprit]:
        """Give with whom a node may share what is slow, so that it is not its own fault: nodes, or a rack."""
        others = [each for each in suspects if each.who != named.who]
        racks = [each for each in others if each.kind == "rack" and self._is_among(named, each)]
        return racks or self._as_slow_together(named, [each for each in others if each.kind == "node"])

    def _is_among(self, node: Culprit, rack: Culprit) -> bool:
        """Say whether a node may sit in a rack that is inferred: with all far ones it lags as those there do.

        Of such a one no way is well but those to its rack, and where that is nobody knew when it measured.
        """
        far = [lag for lag in self._of_node[node.nodes[0]] if lag.among == "sparse" or lag.way.round in FAR]
        if rack.rack or any(lag.behind < FLOOR for lag in far):
            return False
        there = {*rack.nodes}
        inside = [lag.of_best for lag in far if lag.way.round in FAR and not there.isdisjoint(lag.pair)]
        if inside and min(inside) >= AS_SLOW * median(lag.of_best for lag in far if lag.way.round in FAR):
            return False
        return abs(self._depth(node.nodes[0]) - median(map(self._depth, rack.nodes))) < LIKE

    def _as_slow_together(self, named: Culprit, others: Iterable[Culprit]) -> list[Culprit]:
        """Give who is as slow as it, nearly alone, when both measure, as by one uplink that they fill.

        None if what was seen of it without them tells enough.
        """
        own = {lag.way.round: lag.behind for lag in named.slow if lag.among == "sparse"}
        rounds, found = set[int](), list[Culprit]()
        for each in others:
            both = {
                lag.way.round
                for lag in self._of_node[each.nodes[0]]
                if lag.among == "sparse" and abs(lag.behind - own.get(lag.way.round, math.inf)) < LIKE
            }
            rounds |= both
            found += [each] if both else []
        return found if self._without_rounds(named, rounds) < named.needed - ONE_PAIR else []

    def _without_rounds(self, node: Culprit, rounds: Collection[int]) -> float:
        ways = self._of_node[node.nodes[0]]
        kept = [lag for lag in ways if lag.among != "sparse" or lag.way.round not in rounds]
        return self._culprit("node", node.nodes, kept).told

    def _depth(self, node: NodeId) -> float:
        """Give by how much it mostly lags with far ones."""
        return median_low([lag.behind for lag in self._far(self._of_node[node])] or [0.0])

    def _far(self, lags: Iterable[Lag]) -> Sequence[Lag]:
        """Give those of rounds where all go far, but for who were inside what they share."""
        return [lag for lag in lags if lag.way.round in FAR and lag.pair not in self._inside]

    def certain(self) -> set[tuple[str, str, tuple[NodeId, ...]]]:
        """Give the nodes and racks of which enough is told."""
        return {each.who for each in self._may_be() if each.is_certain}

    @cached_property
    def candidates(self) -> Collection[Members]:
        """Give the nodes and pairs that are worth to be looked at closely."""
        if self._before and not self._anew:
            slow = {*((node,) for node in self._slow_nodes), *self._of_pair}
            return [who for who in self._before.candidates if who in slow]
        nodes, pairs = self._slow_nodes, [*self._of_pair]
        if len(self._of_node) > FEW_CANDIDATES:
            nodes = [
                node for node in nodes if self._weights.roughly("node", self._of_node[node]) >= CANDIDATES
            ]
            pairs = [
                pair for pair in pairs if self._weights.roughly("pair", self._of_pair[pair]) >= CANDIDATES
            ]
        return [*((node,) for node in nodes), *pairs]

    def _may_be(self) -> list[Culprit]:
        return [*self._bad_nodes, *self._slow_racks]

    @cached_property
    def _bad_nodes(self) -> list[Culprit]:
        nodes = [who[0] for who in self.candidates if len(who) == 1 and who[0] not in self._sharing]
        return [self._culprit("node", (node,), self._of_node[node]) for node in nodes]

    @cached_property
    def _slow_nodes(self) -> Collection[NodeId]:
        """Give who is slow with more than one other, or it is the way to that one."""
        slow = Counter(node for pair in {lag.pair for lag in self._slow} for node in pair)
        return [node for node, others in slow.items() if others > 1]

    @cached_property
    def _behind(self) -> set[NodeId]:
        if self._before:
            return self._before._behind
        return {node for node in self._slow_nodes if self._is_behind(self._of_node[node])}

    def _is_behind(self, lags: Sequence[Lag]) -> bool:
        """Say whether it is well with some near it and with none far away, behind nobody knows what."""
        if len(self._nodes) <= FEW_NODES or all(all(lag.way.racks) for lag in lags):
            return False
        far = sorted(lag.behind for lag in self._far(lags))
        near = [lag for lag in lags if lag.way.round not in FAR and lag.among != "sparse"]
        fine = {lag.pair for lag in near if lag.of_best < FLOOR}
        slow = sum(behind >= FLOOR for behind in far)
        if (
            slow < 2
            or slow < MOSTLY * len(far)
            or sum(lag.of_best < FLOOR for lag in near) < SOMETIMES * len(near)
        ):
            return False
        return sum(lag.behind >= AS_SLOW * far[len(far) // 2] and lag.pair in fine for lag in near) < 2

    @cached_property
    def _bad_pairs(self) -> list[Culprit]:
        pairs = [who for who in self.candidates if len(who) == 2 and self._sharing.isdisjoint(who)]
        return [self._culprit("pair", pair, self._of_pair[pair]) for pair in pairs if self._lasts(pair)]

    def _lasts(self, pair: Pair) -> bool:
        """Say whether a pair was never well where nobody knows the racks: else it may be an uplink."""
        well = any("" in lag.way.racks and lag.of_best < FLOOR for lag in self._of_pair[pair])
        return not well or len(self._nodes) <= FEW_NODES

    @cached_property
    def _slow_racks(self) -> list[Culprit]:
        ways = _by([lag for lag in self._lags if lag.among == "full" or "" in lag.way.racks], _left)
        slow = Counter(
            rack for lag in self._slow if lag.among == "full" or "" in lag.way.racks for rack in _left(lag)
        )
        return [self._rack(rack, ways[rack]) for rack, count in slow.items() if 2 * count >= len(ways[rack])]

    def _rack(self, rack: str, lags: Sequence[Lag]) -> Culprit:
        ends = {
            node for lag in lags for node, there in zip(lag.pair, lag.way.racks, strict=True) if there == rack
        }
        return self._culprit("rack", tuple(sorted(ends)), lags, rack)

    def _bad_groups(self) -> Iterator[Culprit]:
        """Give nodes that are slow with all far ones: what they share may be slow, and not they."""
        for group in self._groups:
            if LEAST_GROUP <= len(group) <= len(self._nodes) // MOST_GROUP:
                touches = _touching(Culprit("rack", group))
                far = [lag for lag in self._lags if lag.way.round in FAR and touches(lag)]
                found = self._culprit("rack", group, far)
                yield from [found] if _is_shared(found) else ()

    @cached_property
    def _groups(self) -> Sequence[Members]:
        """Part nodes that are behind something by who is near whom and as slow; one alone may be of any."""
        if self._before:
            return self._before._groups
        part = {node: node for node in self._of_node}

        def first(node: NodeId) -> NodeId:
            while part[node] != node:
                node = part[node]
            return node

        depths = {node: self._depth(node) for node in self._behind}
        for lag in self._lags:
            if lag.among == "near" and lag.way.round not in FAR:
                known = [depths[node] for node in lag.pair if node in depths]
                if known and _are_alike(*known):
                    part[first(lag.pair[0])] = first(lag.pair[1])
        joined = [pair for pair in self._inside if not self._behind.isdisjoint(pair)]
        for one, other in joined:
            part[first(one)] = first(other)
        found: dict[NodeId, list[NodeId]] = defaultdict(list)
        members = self._behind.union(*joined)
        for node in members:
            found[first(node)].append(node)
        parts = [group for group in found.values() if len(group) >= LEAST_GROUP]
        return [*map(self._as_slow, parts if len(parts) > 1 else [[*members]])]

    @cached_property
    def _inside(self) -> Collection[Pair]:
        """Give who were well with each other in rounds that slow both with others: they share what does."""
        if self._before:
            return self._before._inside
        far = [lag for lag in self._lags if lag.way.round in FAR and "" in lag.way.racks]
        slow = _by([lag for lag in far if lag.behind >= FLOOR], lambda lag: lag.pair)
        return {lag.pair for lag in far if _is_inside(lag, *(slow.get(node, ()) for node in lag.pair))}

    @cached_property
    def _sharing(self) -> set[NodeId]:
        """Give who lags for what it shares with others, and not by itself: who lags alone shares nothing."""
        depths = {node: self._depth(node) for node in self._behind}
        alone = {
            node
            for node, depth in depths.items()
            if not any(_are_alike(depth, depths[other]) for other in depths if other != node)
        }
        groups = (group for group in self._groups if len(group) >= LEAST_GROUP)
        return (self._behind - alone).union(*groups)

    def _as_slow(self, group: Collection[NodeId]) -> Members:
        """Leave out who only seems to be among them: who shares what is slow lags as much as others do."""
        depths = {node: self._depth(node) for node in group}
        least = median(depths.values()) / 2 if depths else 0.0
        return tuple(sorted(node for node, depth in depths.items() if depth >= least))

    def _culprit(self, kind: str, nodes: Members, lags: Sequence[Lag], rack: str = "") -> Culprit:
        told, whole = self._weights.told(kind, lags)
        slow = [lag for lag in lags if lag.behind >= FLOOR]
        fine = [lag for lag in lags if lag.behind < FLOOR and (lag.hidden < FLOOR or not all(lag.way.racks))]
        return Culprit(kind, nodes, rack, told, whole, self._needed(kind, rack, len(nodes)), slow, fine)

    def _needed(self, kind: str, rack: str, size: int) -> float:
        """Give how much has to be told: more where one of many is picked because it is slow."""
        if kind == "pair":
            return math.log(max(2, self._pairs) / FALSE)
        needed = math.log(max(LEAST_NODES, len(self._nodes)) / FALSE)
        if kind == "node" or rack:
            return needed
        return needed + size * (1 + math.log(len(self._nodes) / size))  # any so many could be this group


def _is_well(lag: Lag) -> bool:
    """Say whether a way has what others have, and no uplink that all share hides what it lacks."""
    return lag.behind < FLOOR and lag.hidden < FLOOR


def _is_inside(lag: Lag, one: Sequence[Lag], other: Sequence[Lag]) -> bool:
    """Say whether a way is well though both ends are about as slow with others: one may have been so once."""
    if min(len(one), len(other)) < 1 or max(len(one), len(other)) < 2:
        return False
    depths = [median_low(each.of_best for each in ways) for ways in (one, other)]
    return 2 * max(lag.of_best, FLOOR) < min(depths) and _are_alike(*depths)


def _are_alike(*depths: float) -> bool:
    """Say whether nodes lag enough alike with far ones that it may be one uplink."""
    return max(depths) < 2 * min(depths)


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
