"""A node measured alone is held against the others of its kind: one that is slow is named, a fleet is not."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

import pytest
from depth import tries
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from simulated import Simulated

from sentinel.core.baselines import beside, found, hold
from sentinel.core.fold import decide
from sentinel.core.learn.baselines import BASELINES_KEPT, NODES_KEPT
from sentinel.core.proofs import progress
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Cordon
from sentinel.model.action import Prove
from sentinel.model.collective import Figure, Held, MemberSample, Standing
from sentinel.model.fact import MembersProbed, NodeJoined
from sentinel.model.ids import ActionId, IncidentId, NodeId
from sentinel.model.policy import Policy

POLICY, H200, BF16 = Policy(), "NVIDIA H200", "bf16_tflops"
RATES = [780.0, 786.0, 769.0, 791.0, 803.0, 775.0, 799.0, 783.0]
"""TFLOP/s as one H200 measured them at different times."""
DAY = 86400.0
BEHIND, USUAL, SHARED = Standing.BEHIND, Standing.USUAL, Standing.SHARED

noise = st.floats(0.985, 1.015)
"""What a healthy H200 differs from itself, and from others."""


class Fleet:
    """A state that learns what nodes measure, as a controller's does."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.state, self.rules, self.now = State(), Rules(policy, {}), 1000.0

    def measures(self, *figures: Figure, check: str = "gemm") -> tuple[Held, ...]:
        """Hold figures of one probe against the others, and learn them."""
        self.now += 60.0
        held = hold(self.state.baselines, check, figures, self.now, self.rules.policy)
        probe = ActionId("by-hand-1"), IncidentId(""), check, (), ()
        decide(self.state, MembersProbed(self.now, *probe, held=held), self.rules)
        return held

    def alone(self, node: str, *values: float, under: str = "") -> list[Standing]:
        return [each.standing for each in self.measures(*gpus(node, values, under=under))]


def gpus(node: str, values: Iterable[float], *, kind: str = H200, under: str = "") -> list[Figure]:
    return [
        Figure(NodeId(node), f"gpu-{number}", kind, BF16, value, under) for number, value in enumerate(values)
    ]


def known(nodes: int = 6, factors: Sequence[float] = (1.0,), under: str = "") -> Fleet:
    fleet = Fleet()
    for number in range(nodes):
        fleet.alone(f"n{number}", *(rate * factors[number % len(factors)] for rate in RATES), under=under)
    return fleet


# --- who is named ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "standing"),
    [
        pytest.param(783.0, USUAL, id="as others"),
        pytest.param(900.0, USUAL, id="faster"),
        pytest.param(750.0, USUAL, id="a twentieth below is chance"),
        pytest.param(700.0, BEHIND, id="a tenth below is not"),
        pytest.param(1.0, BEHIND, id="hardly at all"),
    ],
)
def test_a_node_that_is_measured_alone_is_held_against_the_others(value: float, standing: Standing) -> None:
    assert known().alone("new", 783.0, value) == [USUAL, standing]


def test_the_finding_says_what_others_have_once_for_each_device() -> None:
    fleet, slow = known(), gpus("new", [783.0, 600.0])
    held = fleet.measures(*slow, replace(slow[1], what="copy_gb_per_s"))
    (said,) = found("gemm", "gpu-slow", held)
    assert (said.node, said.finding.component, said.finding.code) == ("new", "gpu-1", "gpu-slow")
    assert said.finding.summary == "gpu-1 is slow: bf16_tflops 600, the fleet 784.5 (MAD 8, 6 nodes)"
    assert said.finding.evidence == {BF16: 600.0, f"fleet_{BF16}": 784.5, "fleet_nodes": 6}
    assert not list(found("pair", "", held)), "a check that names no code accuses nobody by this"


@pytest.mark.parametrize(
    ("nodes", "devices"), [pytest.param(3, 8, id="too few nodes"), pytest.param(7, 1, id="too few devices")]
)
def test_of_too_few_nothing_is_said_and_that_is_said(nodes: int, devices: int) -> None:
    fleet = Fleet()
    for number in range(nodes):
        fleet.alone(f"n{number}", *RATES[:devices])
    (held,) = fleet.measures(*gpus("new", [1.0]))
    assert held.standing is Standing.UNKNOWN
    assert beside(held) == f"bf16_tflops 1: only {nodes} other nodes of its kind known, so nothing is said"
    fleet.alone("another", *RATES)
    assert fleet.alone("third", 1.0) == [BEHIND]


