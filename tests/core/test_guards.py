"""Guards: what is not done, and the reason that is recorded for it."""

from dataclasses import replace

import pytest
from msgspec import structs
from simulated import BOOKS, Simulated, ecc, lost, xid

from sentinel.core.commands import refuse_command
from sentinel.core.state import Rules
from sentinel.model.action import Evict, Readmit, Refusal, Resume, StartWorker
from sentinel.model.fact import Commanded, JobSubmitted, NodeJoined
from sentinel.model.finding import Health
from sentinel.model.ids import Cause, JobId, NodeId
from sentinel.model.policy import Policy


def refusals(cluster: Simulated) -> str:
    return " | ".join(f"{each.wanted}: {each.reason}" for each in cluster.all(Refusal))


APART_S = 130.0
"""So far apart these are no common cause."""


def test_at_most_a_share_of_the_nodes_is_evicted() -> None:
    cluster = Simulated(nodes=6, policy=Policy(evict_share=0.34))
    for node in sorted(cluster.state.nodes)[2:]:
        cluster.finding(node, ecc())
        cluster.run(APART_S)
    assert len(cluster.evicted()) == 2
    assert "the limit is 2" in refusals(cluster)


def test_the_breaker_opens_after_many_evictions_within_an_hour() -> None:
    cluster = Simulated(nodes=6, policy=Policy(evict_share=1.0, evictions_per_hour=2))
    for node in sorted(cluster.state.nodes)[2:5]:
        cluster.finding(node, ecc())
        cluster.run(APART_S)
    assert len(cluster.evicted()) == 2
    assert "breaker is open" in refusals(cluster)
    cluster.run(3700)
    assert cluster.evicted() == ["n3", "n4", "n5"], "it closes, and what stands still is done"


def test_a_breaker_that_closes_replays_no_old_event() -> None:
    cluster = Simulated(nodes=6, policy=Policy(evict_share=1.0, evictions_per_hour=2))
    for node in sorted(cluster.state.nodes)[2:5]:
        cluster.finding(node, xid(79, line=f"on {node}"))
        cluster.run(APART_S)
    assert cluster.evicted() == ["n3", "n4"]
    cluster.run(3700)
    assert cluster.evicted() == ["n3", "n4"], "who fell off the bus an hour ago is people's business"
    cluster.finding(NodeId("n6"), ecc())
    assert cluster.evicted() == ["n3", "n4", "n6"]


def test_a_diagnosis_below_the_confidence_evicts_nobody() -> None:
    cluster = Simulated(policy=Policy(evict_confidence=0.96))
    cluster.finding(cluster.node(0), ecc())
    cluster.run(5)
    assert cluster.evicted() == []
    assert "confidence 0.95 is below 0.96" in refusals(cluster)


def test_unknown_never_evicts_whatever_its_runbook_says() -> None:
    cluster = Simulated(policy=Policy(evict_confidence=0.0))
    cluster.rules = Rules(cluster.rules.policy, {Cause("unknown"): BOOKS[Cause("unknown")]})
    cluster.crash(0)
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["unknown"], [], True)


def test_the_last_place_is_not_evicted() -> None:
    cluster = Simulated(nodes=2, min_world=2)
    cluster.finding(cluster.node(0), ecc())
    cluster.run(5)
    assert (cluster.evicted(), cluster.going()) == ([], True)
    assert "1 GPU would be left" in refusals(cluster)


@pytest.mark.parametrize("echo_first", [False, True])
def test_a_fault_whose_eviction_was_refused_explains_no_crash_on_another_node(echo_first: bool) -> None:
    cluster = Simulated(nodes=2, min_world=2)
    cluster.finding(cluster.node(0), ecc())
    cluster.run(60)
    if echo_first:
        cluster.raises(0, kind="collective")
    cluster.crash(1)
    cluster.run(30)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["gpu-ecc", "rank-crash"], [], True)
    assert len(cluster.pages()) == 2


