"""A collective probe: whoever does not answer, or answers nonsense, is a sample that accuses nobody."""

import asyncio
import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from sentinel.model.action import Probe
from sentinel.model.collective import CollectiveCheck, MemberFinding, MemberSample
from sentinel.model.fact import MembersProbed
from sentinel.model.ids import ActionId, IncidentId, NodeId
from sentinel.model.report import GetReady, MeasureNow, OrderDone
from sentinel.runtime import collective
from sentinel.runtime.hands import ActionError
from sentinel.runtime.members import Member, known_of

NODES = tuple(NodeId(f"n{number}") for number in range(1, 5))
GOOD = json.dumps({"mb_per_s": 400.0, "ms": 0.4})


class Agents:
    """Agents that answer at once: each says what it is told to."""

    def __init__(self, says: Callable[[NodeId], str | Exception]) -> None:
        self.says = says
        self.asked: list[tuple[NodeId, MeasureNow]] = []
        self.ready: Callable[[NodeId], float | Exception] = lambda node: 0.0
        """After how many seconds a node is, or why it is not."""

    async def order(self, node: NodeId, order: MeasureNow | GetReady, within: float) -> OrderDone:
        if isinstance(order, GetReady):
            ready = self.ready(node)
            if isinstance(ready, Exception):
                raise ready
            await asyncio.sleep(ready)
            return OrderDone(order.order, True, "measured")
        self.asked.append((node, order))
        said = self.says(node)
        if isinstance(said, Exception):
            raise said
        return OrderDone(order.order, True, "measured", (said,))


def probed(agents: Agents, check: str = "pair", deadline: float = 45.0) -> MembersProbed:
    action = Probe(ActionId("I-1/probe/pair/1"), IncidentId("I-1"), NodeId(""), check, NODES, deadline)
    addresses = {name: f"10.0.0.{name[1]}" for name in NODES}
    return asyncio.run(collective.probe_members(agents, action, addresses, lambda: 7.0))


def test_every_pair_meets_at_the_first_ones_address() -> None:
    agents = Agents(lambda node: GOOD)
    fact = probed(agents)
    assert len({frozenset(sample.members) for sample in fact.samples}) == 6
    assert (len(fact.samples), fact.findings, fact.error, fact.at) == (12, (), "", 7.0)
    for node, order in agents.asked:
        meeting = order.meeting
        assert meeting.members[meeting.rank] == node
        assert meeting.addresses == tuple(f"10.0.0.{name[1]}" for name in meeting.members)
        assert meeting.port in collective.PORTS


def test_a_slow_node_is_found() -> None:
    agents = Agents(lambda node: GOOD)

    def says(node: NodeId) -> str:
        slow = "n2" in agents.asked[-1][1].meeting.members
        return json.dumps({"mb_per_s": 0.4, "ms": 300.0}) if slow else GOOD

    agents.says = says
    assert [(each.node, each.finding.code) for each in probed(agents).findings] == [("n2", "link-slow")]


def test_whoever_does_not_answer_is_not_asked_again() -> None:
    agents = Agents(lambda node: TimeoutError() if node == "n2" else GOOD)
    fact = probed(agents)
    assert [sample.error for sample in fact.samples if sample.node == "n2"] == ["no answer"]
    assert [(each.finding.code, each.finding.health) for each in fact.findings] == [
        ("members-silent", "unknown")
    ]


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[]",
        "{",
        '{"ms": NaN}',
        '{"ms": -Infinity}',
        '{"ms": "x"}',
        "[" * 100_000,
        ActionError("n2: no agent is connected"),
    ],
)
def test_nonsense_is_a_sample(said: str | Exception) -> None:
    fact = probed(Agents(lambda node: said if node == "n2" else GOOD))
    wrong = [sample for sample in fact.samples if sample.node == "n2"]
    assert wrong
    assert all(sample.error and not sample.values for sample in wrong)
    assert (fact.findings, fact.error) == ((), "")


def test_the_clock_starts_when_all_are_ready() -> None:
    agents = Agents(lambda node: GOOD)
    agents.ready = lambda node: 0.3 if node == "n3" else 0.0
    fact = probed(agents, deadline=collective.GRACE + 0.2)
    assert len(fact.samples) == 12, "getting ready took longer than all rounds may"


