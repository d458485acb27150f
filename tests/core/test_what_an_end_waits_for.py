"""An incident whose job trains again says what it waits for, and for how long yet."""

from simulated import JOB, Simulated, ecc

from sentinel.core.recovery import awaits
from sentinel.core.settle.why import why
from sentinel.model.action import Page
from sentinel.model.fact import RankRaised


def said(cluster: Simulated, name: str) -> str:
    return "\n".join(
        f"{kind}: {text}" for kind, text in why(name, cluster.state, cluster.rules, cluster.now) or ()
    )


def recovered() -> Simulated:
    cluster = Simulated()
    cluster.crash(0)
    cluster.run(3)
    assert (cluster.going(), cluster.stages()) == (True, ["mitigating"])
    return cluster


def test_its_page_and_its_reasons_say_when_it_is_over() -> None:
    cluster = recovered()
    (incident,) = cluster.state.open_incidents()
    after = awaits(incident, cluster.state, cluster.rules).until - incident.opened
    over = f"over when {JOB} has kept its pace for {cluster.rules.policy.settled_s:.0f} s"
    assert f"O{over[1:]}: {after:.0f} s after it was seen" in cluster.all(Page)[-1].body
    told = said(cluster, incident.id)
    assert f"waits: {over}: {after + incident.opened - cluster.now:.1f} s more" in told
    assert "as its runbook says" not in told, "that is done"
    cluster.settle()
    assert cluster.stages() == ["resolved"]
    assert "Over when" not in cluster.all(Page)[-1].body


def test_each_break_lengthens_what_it_says() -> None:
    cluster = Simulated(world=3)
    for _ in range(3):
        for rank in range(3):
            cluster.raises(rank, "RuntimeError: Connection closed by peer", "collective")
        cluster.run(cluster.rules.policy.flap_pause_s * 5)
    (incident,) = cluster.state.open_incidents()
    longer = cluster.rules.policy.settled_s * 4
    assert f"has kept its pace for {longer:.0f} s, the longer the more often it broke" in (
        awaits(incident, cluster.state, cluster.rules).what
    )


def test_one_that_lacks_ranks_waits_for_them() -> None:
    cluster = Simulated(nodes=3, world=3, min_world=2)
    cluster.finding(cluster.node(0), ecc())
    cluster.crash(0)
    cluster.run(60)
    (incident,) = cluster.state.open_incidents()
    assert awaits(incident, cluster.state, cluster.rules).what == f"{JOB} has all of its ranks"


def test_a_job_that_does_not_train_yet_promises_nothing() -> None:
    cluster = Simulated()
    cluster.advances = False
    cluster.crash(0)
    cluster.run(3)
    (incident,) = cluster.state.open_incidents()
    assert awaits(incident, cluster.state, cluster.rules).what == ""
    assert "Over when" not in cluster.all(Page)[-1].body


def test_a_stopped_job_has_the_ranks_whose_processes_are_left() -> None:
    cluster = Simulated()
    for _ in range(2):
        cluster.advances = False
        cluster.raises(0)
        cluster.run(1)
    cluster.run(20)
    job = cluster.job
    left = len(cluster.state.present(job))
    assert (job.stage.value, left) == ("stopped", 0)
    assert f"is: stopped, generation {job.generation}, 0 of {job.wanted} ranks" in said(cluster, JOB)


def test_what_an_earlier_generation_met_and_is_heard_of_late_keeps_nothing_open() -> None:
    cluster = Simulated()
    old, worker = cluster.job.generation, cluster.worker(1)
    cluster.crash(0)
    cluster.run(5)
    place = 1, worker.id, worker.node, 0, 1, old
    cluster.tell(RankRaised(cluster.now, JOB, *place, 3, "user", "E", ""))
    cluster.settle()
    assert cluster.stages() == ["resolved"]