def test_a_fault_whose_eviction_was_refused_explains_the_crash_on_its_node() -> None:
    cluster = Simulated(nodes=2, min_world=2)
    cluster.finding(cluster.node(0), ecc())
    cluster.run(60)
    cluster.crash(0)
    cluster.run(30)
    assert (cluster.causes(), len(cluster.pages())) == (["gpu-ecc"], 1)


def test_without_a_spare_the_job_shrinks() -> None:
    cluster = Simulated(nodes=2, min_world=1)
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    cluster.run(5)
    assert cluster.evicted() == [bad]
    assert [len(nodes) for nodes in cluster.resumed()] == [1]
    assert cluster.going()


def test_below_its_smallest_world_a_job_waits_with_a_reason_until_a_node_returns() -> None:
    cluster = Simulated(nodes=2, min_world=2)
    dead = cluster.node(0)
    cluster.ports[dead] = ("refused", "refused", -1)
    cluster.raises(1, kind="collective")
    cluster.silence(dead)
    cluster.run(10)
    assert cluster.resumed() == []
    assert "needs 2 ranks and has room for 1" in refusals(cluster)
    cluster.heard(dead)
    cluster.run(10)
    assert cluster.going()


def test_a_humans_drain_moves_the_ranks_at_a_step_boundary_and_is_never_undone() -> None:
    cluster = Simulated()
    node, running = cluster.node(0), tuple(cluster.seats)
    cluster.command("drain", node)
    cluster.run(5)
    (resume,) = cluster.all(Resume)
    assert resume.pause == running
    assert node not in cluster.resumed()[0]
    cluster.finding(node, ecc())
    cluster.silence(node)
    cluster.run(2)
    cluster.heard(node)
    cluster.run(600)
    cordon = cluster.at(node).cordon
    assert cordon is not None
    assert (cordon.by, cluster.evicted(), cluster.all(Readmit)) == ("operator", [], [])


def test_an_undrained_node_is_used_again() -> None:
    cluster = Simulated()
    node = cluster.node(0)
    cluster.command("drain", node)
    cluster.run(5)
    cluster.command("undrain", node)
    cluster.run(5)
    assert cluster.at(node).usable
    assert [start.node for start in cluster.all(StartWorker)].count(node) == 1


@pytest.mark.parametrize("fault", ["crash", "no new step"])
def test_a_node_that_a_human_takes_back_amid_an_incident_is_not_taken_away_by_it_again(fault: str) -> None:
    cluster = Simulated(nodes=5)
    cluster.advances = fault == "crash"
    node = cluster.node(0)
    cluster.finding(node, ecc())
    cluster.run(0.3)
    cluster.command("undrain", node)
    if fault == "crash":
        cluster.crash(1)
    cluster.run(100)
    assert (cluster.evicted(), cluster.at(node).cordon) == ([node], None)
    assert (node in cluster.resumed()[-1], cluster.at(node).usable) == (False, True), "its GPU is bad still"
    assert cluster.causes() == (["rank-crash"] if fault == "crash" else ["gpu-ecc"])


@pytest.mark.parametrize("how", ["cleared", "undrain"])
def test_a_fault_that_is_over_before_anything_was_done_about_it_evicts_nobody_later(how: str) -> None:
    cluster = Simulated(nodes=2, min_world=2)
    node = cluster.node(0)
    cluster.finding(node, ecc())
    cluster.run(5)
    assert "1 GPU would be left" in refusals(cluster)
    if how == "cleared":
        cluster.finding(node, structs.replace(ecc(), health=Health.OK))
    else:
        cluster.command("undrain", node)
    assert (cluster.stages(), len(cluster.pages())) == (["resolved"], 1)
    cluster.run(3600)
    cluster.tell(NodeJoined(cluster.now, NodeId("n3"), "10.0.0.3", 1, 1, "boot"))
    cluster.crash(0)
    cluster.run(20)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["rank-crash"], [], True)


