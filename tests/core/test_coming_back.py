"""A node that comes back, and signs that come late: what is over stays over."""

import pytest
from simulated import Simulated, ecc, xid

from sentinel.model.action import StopWorker


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
