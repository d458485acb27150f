"""Who has one node's key, or is one rank, accuses nobody else and stops nothing, whatever it says."""

import math

import pytest
from msgspec.structs import replace
from simulated import JOB, Simulated
from test_watch import Watched

from sentinel.core.detect.watch import Watch
from sentinel.model.action import StopWorker
from sentinel.model.fact import JobAdvanced, JobStalled, RankExited, RankRaised, RankSlow
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.report import RankBeat

STRIKE = Finding("xid", "nvlink-strike", "gpu-0", Health.WARNING, "a link", {}, event=True)
LOST = Finding("gpu", "gpu-lost", "gpu-0", Health.CRITICAL, "it is gone")


@pytest.mark.parametrize(
    "found",
    [
        *(replace(STRIKE, evidence={"strikes": odd}) for odd in ("x", "", "²", math.nan, math.inf, 1e300)),
        *(replace(LOST, component=f"gpu-{odd}") for odd in ("²", "٣", "9" * 5000, "", "-1", "0 ")),
    ],
    ids=lambda found: f"{found.component[:8]!a} {list(found.evidence.values())!a}",
)
def test_no_finding_is_so_odd_that_the_fold_ends(found: Finding) -> None:
    cluster = Simulated()
    cluster.finding(cluster.node(0), found)
    cluster.run(10)
    assert (cluster.state.frozen, cluster.going()) == ("", True)


def test_a_nodes_exits_are_of_its_own_workers() -> None:
    cluster = Simulated(world=2)
    mine, other = cluster.worker(0), cluster.worker(1)
    place = (other.rank, other.id, mine.node, other.gpu, other.pid)
    cluster.tell(RankExited(cluster.now, JOB, *place, cluster.job.generation, "signal 9"))
    cluster.run(10)
    assert cluster.worker(1) == other
    assert not cluster.state.nodes[other.node].failures


def raised(cluster: Simulated, rank: int, says: int, generation: int, **more: object) -> RankRaised:
    worker = cluster.worker(rank)
    fact = RankRaised(
        cluster.now, JOB, says, worker.id, worker.node, 0, worker.pid, generation, 7, "user", "E: x", "E: x"
    )
    return replace(fact, **more)


def test_a_rank_raises_in_its_own_name() -> None:
    cluster = Simulated(world=3)
    other = cluster.worker(2)
    cluster.tell(raised(cluster, 0, 2, cluster.job.generation))
    cluster.run(10)
    assert other.id not in [a.worker for a in cluster.actions if isinstance(a, StopWorker)]
    assert other.id in cluster.seats


def test_a_generation_that_never_was_hides_none() -> None:
    cluster = Simulated(world=3)
    cluster.crash(1)
    cluster.tell(raised(cluster, 0, 0, 2**40))
    cluster.run(10)
    [incident] = cluster.incidents()
    assert incident.diagnosis is not None
    assert (incident.diagnosis.cause, [s.rank for s in incident.diagnosis.suspects]) == ("rank-crash", [1])


def test_a_rank_speaks_of_its_own_loss() -> None:
    cluster = Simulated(nodes=5, world=3)
    places = [cluster.node(rank) for rank in range(3)]
    generation = cluster.job.generation
    for rank in range(3):
        values = (1.0, 1.0, math.nan) if rank == 0 else (math.nan, 1.0, 1.0)
        cluster.tell(raised(cluster, rank, rank, generation, kind="nan", values=values))
    cluster.run(30)
    assert cluster.state.nodes[places[2]].cordon is None


def test_one_of_three_that_is_fast_by_its_word_makes_nobody_slow() -> None:
    cluster = Watched(3)
    cluster.outside = [1e-9, 0.1001, 0.1]
    for step in range(100):
        cluster.report(step)
    assert not cluster.said(RankSlow)


class Boasting(Watched):
    """One rank says what it likes of its step."""

    lie = 0

    def _beat(self, rank: int, step: int) -> RankBeat:
        beat = super()._beat(rank, step)
        return replace(beat, step=self.lie) if self.lie and rank == 0 else beat


@pytest.mark.parametrize("from_the_first", [True, False])
def test_a_step_that_one_node_makes_up_moves_no_job(from_the_first: bool) -> None:
    cluster = Boasting(3)
    if from_the_first:  # heard by a controller that has just started
        cluster.watch, cluster.lie = Watch(cluster.rules.policy, cluster.now), 2**48
    for step in range(20):
        cluster.report(step)
    cluster.lie = 2**48
    for step in range(20, 24):
        cluster.report(step)
    cluster.lie = 0
    cluster.advances = False
    cluster.crash(1)
    cluster.run(2)
    cluster.reported.clear()
    for step in range(24, 40):
        cluster.report(step)
    [advanced] = [fact for fact in cluster.said(JobAdvanced) if isinstance(fact, JobAdvanced)]
    assert advanced.step in (24, 25)


def test_a_node_alone_is_believed() -> None:
    cluster = Watched(2)
    for step in range(10):
        cluster.report(step)
    cluster.mute = {NodeId(cluster.node(1))}
    for step in range(10, 60):
        cluster.report(step)
    assert not cluster.said(JobStalled)


def test_many_findings_of_one_node_are_asked_about_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def counted(self: Finding) -> tuple[str, str, str]:
        nonlocal asked
        asked += 1
        return self.check, self.code, self.component

    monkeypatch.setattr(Finding, "key", property(counted))
    cluster = Simulated()
    for number in range(100):
        cluster.finding(cluster.spare(), replace(LOST, component=f"gpu-{number}"))
    assert asked < 100 * 100 * 10
