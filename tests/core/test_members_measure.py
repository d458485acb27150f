"""What a runbook asks nodes to measure together: when it is asked, who is, and what comes of it."""

import pytest
from simulated import JOB, Simulated

from sentinel.model.action import Evict, Probe, Resume
from sentinel.model.collective import MemberFinding
from sentinel.model.fact import JobAtPace, JobSlowed, JobStalled
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy
from sentinel.model.report import STUCK_EXIT

SLOW_LINK = Finding("pair", "link-slow", "link", Health.CRITICAL, "all its 3 ways are slow")


def slowed(cluster: Simulated) -> None:
    cluster.tell(JobSlowed(cluster.now, JOB, cluster.job.generation, 0.75, 0.25, 15.0, 20, 0.01, 0.01))


def probes(cluster: Simulated) -> list[Probe]:
    return [action for action in cluster.actions if isinstance(action, Probe) and action.check]


def cause(cluster: Simulated) -> str:
    (incident,) = cluster.incidents()
    assert incident.diagnosis is not None
    return incident.diagnosis.cause


def test_the_jobs_nodes_and_the_idle_ones_are_asked_once() -> None:
    cluster = Simulated(nodes=4, world=2)
    slowed(cluster)
    cluster.run(60)
    (asked,) = probes(cluster)
    assert (asked.check, asked.members) == ("pair", tuple(NodeId(f"n{n}") for n in range(1, 5)))
    assert asked.deadline == Policy().collective_s
    assert cause(cluster) == "job-slow"
    assert len(cluster.pages()) == 1


def test_nodes_of_other_jobs_and_those_that_are_out_of_use_are_left_alone() -> None:
    cluster = Simulated(nodes=4, world=2)
    cluster.command("drain", "n4")
    cluster.run(5)
    slowed(cluster)
    assert probes(cluster)[0].members == ("n1", "n2", "n3")


def test_what_they_find_is_the_cause_and_evicts_nobody() -> None:
    cluster = Simulated(nodes=4, world=2)
    cluster.found = (MemberFinding(NodeId("n2"), SLOW_LINK),)
    slowed(cluster)
    cluster.run(60)
    (incident,) = cluster.incidents()
    assert incident.diagnosis is not None
    assert (incident.diagnosis.cause, incident.diagnosis.nodes) == ("link-slow", ["n2"])
    assert not any(isinstance(action, Evict | Resume) for action in cluster.actions)
    assert cluster.at("n2").usable
    cluster.tell(JobAtPace(cluster.now, JOB, cluster.job.generation, 0.25, 0.25))
    cluster.settle()
    assert cluster.stages() == ["resolved"]


def test_what_hangs_behind_a_slow_link_makes_no_crash_loop_of_earlier_crashes() -> None:
    cluster = Simulated(nodes=4, world=2)
    home = cluster.node(0)
    for _ in range(2):
        cluster.crash(0)
        cluster.run(120)
    assert cluster.node(0) == home
    cluster.found = (MemberFinding(home, SLOW_LINK),)
    slowed(cluster)
    cluster.run(20)
    for _ in range(3):
        cluster.stall(cluster.beat(0, enqueued=4), cluster.beat(1, enqueued=5))
        cluster.run(0.1)
        cluster.crash(0, f"exit {STUCK_EXIT}")
        cluster.run(Policy().settled_s / 2)
    assert cluster.causes()[-1] == "link-slow"
    cluster.run(120)
    assert (cluster.evicted(), cluster.going()) == ([], True)


def test_whoever_does_not_answer_keeps_nobody_waiting() -> None:
    cluster = Simulated(nodes=4, world=2)
    cluster.fails = {"Probe"}
    slowed(cluster)
    cluster.run(60)
    assert (len(probes(cluster)), cause(cluster)) == (1, "job-slow")
    assert not cluster.state.awaits_evidence(cluster.incidents()[0].id)


@pytest.mark.parametrize("forbidden", ["observe-only", "stopped"])
def test_nobody_is_asked_while_nothing_may_be_done(forbidden: str) -> None:
    policy = Policy(observe_only=forbidden == "observe-only")
    cluster = Simulated(nodes=4, world=2, policy=policy)
    if forbidden == "stopped":
        cluster.command("stop-actions")
    slowed(cluster)
    cluster.run(60)
    assert (probes(cluster), cause(cluster)) == ([], "job-slow")


def test_it_is_asked_when_that_is_lifted_if_the_job_is_slow_still() -> None:
    cluster = Simulated(nodes=4, world=2)
    cluster.command("stop-actions")
    slowed(cluster)
    cluster.run(60)
    cluster.command("resume-actions")
    assert len(probes(cluster)) == 1


def test_a_job_that_is_well_again_is_not_disturbed() -> None:
    cluster = Simulated(nodes=4, world=2)
    cluster.command("stop-actions")
    slowed(cluster)
    cluster.run(60)
    cluster.tell(JobAtPace(cluster.now, JOB, cluster.job.generation, 0.25, 0.25))
    cluster.command("resume-actions")
    assert probes(cluster) == []


def test_one_node_alone_has_nobody_to_measure_with() -> None:
    cluster = Simulated(nodes=1, gpus=2, world=2)
    slowed(cluster)
    cluster.run(60)
    assert (probes(cluster), cause(cluster)) == ([], "job-slow")


def test_nobody_is_asked_again_before_the_answer() -> None:
    cluster = Simulated(nodes=4, world=2)
    slowed(cluster)
    cluster.crash(0)
    cluster.run(0.9)
    cluster.tell(JobStalled(cluster.now, JOB, cluster.job.generation, 2.3, 0.1, (), ()))
    assert len(probes(cluster)) == 1


@pytest.mark.parametrize(
    ("code", "health", "found"),
    [
        ("ways-unclear", Health.WARNING, "network-unclear"),
        ("ways-slow", Health.WARNING, "network-unclear"),
        ("members-silent", Health.UNKNOWN, "job-slow"),
    ],
)
def test_what_accuses_nobody_is_told_and_blames_nobody(code: str, health: Health, found: str) -> None:
    cluster = Simulated(nodes=4, world=2)
    cluster.found = (MemberFinding(NodeId("n2"), Finding("pair", code, "network", health, "either n2 or …")),)
    slowed(cluster)
    cluster.run(60)
    (incident,) = cluster.incidents()
    assert incident.diagnosis is not None
    assert (incident.diagnosis.cause, incident.diagnosis.suspects) == (found, ())
    assert not any(isinstance(action, Evict | Resume) for action in cluster.actions)
    assert cluster.at("n2").usable
