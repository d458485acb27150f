"""Which nodes, pairs and racks explain why ways are slow, from complete tables of what pairs measured."""

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, count

import pytest
from depth import tries
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from benchmarks.localise import draw
from benchmarks.localise.fabric import Fabric, Fault
from benchmarks.localise.ours import sentinel
from sentinel.checks._localise import localise
from sentinel.checks.pair import judge
from sentinel.model.collective import MemberSample
from sentinel.model.ids import NodeId

Named = set[tuple[str, tuple[str, ...]]]


def table(
    nodes: Sequence[str],
    rate: Callable[[str, str], float],
    racks: Mapping[str, str] | None = None,
    *,
    noise: float = 0.02,
    seed: int = 1,
) -> list[MemberSample]:
    """All pairs, once each: what they measure is this rate, and some noise that names do not decide."""
    chance, measured = random.Random(seed), []
    for one, other in combinations(nodes, 2):
        values = {"mb_per_s": 1000 * rate(one, other) * chance.lognormvariate(0, noise), "ms": 0.5}
        measured += [
            MemberSample(NodeId(node), (NodeId(one), NodeId(other)), values, rack=(racks or {}).get(node, ""))
            for node in (one, other)
        ]
    return measured


def slow(*bad: str, to: float = 0.0005) -> Callable[[str, str], float]:
    """Nodes, or pairs written `n1-n2`, that are slow."""
    return lambda one, other: to if {one, other, f"{one}-{other}", f"{other}-{one}"} & {*bad} else 1.0


def named(samples: Sequence[MemberSample]) -> Named:
    return {(each.kind, each.nodes) for each in localise(samples).culprits}


def names(most: int) -> list[str]:
    return [f"n{number:02}" for number in range(1, most + 1)]


KINDS = [[], *([kind] for kind in draw.KINDS), ["node", "pair"], ["lossy", "silent"]]


@pytest.mark.parametrize(
    ("kinds", "racks_known"),
    [(kinds, True) for kinds in KINDS] + [(kinds, False) for kinds in KINDS if kinds != ["rack"]],
)
def test_each_kind_of_fault_is_named_and_nobody_else(kinds: list[str], racks_known: bool) -> None:
    drawn = (draw.fabric(random.Random(seed), 96, [], racks_known=racks_known) for seed in count())
    fabric = next(each for each in drawn if len({*each.racks.values()}) >= 8)
    fabric.oversubscription = fabric.alone = 1.0  # a slow node is slow near and far
    fabric.faults = draw.faults(fabric.chance, fabric, kinds)
    answer = sentinel(fabric)
    assert answer.rounds <= 20
    assert answer.named == draw.planted(fabric)


@pytest.mark.parametrize("racks", [{}, {node: "a" if node < "n05" else "b" for node in names(8)}])
def test_what_racks_give_each_other_is_no_fault(racks: Mapping[str, str]) -> None:
    def rate(one: str, other: str) -> float:
        return 1.0 if (one < "n05") == (other < "n05") else 1 / 3

    assert named(table(names(8), rate, racks)) == set()


def test_one_node_in_a_rack_of_its_own_is_no_fault() -> None:
    racks = dict.fromkeys(names(5), "a") | {"n06": "b"}
    assert named(table(names(6), slow("n06", to=1 / 3), racks)) == set()


def test_of_a_slow_uplink_the_rack_is_named_and_told_once() -> None:
    racks = {node: f"r{number // 4}" for number, node in enumerate(names(20))}

    def rate(one: str, other: str) -> float:
        crosses = racks[one] != racks[other]
        return 0.1 if crosses and "r2" in (racks[one], racks[other]) else 0.5 if crosses else 1.0

    samples = table(names(20), rate, racks)
    there = tuple(node for node in names(20) if racks[node] == "r2")
    assert named(samples) == {("rack", there)}
    (told,) = judge(samples)
    assert (told.finding.code, told.finding.component) == ("rack-slow", "rack:r2")


def test_busy_nodes_are_compared_with_busy_ones() -> None:
    """A job's own traffic takes its share of its nodes' links: idle ones have more."""
    busy = {*names(4)}
    rate = slow(*busy, to=0.5)
    samples = [
        MemberSample(s.node, s.members, s.values, rack="r", busy=s.node in busy)
        for s in table(names(12), rate)
    ]
    assert named(samples) == set()


@pytest.mark.parametrize(
    ("nodes", "bad"),
    [
        pytest.param(2, ["n01"], id="either of two"),
        pytest.param(3, ["n01", "n02"], id="most of three"),
        pytest.param(4, ["n01", "n02"], id="half of four"),
    ],
)
def test_where_as_many_are_slow_as_not_nobody_is_named(nodes: int, bad: list[str]) -> None:
    assert named(table(names(nodes), slow(*bad))) == set()


def test_explanations_that_can_not_be_told_apart_are_kept_apart() -> None:
    verdict = localise(table(names(8), slow("n01-n02", "n01-n03", "n02-n03")))
    assert verdict.culprits == ()
    assert {node for each in verdict.unclear for culprit in each for node in culprit.nodes} == {*names(3)}


def test_two_bad_ways_of_one_node_are_its_own() -> None:
    assert named(table(names(8), slow("n01-n02", "n01-n03"))) == {("node", ("n01",))}


def test_where_many_stand_out_nobody_is_named() -> None:
    verdict = localise(table(names(30), slow(*names(6))))
    assert verdict.too_many
    assert verdict.culprits == ()


