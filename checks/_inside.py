"""Pairs that tell who shares a suspected uplink, where nobody knows the racks: inside it nothing is slow."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import combinations
from statistics import median

from sentinel.checks._suspects import Culprit
from sentinel.checks._ways import FAR, Fabric
from sentinel.model.collective import Members
from sentinel.model.ids import NodeId

PART = 4
"""One of so many that share an uplink measures inside at a time: it is full while the others use it."""


def inside(
    nodes: Sequence[NodeId], suspects: Iterable[Culprit], fabric: Fabric, turn: int
) -> Sequence[Members]:
    """Pair racks that are inferred with each other, and with each who may sit there, while others go far.

    That is who of it has no neighbour there in the order of ranks, and who is as slow with all far ones.
    """
    inferred = [each.nodes for each in suspects if each.kind == "rack" and not each.rack]
    racks = [rack for members in inferred if (rack := {*nodes}.intersection(members))]
    lone, lags = [_lone(rack, nodes) for rack in racks], _far(fabric)
    rest = [sorted(rack.difference(far)) for rack, far in zip(racks, lone, strict=True)]
    free = [members[turn % PART :: PART] for members in rest]
    found = list[Members]()
    found += ((one.pop(), other.pop()) for one, other in combinations(free, 2) if one and other)
    taken = set[NodeId]().union(*racks)
    for rack, far, members in zip(racks, lone, free, strict=True):
        least = median(lag for node in rack for lag in lags.get(node, (0.0,))) / 2
        slow = (node for node in nodes if node in lags and node not in taken and min(lags[node]) >= least)
        pairs = list(zip([*far, *slow], members, strict=False))
        found += pairs
        taken.update(node for node, _ in pairs)
    return found


def _lone(rack: AbstractSet[NodeId], nodes: Sequence[NodeId]) -> Sequence[NodeId]:
    """Give who of a rack has no other of it next to it in the order of ranks."""
    around = zip(nodes, [*nodes[1:], nodes[0]], [nodes[-1], *nodes[:-1]], strict=True)
    return [node for node, *others in around if node in rack and rack.isdisjoint(others)]


def _far(fabric: Fabric) -> Mapping[NodeId, Sequence[float]]:
    """Give how far each lagged where all went far."""
    found: dict[NodeId, list[float]] = defaultdict(list)
    for lag in fabric.lags:
        for node in lag.pair if lag.way.round in FAR else ():
            found[node].append(lag.behind)
    return found
