"""Nodes that nobody needs pass a pre-flight, a few at a time; who fails is out before a rank sits there."""

from dataclasses import replace as replace_policy

import pytest
from msgspec.structs import replace
from simulated import JOB, Simulated, ecc

from sentinel.core.preflights import is_due
from sentinel.core.settle import missing
from sentinel.core.settle.why import why
from sentinel.core.state import State
from sentinel.core.state.rows import Node
from sentinel.model.action import Action, CallOff, Page, Probe, Resume
from sentinel.model.collective import MemberFinding
from sentinel.model.fact import Commanded, ControllerStarted, Fact, JobSubmitted, NodeJoined
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import JobId, NodeId
from sentinel.model.policy import Policy

POLICY = Policy(idle_probes=True)
SLOW = Finding("gemm", "gpu-slow", "gpu-0", Health.WARNING, "gpu-0 is slow: bf16_tflops 600, the fleet 784")
WRONG = Finding(
    "gemm",
    "wrong-numbers",
    "gpu-0",
    Health.CRITICAL,
    "gpu-0 computes wrong",
    {"wrong_numbers": 3.0},
    event=True,
)


class Idle(Simulated):
    """A cluster whose probes are looked at: each only where no rank sits, and few at once."""

    def tell(self, fact: Fact) -> tuple[Action, ...]:
        actions = super().tell(fact)
        assert missing(self.state, self.rules) == [], "what is settled is settled"
        under_way = [each for each in self.state.unfinished.values() if isinstance(each, Probe) and each.node]
        wanted = [each for each in under_way if self.measures(each.node)]
        assert len(wanted) <= self.rules.policy.idle_probes_at_once
        for each in wanted:
            assert not self.sitting(each.node), "a rank sits where something is measured"
        return actions

    def measures(self, node: str) -> bool:
        return self.at(node).preflight is not None

    def probes(self) -> list[NodeId]:
        return [each.node for each in self.all(Probe) if each.node]


def said(cluster: Simulated, node: str) -> str:
    return "\n".join(each.text for each in why(node, cluster.state, cluster.rules, cluster.now) or ())


def test_each_idle_node_is_measured_once_after_it_has_joined() -> None:
    cluster = Idle(nodes=6, policy=POLICY)
    seated = {cluster.node(0), cluster.node(1)}
    cluster.run(200)
    assert sorted(cluster.probes()) == sorted({*cluster.state.nodes} - seated)
    assert all(each.members == (each.node,) and each.check == "gemm" for each in cluster.all(Probe))
    assert "pre-flight 0.0 h ago passed: gemm: tflops 0.5" in said(cluster, cluster.probes()[0])
    assert not cluster.all(Page)


def test_it_is_off_unless_it_is_allowed() -> None:
    cluster = Idle(policy=Policy())
    cluster.run(100_000)
    assert cluster.probes() == []
    assert not [name for name in cluster.state.deadlines if name.startswith("idle")]


@pytest.mark.parametrize(
    "policy", [replace_policy(POLICY, observe_only=True), replace_policy(POLICY, preflight=())]
)
def test_nothing_is_measured_where_nothing_may_be_done_or_nothing_is_to_be_passed(policy: Policy) -> None:
    cluster = Idle(policy=policy)
    cluster.run(1000)
    assert cluster.probes() == []


def test_idle_nodes_are_measured_again_each_at_a_time_of_its_own() -> None:
    cluster = Idle(nodes=12, policy=POLICY)
    cluster.run(400)
    first = {each.id: each.preflight_at for each in cluster.state.nodes.values() if each.preflight_at}
    assert len(first) == 10
    cluster.actions.clear()
    cluster.run(POLICY.idle_probe_s * (1 - POLICY.idle_jitter) - 400)
    assert cluster.probes() == []
    cluster.run(POLICY.idle_probe_s * POLICY.idle_jitter + 400)
    assert sorted(cluster.probes()) == sorted(first)
    waits = sorted(cluster.at(name).preflight_at - at for name, at in first.items())
    assert waits[-1] - waits[0] > POLICY.idle_probe_s * POLICY.idle_jitter / 3, "not all at once"


def test_a_machine_that_has_started_again_is_measured_again_and_an_agent_is_not() -> None:
    cluster = Idle(policy=POLICY)
    cluster.run(200)
    spare = cluster.spare()
    known = cluster.at(spare)
    cluster.actions.clear()
    cluster.tell(NodeJoined(cluster.now, spare, known.address, 1, 1, "boot"))
    cluster.run(200)
    assert cluster.probes() == []
    cluster.tell(NodeJoined(cluster.now, spare, known.address, 1, 1, "another-boot"))
    cluster.run(200)
    assert cluster.probes() == [spare]


