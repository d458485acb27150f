"""Standbys: every node that should have more of them is seen, whatever changed about it."""

from simulated import Simulated

from sentinel.core.crew import WorkerStage
from sentinel.model.fact import NodeJoined, NodeLeft
from sentinel.model.ids import NodeId

SPARE = NodeId("n2")


def standbys(cluster: Simulated) -> int:
    waiting = (w for w in cluster.job.workers.values() if w.stage is WorkerStage.STANDBY)
    return sum(worker.node == SPARE for worker in waiting)


def join(cluster: Simulated, gpus: int) -> None:
    cluster.tell(NodeJoined(cluster.now, SPARE, "10.0.0.2", 1, gpus, "boot"))
    cluster.run(5)


def test_a_spare_that_comes_back_with_more_gpus_gets_more_standbys() -> None:
    cluster = Simulated(nodes=2, world=1)
    cluster.advance()
    assert standbys(cluster) == 1
    join(cluster, gpus=3)
    assert standbys(cluster) == 3


def test_a_node_that_left_and_joins_again_gets_its_standby_again() -> None:
    cluster = Simulated(nodes=2, world=1)
    cluster.tell(NodeLeft(cluster.now, SPARE))
    assert standbys(cluster) == 0
    join(cluster, gpus=1)
    assert standbys(cluster) == 1
