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


def silent(first: str) -> tuple[str, str, str]:
    """That some gave no answer is told of the first of them."""
    return (first, "members-silent", "network")


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
        pytest.param(
            6,
            {"n1-n2": SLOW, "n1-n3": SLOW, "n2-n3": SLOW},
            [("n1", "ways-unclear", "network")],
            id="each of three could be it",
        ),
        pytest.param(2, {"n1": SLOW}, [], id="two nodes can't tell which it is"),
        pytest.param(4, {"n1": SLOW, "n2": SLOW}, [], id="two of four: most are slow"),
        pytest.param(4, {f"n{n}": SLOW for n in range(1, 5)}, [], id="all slow"),
        pytest.param(4, {"n1": (150.0, 1.2)}, [], id="another rack is no fault"),
        pytest.param(4, {"n1": (400.0, 15.0)}, [], id="a busy processor is none"),
        pytest.param(4, {"n1": None}, [silent("n1")], id="no answer accuses nobody"),
        pytest.param(
            5,
            {"n1": SLOW, "n2": None},
            [("n1", "link-slow", "link"), silent("n2")],
            id="one, and one gives no answer",
        ),
        pytest.param(
            3, {"n1": SLOW, "n1-n2": None, "n2": None}, [silent("n2")], id="one way is too few to accuse by"
        ),
        pytest.param(4, {"n1": None, "n2": None, "n3": None}, [silent("n1")], id="nobody answers"),
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


RACKS = {"n1": "a", "n2": "a", "n3": "b", "n4": "b", "n5": "c", "n6": "c"}
UNCLEAR = [("n1", "ways-unclear", "network")]


def racked(measured: Sequence[MemberSample], racks: Mapping[str, str] = RACKS) -> list[MemberSample]:
    return [replace(each, rack=racks[each.node]) for each in measured]


def mute(measured: Sequence[MemberSample], node: str) -> list[MemberSample]:
    """What is measured if one node does not answer: whoever meets it has nobody to measure with."""
    return [
        replace(each, values={}, error="no answer" if each.node == node else "the other one is not there")
        if node in each.members
        else each
        for each in measured
    ]


def out_of(rack: str, racks: Mapping[str, str] = RACKS) -> list[MemberSample]:
    """All ways out of a rack are slow."""
    ways = [f"{one}-{other}" for one, other in combinations(racks, 2) if racks[one] != racks[other]]
    slow = {way: SLOW for way in ways if rack in {racks[node] for node in way.split("-")}}
    return racked(samples(len(racks), slow), racks)


@pytest.mark.parametrize(
    ("measured", "named"),
    [
        pytest.param(
            [each for each in out_of("a") if "n2" not in each.members], UNCLEAR, id="its neighbour is absent"
        ),
        pytest.param(mute(out_of("a"), "n2"), [*UNCLEAR, silent("n2")], id="its neighbour gives no answer"),
        pytest.param(
            racked(samples(6, {"n1": SLOW}), RACKS | {"n2": "b"}), UNCLEAR, id="a node is a rack of its own"
        ),
        pytest.param(
            racked(samples(6, {"n1": SLOW}), {**RACKS, "n1": "tor-1", "n2": "tor-2"}),
            UNCLEAR,
            id="of a rack with two switches one has one node",
        ),
        pytest.param(
            racked(samples(6, {"n1": SLOW}), {**RACKS, "n2": ""}), UNCLEAR, id="nobody knows where others are"
        ),
        pytest.param(
            [each for each in racked(samples(6, {"n1": SLOW})) if each.members != ("n1", "n2")],
            [("n1", "link-slow", "link")],
            id="its neighbour is well with others",
        ),
        pytest.param(
            [
                each
                for each in racked(samples(6, {"n1": SLOW}))
                if "n2" not in each.members or "n1" in each.members
            ],
            [("n1", "link-slow", "link")],
            id="it is slow with its neighbour, too",
        ),
        pytest.param(out_of("a"), [("n1", "rack-slow", "rack:a")], id="all of the rack measured"),
    ],
)
def test_a_node_is_told_from_its_rack_by_what_others_there_measure(
    measured: Sequence[MemberSample], named: list[tuple[str, str, str]]
) -> None:
    assert found(measured) == named


def test_what_can_not_be_told_apart_names_both_and_says_why() -> None:
    told, quiet = (each.finding.summary for each in judge(mute(out_of("a"), "n2")))
    assert told.startswith(
        "either n1 or the way out of a is slow, and nothing tells which, for no other node of a measured: "
    )
    assert quiet == "n2 gave no answer, so nothing is known there"


def test_where_many_stand_out_that_is_told_of_all_of_them() -> None:
    (told,) = judge(samples(30, {f"n{number}": SLOW for number in range(1, 7)}))
    assert (told.finding.code, told.finding.evidence["slow"]) == ("ways-slow", "n1, n2, n3, n4, n5, n6")
    assert told.finding.summary.startswith("ways of n1, n2, n3 and 3 more are slow")


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