# --- who fails -------------------------------------------------------------------------------------------


def test_a_spare_that_computes_wrong_is_out_before_it_is_seated() -> None:
    cluster = Idle(policy=POLICY)
    spare = cluster.spare()
    cluster.found = (MemberFinding(spare, WRONG), MemberFinding(cluster.node(0), WRONG))
    cluster.run(200)
    assert cluster.probes().count(spare) == 1
    assert cluster.causes() == ["silent-corruption"]
    assert cluster.evicted() == [spare]
    assert not cluster.all(Resume), "the job goes on"
    bad = cluster.node(0)
    cluster.crash(0)
    cluster.run(60)
    assert spare not in cluster.resumed()[-1]
    assert cluster.going()
    assert cluster.at(bad).usable, "what was measured elsewhere accuses nobody"


def test_a_slow_one_is_measured_twice_before_it_goes() -> None:
    cluster = Idle(policy=POLICY)
    spare = cluster.spare()
    cluster.found = (MemberFinding(spare, SLOW),)
    cluster.run(200)
    assert cluster.probes().count(spare) == 2
    assert cluster.causes() == ["gpu-slow"]
    assert cluster.evicted() == [spare]
    cordon = cluster.at(spare).cordon
    assert cordon is not None
    assert (cordon.found, cordon.measured) == ((), ("gemm",))


def test_one_that_is_slow_once_was_slow_by_chance() -> None:
    cluster = Idle(nodes=3, policy=POLICY)
    spare = cluster.spare()
    cluster.found = (MemberFinding(spare, SLOW),)
    for _ in range(1000):
        if len(cluster.probes()) < 2:
            cluster.run(0.1)
    assert cluster.probes() == [spare, spare]
    cluster.found = ()
    cluster.run(200)
    assert "passed" in cluster.at(spare).preflight_said
    assert not cluster.incidents()


def test_a_node_that_went_for_it_comes_back_when_it_measures_well() -> None:
    cluster = Idle(policy=POLICY)
    spare = cluster.spare()
    cluster.found = (MemberFinding(spare, SLOW),)
    cluster.run(300)
    cluster.command("prove", spare)
    cluster.run(30)
    assert not cluster.at(spare).usable, "it is as slow as before"
    cluster.found = ()
    cluster.command("prove", spare)
    cluster.run(30)
    assert cluster.at(spare).usable
    assert not cluster.at(spare).accused


def test_a_persons_word_takes_back_what_it_had_measured() -> None:
    cluster = Idle(policy=POLICY)
    spare = cluster.spare()
    cluster.found = (MemberFinding(spare, SLOW),)
    cluster.run(300)
    assert cluster.at(spare).accused
    cluster.command("undrain", spare)
    assert cluster.at(spare).usable
    assert not cluster.at(spare).accused


def test_what_can_t_be_measured_accuses_nobody_and_is_said() -> None:
    cluster = Idle(nodes=3, policy=POLICY)
    spare = cluster.spare()
    cluster.fails = {"Probe"}
    cluster.run(400)
    assert cluster.probes() == [spare], "and it is not tried again and again"
    assert "could not be run: no" in said(cluster, spare)
    assert not cluster.incidents()


def test_a_node_that_never_answers_keeps_no_other_from_its_turn() -> None:
    cluster = Idle(nodes=8, policy=POLICY)
    mute = cluster.spare()
    answers = cluster._answer

    def answer(action: Action) -> None:
        if not (isinstance(action, Probe) and action.node == mute):
            answers(action)

    cluster._answer = answer  # type: ignore[method-assign]
    cluster.run(1000)
    assert "no answer from gemm in time" in cluster.at(mute).preflight_said
    assert len({*cluster.probes()}) == 6


# --- who needs the node ----------------------------------------------------------------------------------


def measuring() -> tuple[Idle, list[NodeId]]:
    """A cluster two of whose spares measure just now."""
    cluster = Idle(nodes=5, policy=POLICY)
    cluster.run(cluster.state.deadlines["idle/nodes"] - cluster.now + 0.2)
    under_way = cluster.probes()
    assert len(under_way) == 2
    cluster.actions.clear()
    return cluster, under_way


