"""Who is seated is fit to sit: a standby whose process stands still is passed over, and replaced."""

from dataclasses import dataclass

import pytest
from msgspec.structs import replace
from simulated import JOB, Simulated

from sentinel.core.detect.watch import Watch
from sentinel.core.state import State
from sentinel.core.state.workers import Worker, WorkerStage
from sentinel.model.action import StartWorker
from sentinel.model.fact import Fact, WorkerRuns, WorkerStopped
from sentinel.model.ids import NodeId, WorkerId
from sentinel.model.report import Report


def standby(cluster: Simulated, node: NodeId) -> Worker:
    waiting = (w for w in cluster.state.workers.waiting(JOB, node) if w.stage is WorkerStage.STANDBY)
    return next(waiting)


def stop(cluster: Simulated, worker: Worker) -> None:
    cluster.tell(WorkerStopped(cluster.now, JOB, worker.id, worker.node, "T", 1.2))


def start(cluster: Simulated, worker: Worker) -> None:
    cluster.tell(WorkerRuns(cluster.now, JOB, worker.id, worker.node))


def trains(standbys: int = 1, nodes: int = 3) -> Simulated:
    cluster = Simulated(nodes=nodes, world=2, standbys=standbys)
    cluster.advance()
    cluster.run(5)
    cluster.actions.clear()
    return cluster


def seated(cluster: Simulated) -> set[WorkerId]:
    return set(cluster.seats)


def test_a_stopped_standby_is_not_seated_and_another_one_is() -> None:
    cluster = trains(standbys=2)
    home = cluster.node(0)
    stopped = standby(cluster, home)
    stop(cluster, stopped)
    cluster.crash(0)
    cluster.run(5)
    assert cluster.going()
    assert stopped.id not in seated(cluster)
    assert cluster.node(0) == home, "its own node had another one"


def test_where_all_standbys_stand_still_a_new_one_is_started() -> None:
    cluster = trains(nodes=2)
    stopped = [standby(cluster, node) for node in cluster.state.nodes]
    for worker in stopped:
        stop(cluster, worker)
    cluster.crash(0)
    cluster.run(5)
    assert cluster.going()
    assert not seated(cluster) & {worker.id for worker in stopped}
    assert cluster.all(StartWorker)


def test_it_is_replaced_as_a_standby_after_a_while() -> None:
    cluster = trains()
    worker = standby(cluster, cluster.node(0))
    stop(cluster, worker)
    cluster.run(cluster.rules.policy.start_s - 1)
    assert not cluster.all(StartWorker)
    cluster.run(2)
    assert [action.node for action in cluster.all(StartWorker)] == [worker.node]
    cluster.run(60)
    assert len(cluster.all(StartWorker)) == 1


def test_one_that_stood_still_for_a_moment_is_not_replaced_and_may_sit() -> None:
    cluster = trains()
    worker = standby(cluster, cluster.node(0))
    stop(cluster, worker)
    cluster.run(cluster.rules.policy.start_s - 1)
    start(cluster, worker)
    cluster.run(60)
    assert not cluster.all(StartWorker)
    cluster.crash(0)
    cluster.run(5)
    assert cluster.worker(0).id == worker.id


def test_a_job_that_waits_for_a_worker_takes_one_that_runs_again() -> None:
    cluster = trains(nodes=2)
    stopped = [standby(cluster, node) for node in cluster.state.nodes]
    for worker in stopped:
        stop(cluster, worker)
    cluster.never_starts = set(cluster.state.nodes)
    cluster.crash(0)
    cluster.run(1)
    assert not cluster.going()
    start(cluster, stopped[0])
    cluster.run(2)
    assert cluster.going()
    assert stopped[0].id in seated(cluster)


def test_what_is_told_twice_or_of_a_rank_changes_nothing() -> None:
    cluster = trains()
    worker, rank = standby(cluster, cluster.node(0)), cluster.worker(1)
    stop(cluster, worker)
    before = cluster.state.to_bytes()
    stop(cluster, worker)
    stop(cluster, rank)
    start(cluster, rank)
    assert cluster.state.to_bytes() == before


@dataclass
class Looked:
    """A standby that reports to a real detector four times a second."""

    cluster: Simulated

    def __post_init__(self) -> None:
        self.watch = Watch(self.cluster.rules.policy, self.cluster.now - 60)
        self.worker = standby(self.cluster, self.cluster.node(0))

    def report(self, state: str = "S", age: float = 0.1, times: int = 1) -> list[Fact]:
        reported: list[Fact] = []
        for _ in range(times):
            self.cluster.now += 0.25
            beat = replace(self.cluster.beat(0), worker=self.worker.id, rank=-1, state=state, beat_age_s=age)
            report = Report(self.worker.node, "boot", 0, (beat,), ())
            facts = self.watch.report(report, self.cluster.state, self.cluster.now)
            for fact in facts:
                self.cluster.tell(fact)
            reported += facts
        return reported


@pytest.mark.parametrize(
    ("state", "age"),
    [("T", 0.1), ("t", 0.1), ("S", 1.5), ("D", 1.5)],
    ids=["stopped", "traced", "stale", "stuck"],
)
def test_a_standby_that_stands_still_is_told_once(state: str, age: float) -> None:
    looked = Looked(trains())
    assert looked.report(times=20) == []
    assert [type(fact) for fact in looked.report(state, age, times=20)] == [WorkerStopped]
    assert looked.report(times=int(looked.cluster.rules.policy.runs_again_s / 0.25) - 1) == []
    assert [type(fact) for fact in looked.report(times=20)] == [WorkerRuns]


@pytest.mark.parametrize(("state", "age"), [("D", 0.2), ("R", 0.9), ("S", 0.4)])
def test_one_that_reads_a_disk_or_is_busy_is_fit(state: str, age: float) -> None:
    assert Looked(trains()).report(state, age, times=20) == []


def test_one_that_is_stopped_again_and_again_is_told_once() -> None:
    looked = Looked(trains())
    reported = [fact for _ in range(20) for fact in (*looked.report("T", times=2), *looked.report())]
    assert [type(fact) for fact in reported] == [WorkerStopped]


def test_a_new_controller_knows_who_stands_still() -> None:
    looked = Looked(trains())
    looked.report("T")
    looked.cluster.state = State.from_bytes(looked.cluster.state.to_bytes())
    looked.watch = Watch(looked.cluster.rules.policy, looked.cluster.now)
    assert looked.report("T", times=4) == []
    assert [type(fact) for fact in looked.report(times=20)] == [WorkerRuns]
