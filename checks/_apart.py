"""A round in which only suspects measure, where nobody knows the racks: so no full uplink excuses them."""

from collections import Counter
from collections.abc import Iterable, Sequence

from sentinel.checks._localise import Culprit
from sentinel.model.collective import Members, MemberSample, Round
from sentinel.model.ids import NodeId

APART = frozenset({8, 10, 12, 14, 16, 18, 19})
"""Rounds in which suspects may measure apart.

So few don't fill uplinks: what good nodes far from each other have then is what anybody has, wherever it is.
"""
SUSPECTS, GOOD = 40, 20
"""One of so many nodes is tested in such a round, and there is a good pair for each so many nodes."""
CLOSE = 8
"""Of suspects so near in the order of ranks one is tested at a time: they may share a small uplink."""
ALONE = 3
"""In each so many rounds both ends of a suspected pair meet others: that tells the pair from its nodes."""


def apart(
    nodes: Sequence[NodeId], accused: Iterable[Culprit], samples: Iterable[MemberSample], number: int
) -> Round:
    """Have suspects measure with good nodes far away, and besides them good pairs; none if nobody is one."""
    suspects = [each for each in accused if each.kind != "rack" and {*nodes}.issuperset(each.nodes)]
    doubtful = {node for each in suspects for node in each.nodes}
    good = [node for node in nodes if node not in doubtful]
    most, controls = len(nodes) // SUSPECTS, len(nodes) // GOOD
    if not suspects or not most or len(good) < 2 * (controls + most + 1):
        return []
    together = _controls(good, controls, number)
    taken = {node for pair in together for node in pair}
    free = [node for node in good if node not in taken]
    place, tested = {node: seat for seat, node in enumerate(nodes)}, list[int]()
    for each in _worst(suspects, samples, 2 * most):
        seats = [place[node] for node in each.nodes]
        if not taken.isdisjoint(each.nodes) or any(
            abs(one - other) < CLOSE for one in seats for other in tested
        ):
            continue
        if each.kind == "pair" and number % ALONE:
            together.append(each.nodes)
        else:
            turn = len(free) // 2 + number
            together += [(nodes[seat], free.pop((seat + turn) % len(free))) for seat in seats]
        taken.update(each.nodes)
        tested += seats
        if len(tested) >= most:
            break
    return together


def _controls(good: Sequence[NodeId], count: int, number: int) -> list[Members]:
    """Pair good nodes of one half with such of the other, evenly spread, each time other ones."""
    half = len(good) // 2
    stride = half // count
    seats = range(number % stride, half, stride)[:count]
    return [(good[seat], good[half + (seat + number) % half]) for seat in seats]


def _worst(suspects: Iterable[Culprit], samples: Iterable[MemberSample], most: int) -> Sequence[Culprit]:
    """Give the likeliest, first those who were tested least."""
    tested = Counter(sample.node for sample in samples if sample.round in APART)
    worst = sorted(suspects, key=lambda each: (-each.told, each.nodes))[:most]
    return sorted(worst, key=lambda each: max(tested[node] for node in each.nodes))
