"""Which pairs measure next: the job's own paths first, everybody in time, suspects again and again."""

import itertools
from collections.abc import Callable
from itertools import combinations

import msgspec
import pytest

from sentinel.checks._localise import localise
from sentinel.checks._plan import MOST_ROUNDS, PAIR_LOOKS, plan
from sentinel.model.collective import Members, MemberSample, Round
from sentinel.model.ids import NodeId

Rate = Callable[[Members], float]


def nodes_of(count: int) -> list[NodeId]:
    return [NodeId(f"n{number:03}") for number in range(count)]


def measured(together: Round, number: int, rate: Rate) -> list[MemberSample]:
    pairs = [(pair, {"mb_per_s": 1000 * rate(pair), "ms": 0.5}) for pair in together]
    return [
        MemberSample(node, pair, values, round=number, rack=f"r{int(node[1:]) // 8}")
        for pair, values in pairs
        for node in pair
    ]


def met(nodes: list[NodeId], rate: Rate) -> list[MemberSample]:
    return probe(nodes, rate)[1]


def rounds(nodes: list[NodeId], rate: Rate = lambda pair: 1.0) -> list[Round]:
    return probe(nodes, rate)[0]


def probe(nodes: list[NodeId], rate: Rate) -> tuple[list[Round], list[MemberSample]]:
    samples, done = list[MemberSample](), list[Round]()
    while together := plan(nodes, samples):
        samples += measured(together, len(done), rate)
        done.append(together)
    return done, samples


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 8, 17, 18, 65, 128])
def test_nobody_measures_twice_at_a_time_and_it_ends(count: int) -> None:
    done = rounds(nodes_of(count))
    assert len(done) <= MOST_ROUNDS
    for together in done:
        met = [node for pair in together for node in pair]
        assert len(met) == len({*met})


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 13, 17])
def test_few_nodes_meet_every_other_one_once(count: int) -> None:
    pairs = [frozenset(pair) for together in rounds(nodes_of(count)) for pair in together]
    assert len(pairs) == len({*pairs})
    assert {*pairs} == {frozenset(pair) for pair in combinations(nodes_of(count), 2)}


@pytest.mark.parametrize("count", [4, 8, 16, 64])
def test_neighbours_in_the_order_of_ranks_meet_in_the_first_two_rounds(count: int) -> None:
    nodes = nodes_of(count)
    first = {frozenset(pair) for together in rounds(nodes)[:2] for pair in together}
    assert first == {frozenset(pair) for pair in zip(nodes, [*nodes[1:], nodes[0]], strict=True)}


@pytest.mark.parametrize("silent", [30, 31])
def test_neighbours_meet_also_beside_one_that_gives_no_answer(silent: int) -> None:
    nodes = nodes_of(64)
    gone = nodes[silent]
    together = plan(nodes, [])
    samples = [each for each in measured(together, 0, lambda pair: 1.0) if gone not in each.members]
    samples += [MemberSample(node, pair, error="-") for pair in together if gone in pair for node in pair]
    met = {frozenset(pair) for pair in (*together, *plan([node for node in nodes if node != gone], samples))}
    ring = {frozenset(pair) for pair in zip(nodes, [*nodes[1:], nodes[0]], strict=True)}
    assert {pair for pair in ring if gone not in pair} <= met


def test_where_nobody_knows_the_racks_suspects_measure_nearly_alone() -> None:
    nodes, bad, samples = nodes_of(128), NodeId("n050"), list[MemberSample]()
    for number in range(9):
        together = plan(nodes, samples)
        samples += [
            msgspec.structs.replace(each, rack="")
            for each in measured(together, number, lambda pair: 0.3 if bad in pair else 1.0)
        ]
    assert len(together) <= 128 // 2 // 4
    assert bad in {node for pair in together for node in pair}


def test_everybody_meets_near_and_far_ones() -> None:
    done = rounds(nodes_of(64))
    racks = [{int(one[1:]) // 8 == int(other[1:]) // 8 for one, other in together} for together in done]
    assert {False} in racks
    assert {True} in racks


def test_a_pair_that_was_slow_for_once_meets_again() -> None:
    slow = {NodeId("n010"), NodeId("n011")}
    done = rounds(nodes_of(64), lambda pair: 0.4 if {*pair} == slow else 1.0)
    assert sum({*pair} == slow for together in done for pair in together) > 2


@pytest.mark.parametrize("count", [6, 12, 64, 128])
@pytest.mark.parametrize("rate", [0.05, 0.6])
def test_a_pair_is_named_that_is_slow_each_of_many_times(count: int, rate: float) -> None:
    slow = NodeId("n002"), NodeId("n003")
    samples = met(nodes_of(count), lambda pair: rate if {*pair} == {*slow} else 1.0)
    assert [each.nodes for each in localise(samples).culprits] == [slow]
    assert len({sample.round for sample in samples if {*sample.members} == {*slow}}) >= PAIR_LOOKS


@pytest.mark.parametrize("count", [6, 12, 64, 128])
@pytest.mark.parametrize("well", range(2, PAIR_LOOKS))
def test_a_pair_that_was_well_for_once_is_none_that_is_bad(count: int, well: int) -> None:
    """One of them is slow at times, and was so whenever it met the other: which one, nobody can tell."""
    slow, looks = {NodeId("n002"), NodeId("n003")}, itertools.count()
    samples = met(nodes_of(count), lambda pair: 0.1 if {*pair} == slow and next(looks) != well else 1.0)
    assert next(looks) > well
    assert localise(samples).culprits == ()


def test_a_slow_node_meets_good_ones() -> None:
    bad = {NodeId("n010"), NodeId("n011")}
    done = rounds(nodes_of(64), lambda pair: 0.4 if {*pair} & bad else 1.0)
    met = {other for each in done for pair in each if NodeId("n010") in pair for other in pair} - bad
    assert len(met) >= len(done) // 2


def test_who_is_gone_is_planned_no_more() -> None:
    nodes = nodes_of(20)
    samples = measured(plan(nodes, []), 0, lambda pair: 1.0)
    later = plan(nodes[1:], samples)
    assert len({node for pair in later for node in pair} & {*nodes[1:]}) == 18
    assert nodes[0] not in {node for pair in later for node in pair}
