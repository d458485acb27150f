"""Which pairs measure next: paths of the job, then near and far ones, and suspects beside good nodes."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from sentinel.checks._apart import APART, apart
from sentinel.checks._inside import inside
from sentinel.checks._localise import Verdict, localise
from sentinel.checks._suspects import Culprit
from sentinel.checks._ways import FAR, FEW_NODES, Pair
from sentinel.model.collective import Members, MemberSample, Round, tournament
from sentinel.model.ids import NodeId

MOST_ROUNDS = 20
LOOKS = FEW_NODES - 1
"""Rounds after which a fault that shows in a third of them has shown, in all but one of 600 cases."""
PAIR_LOOKS = 5
"""So often has a pair met that is named: by less one seems so that meets a node which is slow at times."""
FIRST = 8
"""Rounds before anybody is looked at again: in every second, where all others go far, and after LOOKS."""


def plan(nodes: Sequence[NodeId], samples: Sequence[MemberSample]) -> Round:
    """Give the next round of these nodes; none when the answer is certain enough.

    Few nodes meet every other one once; of many, each meets as many as it takes to see what comes and goes.
    """
    number = 1 + max((sample.round for sample in samples), default=-1)
    if len(nodes) < 2 or number >= MOST_ROUNDS:
        return []
    if len(nodes) <= FEW_NODES:
        return _of_few(nodes, samples, number)
    racks = {sample.node: sample.rack for sample in samples if sample.rack}
    is_swept = number >= LOOKS
    if number == 1:
        return _matched(_unmet(nodes, samples), nodes)
    together = _of_many(nodes, racks, number)
    is_alike = all(node in racks for node in nodes)
    if number < FIRST or not (is_swept or number % 2 == 0 or number in FAR):
        return together
    verdict = localise(samples, hopeful=True)
    accused = [*verdict.culprits, *(each for alike in verdict.unclear for each in alike), *verdict.too_many]
    if is_swept and _is_sure(verdict) and (is_alike or not accused):
        return []
    if not is_alike and number in APART and verdict.fabric and (verdict.open or accused):
        doubts = localise(samples)
        doubted = [*doubts.culprits, *doubts.open, *doubts.watched]
        alone = apart(nodes, [*accused, *verdict.watched], doubted, verdict.fabric, number)
        if alone:
            return alone
    if not is_alike and number in FAR:
        first = inside(nodes, [*accused, *verdict.open], verdict.fabric, number) if verdict.fabric else []
        return _matched([*first, *together], nodes)
    met = {pair_of(*sample.members) for sample in samples if len(sample.members) == 2}
    return _refined(together, nodes, verdict, racks, met, number)


def _of_few(nodes: Sequence[NodeId], samples: Sequence[MemberSample], number: int) -> Round:
    racks = {sample.node: sample.rack for sample in samples if sample.rack}
    met = {pair_of(*sample.members) for sample in samples if len(sample.members) == 2}
    together = _least_met(nodes, met)
    is_swept = all(pair_of(*pair) in met for pair in together)
    if number < 2 and not is_swept:
        return together
    verdict = localise(samples)
    if is_swept and _is_sure(verdict):
        return []
    return _refined(together, nodes, verdict, racks, met, number)


def _is_sure(verdict: Verdict) -> bool:
    """Say whether more rounds would tell nothing more of anybody."""
    return not (verdict.open or verdict.unclear or any(map(_is_early, verdict.culprits)))


def _is_early(named: Culprit) -> bool:
    """Say whether a pair has met too seldom to tell it from a node that is slow at times."""
    return named.kind == "pair" and named.looks < PAIR_LOOKS


def pair_of(one: NodeId, other: NodeId) -> Pair:
    """Give two nodes in the order of their names."""
    return (one, other) if one < other else (other, one)


def _of_many(nodes: Sequence[NodeId], racks: Mapping[NodeId, str], number: int) -> Round:
    if number == 0:
        return _ring(nodes, 0)
    if number in FAR:
        return _far(sorted(nodes, key=lambda node: racks.get(node, "")), sorted(FAR).index(number))
    turn = number - sum(far < number for far in FAR) - 2
    if not racks:  # what goes farther may go between racks, and find uplinks full
        return _ring(nodes, turn % 2)
    inside: dict[str, list[NodeId]] = {}
    for node in nodes:
        inside.setdefault(racks.get(node, ""), []).append(node)
    return _matched(_inside(inside.values(), turn), nodes)


def _ring(nodes: Sequence[NodeId], number: int) -> Round:
    """Pair neighbours in the order of ranks: rings of collectives go from one to the next."""
    turned = [*nodes[number:], *nodes[:number]]
    return list(zip(turned[::2], turned[1::2], strict=False))


def _unmet(nodes: Sequence[NodeId], samples: Iterable[MemberSample]) -> Sequence[Members]:
    """Give neighbours in the order of ranks who have not met, last those between whom one gave no answer."""
    there, met = {*nodes}, {sample.members for sample in samples}
    after = {one for one, other in met if other not in there}
    before = {other for one, other in met if one not in there}
    pairs = [pair for pair in zip(nodes, [*nodes[1:], nodes[0]], strict=True) if pair not in met]
    return sorted(pairs, key=lambda pair: pair[0] in after or pair[1] in before)


def _far(nodes: Sequence[NodeId], turn: int) -> Round:
    """Pair the first half with the second, each time with other ones there."""
    half = len(nodes) // 2
    shift = turn * (half // (len(FAR) + 1)) + turn
    return [(nodes[place], nodes[half + (place + shift) % half]) for place in range(half)]


def _inside(racks: Iterable[Sequence[NodeId]], turn: int) -> Iterator[Members]:
    """Pair the nodes of each rack among themselves."""
    for nodes in racks:
        rounds = tournament(nodes)
        yield from rounds[turn % len(rounds)] if rounds else ()


def _matched(pairs: Iterable[Members], nodes: Sequence[NodeId]) -> Round:
    """Complete a round: who is left is paired with the next that is."""
    together, taken = [], set[NodeId]()
    for pair in pairs:
        if taken.isdisjoint(pair):
            together.append(pair)
            taken.update(pair)
    left = [node for node in nodes if node not in taken]
    return [*together, *zip(left[::2], left[1::2], strict=False)]


def _least_met(nodes: Sequence[NodeId], met: Collection[Pair]) -> Round:
    """Give the round of a tournament that has the most pairs which have not met."""
    rounds = _ring_first(nodes)
    return max(rounds, key=lambda together: sum(pair_of(*pair) not in met for pair in together))


def _ring_first(nodes: Sequence[NodeId]) -> Sequence[Round]:
    """Give a tournament's rounds, seated so that those who are neighbours meet in the first two.

    Two rounds that follow each other make one ring through all seats: nodes sit along it.
    """
    seats: list[NodeId] = [NodeId(f"{seat:04}") for seat in range(len(nodes) + len(nodes) % 2)]
    rounds, along, turn = tournament(seats), [seats[0]], 0
    while len(along) < len(seats):
        (pair,) = (pair for pair in rounds[turn % 2] if along[-1] in pair)
        along.append(pair[0] if pair[1] == along[-1] else pair[1])
        turn += 1
    seated = dict(zip(along, nodes, strict=False))
    return [
        [(seated[one], seated[other]) for one, other in together if one in seated and other in seated]
        for together in rounds
    ]


def _refined(
    together: Round,
    nodes: Sequence[NodeId],
    verdict: Verdict,
    racks: Mapping[NodeId, str],
    met: Collection[Pair],
    number: int,
) -> Round:
    """Put suspects with good nodes near them, and by turns pairs together again."""
    early = [each.nodes for each in verdict.culprits if _is_early(each)]
    watched = [*(each for alike in verdict.unclear for each in alike), *verdict.watched]
    pairs = [suspect.nodes for suspect in watched if suspect.kind == "pair"]
    alone = [suspect.nodes[0] for suspect in watched if suspect.kind == "node"]
    blamed = [node for each in verdict.culprits if each.kind != "rack" for node in each.nodes]
    doubtful = {*alone, *blamed, *(node for pair in pairs for node in pair)}
    there = {*nodes}
    again = [*early, *pairs] if number % 2 == 0 else early
    first = [pair for pair in again if there.issuperset(pair)]
    good = [node for node in nodes if node not in doubtful]
    place = {node: number for number, node in enumerate(nodes)}
    chosen, taken = list[Members](), {node for pair in first for node in pair}
    for node in alone:
        free = [other for other in good if other not in taken]
        if node in taken or node not in place or not free:
            continue
        partner = min(free, key=lambda other: _closeness(node, other, racks, met, place))
        chosen.append((node, partner))
        taken |= {node, partner}
    return _matched([*first, *chosen, *together], nodes)


def _closeness(
    node: NodeId,
    other: NodeId,
    racks: Mapping[NodeId, str],
    met: Collection[Pair],
    place: Mapping[NodeId, int],
) -> tuple[bool, bool, int]:
    """Say whom a suspect meets first: of its rack, not met yet, near it in the order of ranks."""
    return racks.get(node) != racks.get(other), pair_of(node, other) in met, abs(place[node] - place[other])
