"""Which link stands out, judged by what nodes measured with each other."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import pytest
from msgspec.structs import replace

from sentinel.checks.pair import figures, judge
from sentinel.model.collective import MemberSample
from sentinel.model.ids import NodeId

GOOD, SLOW = (400.0, 0.4), (0.35, 310.0)
"""(MB/s, ms): between two processes of this machine, and with one of them at 3 Mbit/s and 300 ms."""


def samples(nodes: int, slow: Mapping[str, tuple[float, float] | None]) -> list[MemberSample]:
    """All pairs of n1, n2, …; those of `slow`, a node or `n1-n2`, measured that, or gave no answer."""
    measured = []
    for one, other in combinations([f"n{number}" for number in range(1, nodes + 1)], 2):
        found = [slow[key] for key in (one, other, f"{one}-{other}") if key in slow]
        members = NodeId(one), NodeId(other)
        measured += [sample(node, members, found[0] if found else GOOD) for node in members]
    return measured


def sample(node: NodeId, members: tuple[NodeId, ...], measured: tuple[float, float] | None) -> MemberSample:
    if measured is None:
        return MemberSample(node, members, error="no answer")
    return MemberSample(node, members, {"mb_per_s": measured[0], "ms": measured[1]})


def found(measured: Sequence[MemberSample]) -> list[tuple[str, str, str]]:
    return [(each.node, each.finding.code, each.finding.component) for each in judge(measured)]


@pytest.mark.parametrize(
    ("nodes", "slow", "named"),
    [
        pytest.param(4, {}, [], id="all alike"),
        pytest.param(3, {"n2": SLOW}, [("n2", "link-slow", "link")], id="one of three"),
        pytest.param(4, {"n1": SLOW}, [("n1", "link-slow", "link")], id="one of four"),
        pytest.param(4, {"n3": (0.35, 0.4)}, [("n3", "link-slow", "link")], id="little goes through"),
        pytest.param(4, {"n3": (400.0, 310.0)}, [("n3", "link-slow", "link")], id="all comes late"),
        pytest.param(
            6, {"n1": SLOW, "n5": SLOW}, [(n, "link-slow", "link") for n in ("n1", "n5")], id="two of six"
        ),
        pytest.param(
            4,
            {"n1-n3": SLOW},
            [("n1", "pair-slow", "link:n3"), ("n3", "pair-slow", "link:n1")],
            id="one pair",
        ),
        pytest.param(
            6,
            {"n1": SLOW, "n2-n3": SLOW},
            [("n1", "link-slow", "link"), ("n2", "pair-slow", "link:n3"), ("n3", "pair-slow", "link:n2")],
            id="a node, and one pair of others",
        ),
        pytest.param(
            4,
            {"n2-n3": SLOW, "n2-n4": SLOW},
            [("n2", "link-slow", "link")],
            id="one that is well again by now",
        ),
        pytest.param(6, {"n1-n2": SLOW, "n1-n3": SLOW, "n2-n3": SLOW}, [], id="each of three could be it"),
        pytest.param(2, {"n1": SLOW}, [], id="two nodes can't tell which it is"),
        pytest.param(4, {"n1": SLOW, "n2": SLOW}, [], id="two of four: most are slow"),
        pytest.param(4, {f"n{n}": SLOW for n in range(1, 5)}, [], id="all slow"),
        pytest.param(4, {"n1": (150.0, 1.2)}, [], id="another rack is no fault"),
        pytest.param(4, {"n1": (400.0, 15.0)}, [], id="a busy processor is none"),
        pytest.param(4, {"n1": None}, [], id="no answer accuses nobody"),
        pytest.param(
            5, {"n1": SLOW, "n2": None}, [("n1", "link-slow", "link")], id="one, and one gives no answer"
        ),
        pytest.param(3, {"n1": SLOW, "n1-n2": None, "n2": None}, [], id="one way is too few to accuse by"),
        pytest.param(4, {"n1": None, "n2": None, "n3": None}, [], id="nobody answers"),
        pytest.param(0, {}, [], id="nobody was asked"),
    ],
)
def test_who_stands_out(
    nodes: int, slow: Mapping[str, tuple[float, float] | None], named: list[tuple[str, str, str]]
) -> None:
    assert found(samples(nodes, slow)) == named


def test_one_end_alone_accuses_nobody() -> None:
    """A node that lies, or answers late, speaks for itself: both ends have to say that a way is slow."""
    lies = [sample(each.node, each.members, SLOW if each.node == "n2" else GOOD) for each in samples(4, {})]
    assert found(lies) == []
    mute = [each for each in samples(4, {"n2": SLOW}) if each.node != "n2"]
    assert found(mute) == []


def test_who_measured_something_else_is_no_sample() -> None:
    others = [MemberSample(each.node, each.members, {"ms": 9e9}) for each in samples(4, {})]
    assert found(others) == []


def test_a_finding_says_what_was_measured_here_and_elsewhere() -> None:
    (result,) = judge(samples(4, {"n2": SLOW}))
    assert result.finding.evidence == {
        "mb_per_s": 0.35,
        "ms": 310.0,
        "others_mb_per_s": 400.0,
        "others_ms": 0.4,
    }
    assert "0.35 MB/s and 310 ms" in result.finding.summary


def test_a_node_that_measured_on_its_processors_is_no_slow_one_among_gpus() -> None:
    """Its GPUs had no room: every way to it went through gloo."""
    fast, slow = (40000.0, 0.03), (400.0, 0.4)
    there = [
        replace(each, values={**each.values, "nccl_gpus": float("n2" not in each.members)})
        for each in [
            sample(each.node, each.members, slow if "n2" in each.members else fast) for each in samples(6, {})
        ]
    ]
    assert found(there) == []
    alike = [replace(each, values={**each.values, "nccl_gpus": 1.0}) for each in there]
    assert found(alike) == [("n2", "link-slow", "link")]


def test_a_nodes_figure_is_the_median_of_its_ways_through_the_same_near_and_far() -> None:
    racks = {"n1": "r1", "n2": "r1", "n3": "r2"}
    all_ways = [
        replace(each, rack=racks[each.node], about={"over": "gloo, 10000 Mbit/s"})
        for each in samples(3, {"n3": (100.0, 0.4)})
    ]
    known = {(each.node, each.what): each.value for each in figures(all_ways)}
    assert known == {
        ("n1", "near_mb_per_s"): 400.0,
        ("n2", "near_mb_per_s"): 400.0,
        ("n1", "far_mb_per_s"): 100.0,
        ("n2", "far_mb_per_s"): 100.0,
        ("n3", "far_mb_per_s"): 100.0,
    }
    unlike = [replace(each, about={"over": each.node}) for each in all_ways]
    busy = [replace(each, busy=each.node == "n3") for each in all_ways]
    assert not list(figures(unlike))
    assert not list(figures(samples(3, {}))), "an older release does not say through what"
    assert {each.what for each in figures(busy)} == {"near_mb_per_s"}
