"""Every two nodes meet once, and none is asked twice at a time."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from sentinel.model.collective import tournament
from sentinel.model.ids import NodeId


@given(st.integers(0, 24))
def test_every_two_meet_once_and_nobody_twice_at_a_time(count: int) -> None:
    nodes = [NodeId(f"n{number}") for number in range(count)]
    rounds = tournament(nodes)
    for together in rounds:
        met = [node for members in together for node in members]
        assert len(met) == len({*met})
    pairs = [frozenset(members) for together in rounds for members in together]
    assert len(pairs) == len({*pairs})
    assert {*pairs} == {frozenset(pair) for pair in combinations(nodes, 2)}
    assert len(rounds) <= count
