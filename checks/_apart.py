"""A round in which only suspects measure, where nobody knows the racks: so no full uplink excuses them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from statistics import median_low

from sentinel.checks._suspects import HINT, LIKE, Culprit
from sentinel.checks._ways import FAR, FLOOR, FULL, Fabric
from sentinel.model.collective import Members, Round
from sentinel.model.ids import NodeId

APART = frozenset({8, 10, 12, 14, 16, 17, 18, 19})
"""Rounds in which suspects may measure apart.

So few don't fill uplinks: what good nodes far from each other have then is what anybody has, wherever it is.
"""
SUSPECTS, GOOD = 20, 40
"""One of so many nodes is tested in such a round, and there is a good pair for each so many nodes."""
CLOSE = 8
"""Of suspects so near in the order of ranks one is tested at a time: they may share a small uplink."""
SEVEN, WAITS = 7, frozenset({0, 1, 3})
"""Of suspects as slow as each other each waits in three of seven rounds, any two together in one.

So what two share, such as a small uplink, is told from what is theirs.
"""
ALONE = 3
"""In each so many rounds both ends of a suspected pair meet others: that tells the pair from its nodes."""


def apart(
    nodes: Sequence[NodeId],
    accused: Iterable[Culprit],
    doubted: Iterable[Culprit],
    fabric: Fabric,
    number: int,
) -> Round:
    """Have suspects measure with good nodes far away, and besides them good pairs; none if nobody is one.

    First those who are doubted even if being far excuses them. Who waits, or finds no place, measures with
    one near it with which all was well once.
    """
    suspects = [each for each in accused if each.kind != "rack" and {*nodes}.issuperset(each.nodes)]
    doubtful = {node for each in suspects for node in each.nodes}
    good = [node for node in nodes if node not in doubtful]
    most, controls = len(nodes) // SUSPECTS, len(nodes) // GOOD
    if not suspects or not most or len(good) < 2 * (controls + most + 1):
        return []
    first = {each.nodes for each in doubted}
    worst, near = _worst(suspects, first, fabric, 2 * most), _near(fabric)
    tested = _tested([each for each in worst if not _waits(each, suspects, near.keys(), number)], nodes, most)
    together = _controls(good, controls, number)
    taken = {node for pair in together for node in pair} | {node for each in tested for node in each.nodes}
    place = {node: seat for seat, node in enumerate(nodes)}
    free = [node for node in good if node not in taken]
    for each in tested:
        if each.kind == "pair" and number % ALONE:
            together.append(each.nodes)
            continue
        for node in each.nodes:
            partner = free.pop((place[node] + len(free) // 2 + number) % len(free))
            together.append((node, partner))
            taken.add(partner)
    for node in [node for each in worst for node in each.nodes][: 2 * most]:
        others = (other for other in near.get(node, ()) if other in place and other not in taken | doubtful)
        if node not in taken and (other := next(others, None)) is not None:
            together.append((node, other))
            taken |= {node, other}
    return together


def _waits(each: Culprit, suspects: Iterable[Culprit], near: AbstractSet[NodeId], number: int) -> bool:
    """Say whether a suspect leaves the round to others that are as slow, and no better placed than it."""
    strong = (
        other for other in suspects if other.told >= HINT * other.needed and near.isdisjoint(other.nodes)
    )
    rivals = sorted({other.nodes for other in strong if abs(_depth(other) - _depth(each)) < 2 * LIKE})
    if len(rivals) < 2 or each.nodes not in rivals:
        return False
    return (sorted(APART).index(number) - rivals.index(each.nodes)) % SEVEN in WAITS


def _depth(suspect: Culprit) -> float:
    return median_low([lag.behind for lag in suspect.slow] or [0.0])


def _tested(worst: Iterable[Culprit], nodes: Sequence[NodeId], most: int) -> Sequence[Culprit]:
    """Give whom there is place for, none near another in the order of ranks."""
    place, seats, found = {node: seat for seat, node in enumerate(nodes)}, list[int](), list[Culprit]()
    for each in worst:
        own = [place[node] for node in each.nodes]
        if len(seats) < most and not any(abs(one - other) < CLOSE for one in own for other in seats):
            found.append(each)
            seats += own
    return found


def _near(fabric: Fabric) -> Mapping[NodeId, Sequence[NodeId]]:
    """Give with whom each had all that near ones have."""
    found: dict[NodeId, list[NodeId]] = defaultdict(list)
    for lag in fabric.lags:
        if lag.among == "near" and lag.behind <= FULL and lag.way.round not in FAR:
            for node, other in (lag.pair, lag.pair[::-1]):
                found[node].append(other)
    return found


def _controls(good: Sequence[NodeId], count: int, number: int) -> list[Members]:
    """Pair good nodes of one half with such of the other, evenly spread, each time other ones."""
    half = len(good) // 2
    stride = half // count
    seats = range(number % stride, half, stride)[:count]
    return [(good[seat], good[half + (seat + number) % half]) for seat in seats]


def _worst(
    suspects: Iterable[Culprit], first: AbstractSet[Members], fabric: Fabric, most: int
) -> Sequence[Culprit]:
    """Give the likeliest, first those who were slow in such rounds, then those who were in fewest."""
    cleared = Counter[NodeId]()
    for lag in fabric.lags:
        if lag.among == "sparse":
            cleared.update(dict.fromkeys(lag.pair, -1 if lag.behind >= FLOOR else 1))
    worst = sorted(suspects, key=lambda each: (each.nodes not in first, -each.told, each.nodes))[:most]
    return sorted(worst, key=lambda each: max(cleared[node] for node in each.nodes))