def test_it_is_given_up_at_once_when_a_job_breaks_and_done_later() -> None:
    cluster, under_way = measuring()
    spare = next(name for name in under_way if cluster.state.workers.warm(JOB, name))
    cluster.crash(0)
    assert sorted(each.node for each in cluster.all(CallOff)) == sorted(under_way)
    cluster.run(400)
    assert cluster.going()
    assert cluster.at(spare).preflight_at


def test_it_is_given_up_when_a_job_is_submitted() -> None:
    cluster, under_way = measuring()
    cluster.tell(JobSubmitted(cluster.now, JobId("second"), 1, "x:y", 0, 1))
    assert {each.node for each in cluster.all(CallOff)} == {*under_way}


def test_it_is_given_up_when_a_person_drains_the_node() -> None:
    cluster, under_way = measuring()
    cluster.command("drain", under_way[0])
    assert [each.node for each in cluster.all(CallOff)] == under_way[:1]
    cluster.run(1000)
    assert cluster.probes().count(under_way[0]) == 0


def test_an_answer_that_comes_after_it_was_given_up_counts_for_nothing() -> None:
    """A job had come to it, so that what it measured is no word on the node."""
    cluster, under_way = measuring()
    cluster.found = tuple(MemberFinding(node, WRONG) for node in under_way)
    cluster.crash(0)
    cluster.run(2.0)
    assert not any(cluster.at(node).preflight_at or cluster.at(node).accused for node in under_way)
    assert not {*cluster.evicted()} & {*under_way}


def test_freezing_gives_nothing_up_and_begins_nothing() -> None:
    cluster, _ = measuring()
    cluster.tell(Commanded(cluster.now, "stop-actions", "", "ann"))
    cluster.run(1000)
    assert not cluster.all(CallOff)
    assert cluster.probes() == []
    cluster.tell(Commanded(cluster.now, "resume-actions", "", "ann"))
    cluster.run(200)
    assert cluster.probes()


def test_nothing_is_measured_where_somebody_else_places_ranks() -> None:
    cluster = Idle(policy=POLICY)
    theirs = JobSubmitted(cluster.now, JobId("theirs"), 0, "", 0, 1, watched=True)
    cluster.tell(theirs)
    cluster.run(1000)
    assert cluster.probes() == []


# --- restarts --------------------------------------------------------------------------------------------


def test_a_controller_that_takes_over_goes_on_and_one_with_another_policy_begins() -> None:
    cluster, under_way = measuring()
    cluster.state = State.from_bytes(cluster.state.to_bytes())
    cluster.tell(ControllerStarted(cluster.now, 1, "p", "r"))
    assert all(cluster.measures(node) for node in under_way)
    cluster.run(200)
    assert all(cluster.at(node).preflight_at for node in under_way)
    later = Idle(policy=Policy())
    later.rules = replace_rules(later, POLICY)
    later.tell(ControllerStarted(later.now, 1, "p", "r"))
    later.run(200)
    assert later.probes()


def replace_rules(cluster: Simulated, policy: Policy):  # type: ignore[no-untyped-def]
    return type(cluster.rules)(policy, cluster.rules.runbooks)


@pytest.mark.parametrize("jitter", [0.0, 0.5])
def test_no_node_is_due_before_its_time_or_long_after_it(jitter: float) -> None:
    policy = replace_policy(POLICY, idle_jitter=jitter)
    nodes = [Node(NodeId(f"n{number}"), preflight_at=1.0) for number in range(50)]
    whole = 1.0 + policy.idle_probe_s
    assert all(is_due(replace(each, preflight_at=0.0), 1.0, policy) for each in nodes)
    assert not any(is_due(each, whole - policy.idle_probe_s * jitter - 1.0, policy) for each in nodes)
    assert all(is_due(each, whole + 1.0, policy) for each in nodes)


def test_a_node_that_is_taken_out_before_its_turn_came_keeps_no_other_from_it() -> None:
    cluster = Idle(nodes=5, policy=replace_policy(POLICY, idle_probes_at_once=1))
    cluster.tell(Commanded(cluster.now, "stop-actions", "", "ann"))
    cluster.run(100)
    (chosen,) = cluster.state.in_preflight()
    cluster.command("drain", chosen)
    cluster.tell(Commanded(cluster.now, "resume-actions", "", "ann"))
    cluster.run(400)
    assert chosen not in cluster.probes()
    assert len({*cluster.probes()}) == 2


def test_it_is_given_up_when_something_else_takes_the_node_out() -> None:
    cluster, under_way = measuring()
    cluster.finding(under_way[0], ecc())
    assert [each.node for each in cluster.all(CallOff)] == under_way[:1]
    cluster.run(20)
    assert cluster.evicted() == under_way[:1]