def test_a_nodes_own_past_makes_nothing_usual() -> None:
    fleet = known(3)
    for _ in range(20):
        assert fleet.alone("slow", 300.0) == [Standing.UNKNOWN]
    fleet.alone("n3", *RATES)
    assert fleet.alone("slow", 300.0) == [BEHIND]


def test_other_hardware_and_figures_that_are_old_are_none_to_compare_with() -> None:
    fleet = known()
    (other,) = fleet.measures(*gpus("new", [300.0], kind="NVIDIA A100"))
    assert other.standing is Standing.UNKNOWN
    fleet.now += POLICY.fleet_s
    assert fleet.alone("new", 300.0) == [Standing.UNKNOWN]


@settings(max_examples=tries(25, 250))
@given(good=st.lists(noise, min_size=5, max_size=12), bad=st.floats(1e-6, 1e9), times=st.integers(1, 9))
def test_one_bad_node_shifts_nothing(good: list[float], bad: float, times: int) -> None:
    """However far off it is, and however often it is measured."""
    fleet = known(len(good), good)
    for _ in range(times):
        fleet.alone("bad", *[bad] * 8)
    (held,) = fleet.measures(*gpus("new", [783.0 * 0.985]))
    assert held.standing is USUAL
    least, most = (of(good) * median(RATES) for of in (min, max))
    assert least - 1e-6 <= held.usual <= most + 1e-6
    assert fleet.alone("slow", 783.0 * 0.8) == [BEHIND]


@settings(max_examples=tries(25, 250))
@given(
    st.lists(st.tuples(st.integers(0, 7), noise, st.booleans()), min_size=20, max_size=60),
    st.floats(0.3, 0.85),
)
def test_only_the_slow_one_is_named_in_whatever_order_nodes_are_measured(
    looks: list[tuple[int, float, bool]], slower: float
) -> None:
    fleet = known(8)
    for node, factor, is_slow in looks:
        said = fleet.alone(f"n{node}", *(rate * factor for rate in RATES))
        assert set(said) == {USUAL}, "a healthy node is named"
        if is_slow:
            assert set(fleet.alone("slow", *(783.0 * factor * slower for _ in RATES))) == {BEHIND}


# --- when the fleet itself changes -----------------------------------------------------------------------


def slower(node: str, by: float = 0.85) -> list[Figure]:
    return gpus(node, [rate * by for rate in RATES])


def test_nobody_is_named_when_all_measure_at_once_and_all_are_slower() -> None:
    fleet = known(8)
    held = fleet.measures(*(figure for number in range(8) for figure in slower(f"n{number}")))
    assert {each.standing for each in held} == {SHARED}
    assert "it is not this node" in beside(held[0])


def test_a_few_that_are_slow_among_many_that_measure_at_once_are_named() -> None:
    fleet = known(8)
    figures = [
        figure
        for number in range(8)
        for figure in (slower(f"n{number}") if number < 3 else gpus(f"n{number}", RATES))
    ]
    behind = {each.figure.node for each in fleet.measures(*figures) if each.standing is BEHIND}
    assert behind == {"n0", "n1", "n2"}


@settings(max_examples=tries(25, 250))
@given(st.permutations(range(12)), st.floats(0.5, 0.85))
def test_a_fleet_that_gets_slower_costs_two_nodes_at_most_and_is_then_told(
    order: list[int], by: float
) -> None:
    """One after the other, as nodes are measured when they are idle: the first could be slow alone."""
    fleet = known(12)
    said = [{each.standing for each in fleet.measures(*slower(f"n{number}", by))} for number in order]
    assert all(each == {BEHIND} for each in said[: POLICY.several])
    assert all(BEHIND not in each for each in said[POLICY.several :])
    (held,) = fleet.measures(*gpus("new", [783.0 * by]))
    assert held.standing is USUAL
    assert (held.usual, held.was) == (pytest.approx(784.5 * by), 784.5)
    assert 0.0 < held.changed <= fleet.now


