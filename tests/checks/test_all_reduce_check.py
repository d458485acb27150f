"""The half that is slow is named, and nobody where both are alike, or one of them was not measured."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from sentinel.checks._reduce import measure
from sentinel.checks.all_reduce import judge, plan
from sentinel.model.collective import Meeting, Members, MemberSample, parted
from sentinel.model.ids import NodeId

NODES = tuple(NodeId(f"n{number}") for number in range(1, 7))
FIRST, SECOND = NODES[:3], NODES[3:]


def measured(members: Members, speed: float, number: int = 1) -> list[MemberSample]:
    values = {"mb_per_s": speed, "ms": 0.4}
    return [MemberSample(node, members, values, round=number) for node in members]


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        pytest.param(400.0, 390.0, (), id="both alike"),
        pytest.param(400.0, 140.0, (), id="as far apart as any two groups may be"),
        pytest.param(400.0, 3.0, SECOND, id="the second is slow"),
        pytest.param(3.0, 400.0, FIRST, id="the first is slow"),
    ],
)
def test_which_half_is_named(first: float, second: float, named: Members) -> None:
    samples = [*measured(NODES, min(first, second), 0), *measured(FIRST, first), *measured(SECOND, second)]
    assert tuple(each.node for each in judge(samples)) == named


def test_a_half_of_which_one_said_nothing_is_not_compared() -> None:
    lacks = [
        *measured(FIRST, 400.0),
        *measured(SECOND, 3.0)[1:],
        MemberSample(SECOND[0], SECOND, error="no answer"),
    ]
    assert list(judge(lacks)) == []
    assert list(judge(measured(NODES, 400.0, 0))) == []
    assert list(judge([])) == []


def test_a_half_on_processors_is_not_compared_with_one_on_gpus() -> None:
    on_gpus = [replace(each, values={**each.values, "nccl_gpus": 8.0}) for each in measured(FIRST, 40000.0)]
    assert list(judge([*on_gpus, *measured(SECOND, 400.0)])) == []


def test_halves_are_not_compared_beside_a_job() -> None:
    busy = [replace(sample, busy=True) for sample in measured(SECOND, 3.0)]
    assert list(judge([*measured(NODES, 3.0, 0), *measured(FIRST, 400.0), *busy])) == []


def test_all_then_both_halves_then_no_more() -> None:
    assert plan(NODES, []) == [NODES]
    after = measured(NODES, 400.0, 0)
    assert plan(NODES, after) == [FIRST, SECOND]
    assert plan(NODES, [*after, *measured(FIRST, 400.0), *measured(SECOND, 400.0)]) == []
    assert plan(NODES[:3], measured(NODES[:3], 400.0, 0)) == [], "a half of one node reduces nothing"
    assert plan(NODES[:1], []) == []


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
def test_two_measure_over_gloo_also_where_their_address_is_no_interfaces(address: str) -> None:
    pytest.importorskip("torch")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    both = [Meeting(("n1", "n2"), (address, address), port, rank, 20.0) for rank in range(2)]
    with ThreadPoolExecutor(2) as threads:
        values = list(threads.map(measure, both))
    for each in values:
        known, words = parted(each)
        assert known["mb_per_s"] > 0
        assert words["over"].startswith("gloo, ")
