"""Standbys: every node that should have more of them is seen, whatever changed about it."""

from simulated import JOB, Simulated, ecc

from sentinel.core.state.workers import WorkerStage
from sentinel.model.action import StartWorker
from sentinel.model.fact import NodeJoined, NodeLeft, RankExited, WorkerReady
from sentinel.model.ids import NodeId, WorkerId
from sentinel.model.policy import Policy

SPARE = NodeId("n2")


def standbys(cluster: Simulated) -> int:
    waiting = (w for w in cluster.workers if w.stage is WorkerStage.STANDBY)
    return sum(worker.node == SPARE for worker in waiting)


def join(cluster: Simulated, gpus: int) -> None:
    cluster.tell(NodeJoined(cluster.now, SPARE, "10.0.0.2", 1, gpus, "boot"))
    cluster.run(5)


def test_a_spare_that_comes_back_with_more_gpus_gets_more_standbys() -> None:
    cluster = Simulated(nodes=1, gpus=3, world=3)
    cluster.advance()
    join(cluster, gpus=1)
    assert standbys(cluster) == 1
    join(cluster, gpus=3)
    assert standbys(cluster) == 3


def test_a_spare_warms_no_more_than_the_job_has_ranks() -> None:
    cluster = Simulated(nodes=2, gpus=8, world=2)
    cluster.advance()
    cluster.run(5)
    assert standbys(cluster) == 2


def test_a_node_that_left_and_joins_again_gets_its_standby_again() -> None:
    cluster = Simulated(nodes=2, world=1)
    cluster.tell(NodeLeft(cluster.now, SPARE))
    assert standbys(cluster) == 0
    join(cluster, gpus=1)
    assert standbys(cluster) == 1


def test_a_node_where_workers_did_not_start_is_tried_again_now_and_then() -> None:
    cluster = Simulated(nodes=2, world=1)
    cluster.never_starts = {SPARE}
    cluster.tell(RankExited(cluster.now, JOB, -1, *_standby(cluster), SPARE, -1, 1, 0, "signal 9"))
    cluster.run(600)
    tries = len(cluster.all(StartWorker))
    assert Policy().start_attempts < tries < 20
    cluster.never_starts = set()
    cluster.run(120)
    assert standbys(cluster) == 1


def test_workers_warm_up_where_they_will_compute() -> None:
    """Otherwise every process of a node would keep memory on its first GPU."""
    cluster = Simulated(nodes=2, gpus=4, world=4)
    cluster.advance()
    cluster.run(5)
    started = [fact for fact in cluster.facts if isinstance(fact, WorkerReady)]
    assert sorted(fact.gpu for fact in started if fact.node == SPARE) == [0, 1, 2, 3]
    warmed = {fact.worker: fact.gpu for fact in started}
    assert [warmed[worker.id] for _, worker in cluster.state.seated(cluster.job)] == [0, 1, 2, 3]


def test_a_lost_ranks_place_goes_to_the_standby_that_warmed_up_there() -> None:
    cluster = Simulated(nodes=2, gpus=2, world=2, standbys=2)
    cluster.advance()
    cluster.run(5)
    cluster.crash(1)
    cluster.run(5)
    seated = dict(cluster.state.seated(cluster.job))
    warmed = {fact.worker: fact.gpu for fact in cluster.facts if isinstance(fact, WorkerReady)}
    assert (seated[1].gpu, warmed[seated[1].id]) == (1, 1)


def test_no_standby_warms_up_on_a_gpu_that_is_accused() -> None:
    cluster = Simulated(nodes=2, gpus=2, world=2, policy=Policy(evictions_per_hour=0))
    cluster.advance()
    cluster.finding(SPARE, ecc(gpu=1))
    cluster.run(5)
    cluster.actions.clear()
    cluster.tell(RankExited(cluster.now, JOB, -1, _standby(cluster)[1], SPARE, -1, 1, 0, "signal 9"))
    assert [(start.node, start.gpu) for start in cluster.all(StartWorker)] == [(SPARE, 0)]


def _standby(cluster: Simulated) -> list[WorkerId]:
    waiting = (w for w in cluster.workers if w.stage is WorkerStage.STANDBY)
    return [worker.id for worker in waiting if worker.node == SPARE]