def test_nodes_that_were_out_for_it_make_no_fleet_slower() -> None:
    """Who is measured because something is wrong with it says nothing of the others."""
    fleet = known(8)
    for number in range(4):
        name = NodeId(f"out{number}")
        decide(fleet.state, NodeJoined(fleet.now, name, "10.0.0.9", 1, 8, "boot"), fleet.rules)
        fleet.state.change(fleet.state.nodes[name], cordon=Cordon("I-0001", "gpu-slow", fleet.now))
        assert set(fleet.alone(name, *[600.0] * 8)) == {BEHIND}


def test_a_new_driver_that_few_have_may_be_why_and_many_make_it_usual() -> None:
    fleet = known(12, under="driver 570")
    for number in range(4):
        assert set(fleet.alone(f"n{number}", *[650.0] * 8, under="driver 580")) == {Standing.UNDER_ANOTHER}
    assert set(fleet.alone("n4", *[650.0] * 8, under="driver 580")) == {USUAL}
    assert set(fleet.alone("n5", *[500.0] * 8, under="driver 580")) == {BEHIND}
    assert set(fleet.alone("n6", *[650.0] * 8, under="driver 570")) == {BEHIND}


# --- where it is kept ------------------------------------------------------------------------------------


def test_it_outlives_a_restart() -> None:
    fleet = known()
    fleet.state = State.from_bytes(fleet.state.to_bytes())
    assert fleet.alone("new", 700.0) == [BEHIND]


def test_it_is_bounded_in_nodes_devices_and_kinds() -> None:
    fleet = Fleet()
    fleet.measures(*(each for n in range(NODES_KEPT + 9) for each in gpus(f"n{n}", RATES * 4)))
    (row,) = fleet.state.baselines.values()
    assert len(row.measured) == NODES_KEPT
    assert max(len(each.values) for each in row.measured) < len(RATES * 4)
    for number in range(BASELINES_KEPT + 9):
        fleet.measures(*gpus("n1", [1.0], kind=f"kind {number}"))
    assert len(fleet.state.baselines) == BASELINES_KEPT
    assert f"gemm|kind {BASELINES_KEPT + 8}|{BF16}" in fleet.state.baselines
    assert f"gemm|{H200}|{BF16}" not in fleet.state.baselines


# --- what follows ----------------------------------------------------------------------------------------


class Measuring(Simulated):
    """A cluster whose nodes give these rates where they show that they are well."""

    rates: Mapping[str, float] = {}

    def _proved(self, action: Prove) -> None:
        (name,) = action.members
        rate = self.rates.get(name, 783.0)
        figures = gpus(name, [rate] * 8)
        held = hold(self.state.baselines, action.check, figures, self.now, self.rules.policy)
        sample = MemberSample(name, action.members, {f"gpu-0|{H200}|{BF16}": rate})
        about = action.id, IncidentId(""), action.check, (sample,)
        behind = tuple(found(action.check, "gpu-slow", held))
        self.tell(MembersProbed(self.now, *about, behind, held=held))
        self.outcome(action)


def out_of(fleet: Fleet, **rates: float) -> Measuring:
    cluster = Measuring()
    cluster.rates = rates
    for name, row in fleet.state.baselines.items():
        cluster.state.baselines.put(name, row)
    cluster.command("drain", "n4")
    cluster.command("prove", "n4")
    cluster.run(30)
    return cluster


def test_a_node_that_is_slower_than_the_fleet_fails_its_proof() -> None:
    cluster = out_of(known(), n4=600.0)
    assert not cluster.at("n4").usable
    assert "proof failed" in progress(cluster.at("n4"))
    assert "the fleet 784.5" in progress(cluster.at("n4"))


def test_one_that_is_as_slow_as_the_others_by_now_passes_and_that_is_said() -> None:
    fleet = known(8)
    fleet.measures(*slower("n1"))
    fleet.measures(*slower("n2"))
    cluster = out_of(fleet, n4=666.0)
    assert cluster.at("n4").usable
    proof = cluster.at("n4").proof
    assert proof is not None
    assert "it is not this node" in proof.said