def test_a_way_that_one_end_did_not_measure_says_nothing() -> None:
    whole = table(names(8), slow("n03"))
    assert named([each for each in whole if each.node != "n03"]) == set()
    assert named([each for each in whole if "n05" not in each.members]) == {("node", ("n03",))}
    assert named([]) == set()


def test_without_a_topology_nodes_behind_one_uplink_are_named_together() -> None:
    drawn = (draw.fabric(random.Random(seed), 128, [], racks_known=False) for seed in count())
    fabric = next(each for each in drawn if len({*each.racks.values()}) >= 12)
    rack = [node for node in fabric.racks if fabric.racks[node] == "r02"]
    fabric.faults = [Fault("rack", (rack[0],), 0.2)]
    assert sentinel(fabric).named == draw.planted(fabric)


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_without_a_topology_who_sits_in_a_bad_rack_is_told_by_ways_inside_it(seed: int) -> None:
    """Two of it sit elsewhere in the order of ranks, and where they would, the chain of neighbours breaks."""
    racks = {f"n{number:03}": f"r{number // 16}" for number in range(160)}
    for one, other in (("n086", "n010"), ("n091", "n140")):
        racks[one], racks[other] = racks[other], racks[one]
    fabric = Fabric(random.Random(seed), racks, named=False)
    fabric.faults = [Fault("rack", ("n080",), 0.2)]
    assert sentinel(fabric).named == draw.planted(fabric)


@pytest.mark.parametrize(("together", "is_named"), [(True, False), (False, True)])
def test_two_that_are_slow_only_together_may_share_a_small_uplink(together: bool, is_named: bool) -> None:
    """Nobody knows the racks: where hardly any measure, two are slow in the same rounds, or in some each."""
    chance, two, samples = random.Random(1), ("n020", "n090"), list[MemberSample]()
    nodes = [f"n{number:03}" for number in range(128)]
    for number in range(20):
        if number < 8:
            far = number in (2, 5)
            pairs = list(
                zip(nodes[:64], nodes[64:], strict=True) if far else zip(nodes[::2], nodes[1::2], strict=True)
            )
            usual, slow = (0.2, 0.2) if far else (1.0, 0.2)
        else:
            there = two if together else [two[number % 2]]
            pairs = [(node, f"n{40 + number + place}") for place, node in enumerate(there)]
            pairs += [(f"n{place:03}", f"n{place + 60:03}") for place in range(number % 4, 12, 2)]
            usual, slow = 0.5, 0.2
        for pair in pairs:
            values = {
                "mb_per_s": (slow if {*two} & {*pair} else usual) * chance.lognormvariate(0, 0.02),
                "ms": 0.5,
            }
            members = tuple(map(NodeId, pair))
            samples += [MemberSample(node, members, values, round=number) for node in members]
    assert named(samples) == ({("node", (node,)) for node in two} if is_named else set())


def test_a_pair_is_named_also_beside_a_bad_rack() -> None:
    fabric = draw.fabric(random.Random(2), 256, [], racks_known=True)
    nodes = list(fabric.racks)
    place = next(at for at in range(100, 200) if fabric.racks[nodes[at]] == fabric.racks[nodes[at + 1]])
    pair = min(nodes[place : place + 2]), max(nodes[place : place + 2])
    fabric.faults = [Fault("rack", (nodes[0],), 0.25), Fault("pair", pair, 0.15)]
    assert sentinel(fabric).named == draw.planted(fabric)


FAULTS = st.lists(st.sampled_from(["n01", "n04", "n07-n09", "n10-n11"]), unique=True, max_size=3)


@settings(max_examples=tries(30, 300))
@given(FAULTS, st.permutations(names(16)), st.integers(0, 99))
def test_other_names_are_named_otherwise(bad: list[str], others: list[str], seed: int) -> None:
    renamed = dict(zip(names(16), others, strict=True))
    samples = table(names(16), slow(*bad), seed=seed)
    again = [
        MemberSample(NodeId(renamed[s.node]), tuple(NodeId(renamed[n]) for n in s.members), s.values)
        for s in samples
    ]
    expected = {(kind, tuple(sorted(renamed[node] for node in nodes))) for kind, nodes in named(samples)}
    assert named(again) == expected
    assert len(expected) == len(bad)


@settings(max_examples=tries(30, 300))
@given(FAULTS, st.floats(1e-3, 1e3), st.integers(0, 99))
def test_a_faster_fabric_is_judged_alike(bad: list[str], factor: float, seed: int) -> None:
    samples = table(names(16), slow(*bad), seed=seed)
    faster = [
        MemberSample(s.node, s.members, {**s.values, "mb_per_s": factor * s.values["mb_per_s"]})
        for s in samples
    ]
    assert named(faster) == named(samples)


@settings(max_examples=tries(15, 150))
@given(FAULTS, st.integers(1, 12))
def test_more_good_nodes_change_nothing(bad: list[str], more: int) -> None:
    assert named(table(names(16 + more), slow(*bad))) == named(table(names(16), slow(*bad)))


@pytest.mark.parametrize("said", [float("inf"), float("nan"), 0.0, -1.0])
@pytest.mark.parametrize("quantity", ["mb_per_s", "ms"])
def test_what_is_no_measurement_says_nothing_and_hides_nobody(quantity: str, said: float) -> None:
    """One node's agent tells nonsense of all its ways: another node that is slow is named all the same."""
    samples = [
        replace(each, values={**each.values, quantity: said}) if each.node == "n03" else each
        for each in table(names(16), slow("n07"))
    ]
    assert named(samples) == {("node", ("n07",))}
    everywhere = [replace(each, values={**each.values, quantity: said}) for each in samples]
    assert named(everywhere) == set()