@pytest.mark.parametrize(
    ("why", "error", "found"),
    [
        (TimeoutError(), "no answer", ["members-silent"]),
        (ActionError("n2: ModuleNotFoundError: No module named 'torch'"), "n2: ModuleNotFoundError", []),
    ],
)
def test_who_is_not_ready_is_a_sample_and_the_others_measure(
    why: Exception, error: str, found: list[str]
) -> None:
    agents = Agents(lambda node: GOOD)
    agents.ready = lambda node: why if node == "n2" else 0.0
    fact = probed(agents)
    (missing,) = (sample for sample in fact.samples if sample.node == "n2")
    assert (missing.members, missing.error.startswith(error)) == (("n2",), True)
    assert {node for node, _ in agents.asked} == {"n1", "n3", "n4"}
    assert len([sample for sample in fact.samples if sample.values]) == 6
    assert [each.finding.code for each in fact.findings] == found


def test_no_time_is_no_sample() -> None:
    assert probed(Agents(lambda node: GOOD), deadline=0.5).samples == ()


def test_a_check_that_is_not_there_is_an_action_that_fails() -> None:
    with pytest.raises(ActionError, match="no collective check 'ring'"):
        probed(Agents(lambda node: GOOD), "ring")


def test_a_judge_that_raises_has_no_opinion(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(samples: Sequence[MemberSample]) -> Sequence[MemberFinding]:
        raise KeyError("mb_per_s")

    check = CollectiveCheck("pair", 1.0, lambda meeting: {}, judge, ())
    monkeypatch.setattr(collective, "load_collective", lambda: {"pair": check})
    fact = probed(Agents(lambda node: GOOD))
    assert (fact.findings, fact.error) == ((), "KeyError: 'mb_per_s'")


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (lambda nodes, samples: [("n1", "n2"), ("n2", "n3")], "each able node once"),
        (lambda nodes, samples: [("n1", "elsewhere")], "each able node once"),
        (lambda nodes, samples: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_plan_that_is_none_measures_nothing(
    plan: Callable[..., Sequence[tuple[NodeId, ...]]], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = CollectiveCheck("pair", 1.0, lambda meeting: {}, lambda samples: (), (), plan)
    monkeypatch.setattr(collective, "load_collective", lambda: {"pair": check})
    fact = probed(Agents(lambda node: GOOD))
    assert (fact.samples, fact.findings) == ((), ())
    assert why in fact.error


def test_samples_say_their_round_and_where_their_node_is() -> None:
    action = Probe(ActionId("I-1/probe/pair/1"), IncidentId("I-1"), NodeId(""), "pair", NODES, 45.0)
    addresses = {name: f"10.0.0.{name[1]}" for name in NODES}
    known = {name: Member("r1" if name < "n3" else "r2", name == "n1") for name in NODES}
    probe = collective.probe_members(Agents(lambda node: GOOD), action, addresses, lambda: 7.0, known)
    samples = asyncio.run(probe).samples
    assert {sample.round for sample in samples} == {0, 1, 2}
    assert {(sample.node, sample.rack, sample.busy) for sample in samples} == {
        (name, *known[name]) for name in NODES
    }


@pytest.mark.parametrize(
    ("labels", "racks"),
    [
        pytest.param(
            [{"rack": "r1", "switch": "s1"}, {"rack": "r1", "switch": "s2"}], ["s1", "s2"], id="both"
        ),
        pytest.param(
            [{"rack": "r1", "switch": "s1"}, {"rack": "r1"}, {"feed": "f1"}],
            ["r1", "r1", ""],
            id="few switches",
        ),
    ],
)
def test_members_are_told_apart_by_one_kind_of_label_the_switch_if_as_many_have_it(
    labels: list[dict[str, str]], racks: list[str]
) -> None:
    state: Any = SimpleNamespace(
        nodes={name: SimpleNamespace(labels=has) for name, has in zip(NODES, labels, strict=False)},
        workers=SimpleNamespace(sitting=lambda node: ["rank 0"] if node == "n1" else []),
    )
    members = NODES[: len(labels)]
    assert known_of(members, state) == {
        name: Member(rack, name == "n1") for name, rack in zip(members, racks, strict=True)
    }
