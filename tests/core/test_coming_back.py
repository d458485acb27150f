"""A node that comes back, and signs that come late: what is over stays over."""

import pytest
from msgspec.structs import replace
from simulated import JOB, Simulated, ecc, xid

from sentinel.model.action import StopWorker
from sentinel.model.fact import JobAtPace, JobSlowed, RankAtPace, RankSlow
from sentinel.model.finding import Health
from sentinel.model.policy import Policy


@pytest.mark.parametrize("heals_after", [5, 100])
def test_a_node_that_was_cut_off_is_swept_when_it_is_heard_again(heals_after: float) -> None:
    cluster = Simulated()
    cut = cluster.node(0)
    ours = {worker.id for worker in cluster.workers if worker.node == cut}
    cluster.raises(1, kind="collective")
    cluster.silence(cut)
    cluster.run(heals_after)
    cluster.actions.clear()
    cluster.heard(cut)
    swept = {action.worker for action in cluster.all(StopWorker)}
    assert swept == ours, "its rank and its standby may still run there"


def test_a_late_second_sign_does_not_change_a_known_cause() -> None:
    cluster = Simulated(world=3)
    node = cluster.node(0)
    for rank in (1, 2):
        cluster.raises(rank, kind="collective")
    cluster.finding(node, xid(48))
    cluster.finding(node, ecc())
    cluster.run(10)
    assert (cluster.causes(), cluster.evicted()) == (["gpu-ecc"], [node])


def test_slowness_and_findings_that_are_over_leave_nothing_of_an_earlier_break() -> None:
    cluster = Simulated(world=3, policy=Policy(evict_confidence=1.0))
    cluster.crash(0)
    cluster.run(5)
    assert cluster.going()
    node, place = cluster.node(2), (2, cluster.node(2), 0, cluster.job.generation)
    cluster.tell(RankSlow(cluster.now, JOB, *place, 0.5, 0.1, 12))
    cluster.tell(JobSlowed(cluster.now, JOB, place[3], 0.7, 0.1, 15.0, 20, 0.1, 0.1, ()))
    cluster.finding(node, ecc())
    cluster.run(30)
    assert set(cluster.stages()) == {"mitigating"}
    cluster.tell(JobAtPace(cluster.now, JOB, place[3], 0.1, 0.1))
    cluster.tell(RankAtPace(cluster.now, JOB, place[0], node, place[3], 20))
    cluster.finding(node, replace(ecc(), health=Health.OK))
    cluster.settle()
    assert set(cluster.stages()) == {"resolved"}