def test_of_two_faults_the_one_that_is_not_over_keeps_the_incident_open() -> None:
    cluster = Simulated(nodes=2, min_world=2)
    node = cluster.node(0)
    cluster.finding(node, ecc())
    cluster.finding(node, lost())
    cluster.run(5)
    cluster.finding(node, structs.replace(lost(), health=Health.OK))
    assert cluster.stages() == ["mitigating"]
    cluster.finding(node, structs.replace(ecc(), health=Health.OK))
    assert cluster.stages() == ["resolved"]


def test_a_drain_during_a_recovery_is_done_after_it() -> None:
    cluster = Simulated()
    node = cluster.node(1)
    cluster.crash(0)
    cluster.run(0.4)
    cluster.command("drain", node)
    cluster.run(10)
    assert (node in cluster.resumed()[-1], cluster.going()) == (False, True)


@pytest.mark.parametrize("when", ["stopped", "observe-only"])
def test_when_actions_are_not_allowed_they_are_refused_and_paged(when: str) -> None:
    cluster = Simulated()
    if when == "stopped":
        cluster.command("stop-actions")
    else:
        cluster.rules = Rules(replace(cluster.rules.policy, observe_only=True), cluster.rules.runbooks)
    cluster.crash(0)
    cluster.run(60)
    assert (cluster.resumed(), cluster.evicted(), len(cluster.pages())) == ([], [], 1)
    assert when.replace("-only", "") in refusals(cluster)


def test_resuming_actions_does_what_is_still_true() -> None:
    cluster = Simulated()
    cluster.command("stop-actions")
    cluster.crash(0)
    cluster.finding(cluster.spare(), ecc())
    cluster.run(60)
    assert not cluster.all(Evict)
    cluster.command("resume-actions")
    cluster.run(5)
    assert (len(cluster.resumed()), len(cluster.evicted()), cluster.going()) == (1, 1, True)


def test_a_drain_while_actions_are_stopped_waits_for_them() -> None:
    cluster = Simulated()
    node = cluster.node(0)
    cluster.command("stop-actions")
    cluster.command("drain", node)
    cluster.run(5)
    assert cluster.resumed() == []
    cluster.command("resume-actions")
    cluster.run(5)
    assert (node in cluster.resumed()[-1], cluster.going()) == (False, True)


def test_a_failed_eviction_is_paged_and_tried_again() -> None:
    cluster = Simulated()
    cluster.fails = {"Evict"}
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    cluster.run(1)
    cluster.fails = set()
    cluster.run(10)
    assert cluster.evicted() == [bad, bad]
    assert len({action.id for action in cluster.all(Evict)}) == 2
    assert (len(cluster.pages()), cluster.going()) == (1, True)


def test_a_job_that_is_submitted_while_actions_are_stopped_starts_when_they_are_allowed() -> None:
    cluster = Simulated()
    cluster.tell(Commanded(cluster.now, "stop-actions", "", "anna", "", 0.0))
    cluster.tell(JobSubmitted(cluster.now, JobId("second"), 1, "x:y", 0, 1))
    cluster.run(30)
    assert cluster.all(StartWorker) == []
    cluster.tell(Commanded(cluster.now, "resume-actions", "", "anna", "", 0.0))
    cluster.run(30)
    assert {start.job for start in cluster.all(StartWorker)} == {"second"}


def test_only_a_known_node_or_cause_can_be_silenced() -> None:
    cluster = Simulated()
    state, causes = cluster.state, cluster.rules.runbooks
    assert refuse_command(state, "silence", "gpu-lost", causes) == ""
    assert refuse_command(state, "silence", cluster.node(0), causes) == ""
    refusal = refuse_command(state, "silence", "gpu-lots", causes)
    assert refusal == "neither a node nor a cause: 'gpu-lots'; did you mean 'gpu-lost'?"


def test_no_two_refusals_have_one_number() -> None:
    cluster = Simulated(nodes=5, world=3)
    cluster.command("stop-actions")
    for rank in (1, 2, 0):
        cluster.command("drain", cluster.node(rank))
    refused = [action.id for action in cluster.all(Refusal)]
    assert len(refused) == len(set(refused)) == 3
