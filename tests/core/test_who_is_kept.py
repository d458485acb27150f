"""Which processes a new generation keeps, and whether it comes at all: late, many, and waiting."""

import pytest
from msgspec.structs import replace
from simulated import JOB, Simulated, ecc

from sentinel.model.action import Action, StartWorker, StopJob
from sentinel.model.fact import RankRaised


class Slow(Simulated):
    """Workers that are asked for later than at first need 20 s to start."""

    def _answer(self, action: Action) -> None:
        if isinstance(action, StartWorker) and self.now > 1025:
            self.later(20.0, lambda: self._started(action))
        else:
            super()._answer(action)


def test_a_job_whose_starting_worker_is_drained_away_starts_another() -> None:
    cluster = Slow(nodes=5, world=2, standbys=0)
    cluster.run(10)
    cluster.finding(cluster.node(0), ecc())
    cluster.run(1)
    cluster.command("drain", cluster.all(StartWorker)[-1].node)
    cluster.run(120)
    assert cluster.going()


@pytest.mark.parametrize("culprit", [20, 150, 303])
def test_the_culprit_is_found_among_three_hundred_echoes(culprit: int) -> None:
    cluster = Simulated(nodes=40, gpus=8, world=304)
    process = cluster.worker(culprit).id
    for rank in range(304):
        cluster.raises(rank, kind="user" if rank == culprit else "collective")
    cluster.run(20)
    assert (cluster.causes(), cluster.going()) == (["rank-exception"], True)
    assert process not in cluster.seats


@pytest.mark.parametrize(("nodes", "gpus", "world"), [(2, 8, 16), (3, 1, 3), (4, 1, 3)])
def test_code_that_raises_on_every_rank_stops_the_job(nodes: int, gpus: int, world: int) -> None:
    cluster = Simulated(nodes=nodes, gpus=gpus, world=world)
    cluster.advances = False
    for _ in range(3):
        if cluster.job.stage.value != "stopped":
            for rank in range(world):
                cluster.raises(rank)
        cluster.run(8)
    assert (cluster.causes(), cluster.evicted(), len(cluster.all(StopJob))) == (["code-error"], [], 1)


def test_a_rank_that_fails_where_it_always_sat_accuses_no_node() -> None:
    cluster = Simulated(nodes=2, gpus=2, world=4, min_world=2)
    cluster.advances = False
    for rank in (0, 1):
        cluster.raises(rank)
    cluster.run(8)
    cluster.raises(0)
    cluster.run(8)
    assert cluster.evicted() == []


def test_an_exception_that_is_heard_late_accuses_no_node() -> None:
    cluster = Simulated(nodes=4, gpus=2, world=6)
    dead, old = cluster.worker(1), cluster.job.generation
    late = RankRaised(
        cluster.now, JOB, 1, dead.id, dead.node, dead.gpu, dead.pid, old, 7, "user", "ValueError: bad", "T"
    )
    cluster.advances = False
    cluster.raises(0)
    cluster.run(0.15)
    while cluster.job.generation == old:
        cluster.run(0.05)
    cluster.tell(replace(late, at=cluster.now))
    cluster.raises(1)  # as a dead process does at once
    cluster.run(1)
    cluster.advances = True
    cluster.run(30)
    assert (cluster.evicted(), cluster.going()) == ([], True)
    assert dead.id not in cluster.seats


def test_a_drain_that_waits_does_not_seat_a_process_that_raised_meanwhile() -> None:
    cluster = Slow(nodes=4, world=2, standbys=0)
    cluster.run(10)
    cluster.command("drain", cluster.node(0))
    cluster.run(19.9)
    dead = cluster.worker(1).id
    cluster.raises(1, "AcceleratorError: CUDA error")
    cluster.run(60)
    assert dead not in cluster.seats
    assert cluster.going()
