"""How jobs end: finished is no failure, and one that is out of memory is tried once more."""

import pytest
from seen_by_people import names, open_incidents, resumed, seated, submit, text
from simulated import JOB, Simulated, ecc

from sentinel.core.learn.ending import has_finished
from sentinel.model.action import StartWorker, StopJob, StopWorker
from sentinel.model.fact import JobSubmitted, NodeJoined, NodeLeft, RankExited, RankRaised
from sentinel.model.ids import JobId, NodeId
from sentinel.model.policy import Policy

OTHER = JobId("other")
OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 79.1 GiB"
HOUR = 3600.0


# --- finished ------------------------------------------------------------------------------------------


def finish(cluster: Simulated, apart: float = 0.0) -> None:
    for rank in range(len(cluster.seats)):
        cluster.crash(rank, "exit 0")
        cluster.run(apart)


@pytest.mark.parametrize("apart", [0.0, 0.2, 0.4, 2.0])
def test_a_job_whose_ranks_all_end_with_0_is_finished(apart: float) -> None:
    """Ranks do not end in the same moment: who ended with 0 is waited for, and not replaced."""
    cluster = Simulated(nodes=5, world=3)
    finish(cluster, apart)
    cluster.run(60)
    assert (cluster.resumed(), cluster.pages(), open_incidents(cluster)) == ([], set(), 0)
    assert (cluster.causes(), cluster.evicted(), cluster.all(StopJob)) == ([], [], [])


def test_the_standbys_of_a_finished_job_are_stopped_and_not_refilled() -> None:
    cluster = Simulated(nodes=5)
    waiting = {worker.id for worker in cluster.workers if worker.stage.value == "standby"}
    assert waiting
    finish(cluster)
    cluster.run(60)
    assert {stop.worker for stop in cluster.all(StopWorker)} >= waiting
    assert cluster.all(StartWorker) == []


def test_the_gpus_of_a_finished_job_are_free_for_another() -> None:
    cluster = Simulated(nodes=2)
    submit(cluster, OTHER, 2)
    assert resumed(cluster, OTHER) == []
    finish(cluster, 0.1)
    cluster.run(10)
    assert sorted(seated(cluster, OTHER)) == ["n1", "n2"]


def test_a_finished_jobs_nodes_may_fail_without_its_being_resumed() -> None:
    cluster = Simulated(nodes=5)
    bad = cluster.node(0)
    finish(cluster)
    cluster.run(10)
    cluster.finding(bad, ecc())
    cluster.run(60)
    assert (cluster.evicted(), cluster.resumed()) == ([bad], [])


def test_a_finished_job_stays_finished_when_nodes_join_and_controllers_restart() -> None:
    cluster = Simulated(nodes=3)
    cluster.restarts = True
    finish(cluster)
    cluster.run(10)
    cluster.tell(NodeJoined(cluster.now, NodeId("n9"), "10.0.0.9", 1, 1, "boot"))
    cluster.command("resume-actions")
    cluster.run(60)
    assert (cluster.resumed(), cluster.all(StartWorker), cluster.pages()) == ([], [], set())


def test_a_controller_that_restarts_submits_a_finished_job_only_after_a_down() -> None:
    cluster = Simulated(nodes=2)
    assert not has_finished(cluster.state, JOB)
    finish(cluster)
    assert has_finished(cluster.state, JOB)
    for node in list(cluster.state.nodes):
        cluster.tell(NodeLeft(cluster.now, node))
    assert not has_finished(cluster.state, JOB)


def test_a_job_that_is_submitted_again_after_it_finished_runs_again() -> None:
    cluster = Simulated(nodes=3)
    finish(cluster)
    cluster.run(10)
    cluster.tell(JobSubmitted(cluster.now, JOB, 2, "x:y", 0, 1))
    cluster.run(20)
    assert (len(cluster.resumed()), cluster.going()) == (1, True)


def test_an_open_incident_of_a_job_that_finishes_is_over() -> None:
    """A job that is slower or smaller than it was may finish all the same."""
    cluster = Simulated(nodes=2, min_world=1)
    cluster.finding(cluster.node(0), ecc())
    cluster.run(20)
    finish(cluster)
    cluster.run(60)
    assert (len(cluster.resumed()), open_incidents(cluster), len(cluster.pages())) == (1, 0, 1)


def test_ends_with_0_count_against_no_node() -> None:
    cluster = Simulated(nodes=3, policy=Policy(crashes_per_hour=2))
    for _ in range(3):
        finish(cluster)
        cluster.run(10)
        cluster.tell(JobSubmitted(cluster.now, JOB, 2, "x:y", 0, 1))
        cluster.run(20)
    assert (cluster.evicted(), cluster.pages(), cluster.going()) == ([], set(), True)


@pytest.mark.parametrize("crash_first", [True, False])
def test_a_rank_that_crashes_while_others_end_with_0_is_a_crash(crash_first: bool) -> None:
    """The job is not done until every rank is: it forms anew, and only who crashed is named."""
    cluster = Simulated(nodes=6, world=3)
    ends = [(1, "exit 0"), (2, "exit 0"), (0, "signal 9")]
    culprit = cluster.node(0)
    for rank, how in reversed(ends) if crash_first else ends:
        cluster.crash(rank, how)
        cluster.run(0.1)
    cluster.run(60)
    assert (cluster.causes(), len(cluster.pages()), cluster.evicted()) == (["rank-crash"], 1, [])
    assert (len(cluster.resumed()) >= 1, cluster.going()) == (True, True)
    assert names(culprit, text(cluster))
    assert not any(names(node, text(cluster)) for node in cluster.state.nodes if node != culprit)


def test_a_rank_that_ends_with_0_too_early_does_not_hang_the_job_for_ever() -> None:
    """Its peers' collectives fail: nobody is finished, and nobody's node is at fault."""
    cluster = Simulated(nodes=5)
    cluster.crash(0, "exit 0")
    cluster.raises(1, kind="collective")
    cluster.run(60)
    assert (cluster.going(), cluster.evicted()) == (True, [])


def test_a_rank_that_ends_with_0_while_the_others_hang_is_replaced() -> None:
    """They wait for it in a collective, and the detector says so."""
    cluster = Simulated(nodes=5)
    cluster.crash(0, "exit 0")
    cluster.run(5)
    cluster.stall(cluster.beat(1))
    cluster.run(60)
    assert (cluster.going(), cluster.evicted()) == (True, [])


def test_a_rank_that_ends_with_0_long_before_the_others_is_missed() -> None:
    """Where no detector says that they hang."""
    cluster = Simulated(nodes=5, policy=Policy(finish_s=60.0))
    cluster.crash(0, "exit 0")
    cluster.run(59)
    assert (cluster.resumed(), cluster.pages()) == ([], set())
    cluster.run(30)
    assert (cluster.causes(), cluster.going(), cluster.evicted()) == (["rank-crash"], True, [])
    assert "exit 0" in text(cluster)


def test_nobody_moves_while_the_job_is_about_to_end() -> None:
    cluster = Simulated(nodes=5)
    cluster.crash(0, "exit 0")
    cluster.command("drain", cluster.node(1))
    cluster.run(30)
    cluster.crash(1, "exit 0")
    cluster.run(30)
    assert (cluster.resumed(), cluster.job.stage.value) == ([], "finished")


def test_a_standby_that_ends_with_0_finishes_nothing() -> None:
    cluster = Simulated(nodes=5)
    standby = next(worker for worker in cluster.workers if worker.stage.value == "standby")
    cluster.tell(RankExited(cluster.now, JOB, -1, standby.id, standby.node, -1, standby.pid, 1, "exit 0"))
    cluster.run(60)
    assert (cluster.going(), cluster.resumed(), cluster.incidents()) == (True, [], [])


def test_one_jobs_end_leaves_the_other_alone() -> None:
    cluster = Simulated(nodes=5)
    submit(cluster, OTHER, 2, standbys=1)
    before = seated(cluster, OTHER)
    generations = len(resumed(cluster, OTHER))
    finish(cluster)
    cluster.run(60)
    assert (seated(cluster, OTHER), len(resumed(cluster, OTHER))) == (before, generations)
    stopped = {(stop.job, stop.worker) for stop in cluster.all(StopWorker)}
    assert {job for job, _ in stopped} <= {JOB}


# --- CUDA out of memory --------------------------------------------------------------------------------


def out_of_memory(cluster: Simulated, rank: int = 0) -> None:
    cluster.raises(rank, OUT_OF_MEMORY)
    cluster.run(30)


def test_out_of_memory_on_one_rank_is_tried_once_more() -> None:
    """A foreign process or fragmentation may be over by then."""
    cluster = Simulated(nodes=5)
    out_of_memory(cluster)
    assert (cluster.all(StopJob), cluster.going(), cluster.evicted()) == ([], True, [])
    assert "out-of-memory" in cluster.causes()


@pytest.mark.parametrize("rank", [0, 1])
def test_out_of_memory_that_comes_again_stops_the_job(rank: int) -> None:
    """On whichever rank: the program asks for more than there is."""
    cluster = Simulated(nodes=5)
    out_of_memory(cluster)
    assert cluster.all(StopJob) == []
    out_of_memory(cluster, rank)
    assert ([stop.job for stop in cluster.all(StopJob)], cluster.evicted()) == ([JOB], [])
    assert "out of memory" in text(cluster).lower()


def test_out_of_memory_before_the_first_new_step_is_again() -> None:
    cluster = Simulated(nodes=5)
    cluster.advances = False
    cluster.raises(0, OUT_OF_MEMORY)
    cluster.run(2)
    assert cluster.all(StopJob) == []
    cluster.raises(0, OUT_OF_MEMORY)
    cluster.run(2)
    assert len(cluster.all(StopJob)) == 1


def test_out_of_memory_a_week_later_is_tried_once_more() -> None:
    cluster = Simulated(nodes=5)
    for _ in range(2):
        out_of_memory(cluster)
        cluster.run(7 * 24 * HOUR)
    assert (cluster.all(StopJob), cluster.going()) == ([], True)


def test_out_of_memory_of_all_ranks_at_once_is_the_programs() -> None:
    """It can't be a foreign process on every GPU: a retry would cost everybody's time."""
    cluster = Simulated(nodes=6, world=3)
    for rank in range(3):
        cluster.raises(rank, OUT_OF_MEMORY)
    cluster.run(30)
    assert ([stop.job for stop in cluster.all(StopJob)], cluster.evicted()) == ([JOB], [])


def test_a_crash_after_out_of_memory_is_no_second_one() -> None:
    cluster = Simulated(nodes=5)
    out_of_memory(cluster)
    cluster.crash(0)
    cluster.run(60)
    assert (cluster.all(StopJob), cluster.going()) == ([], True)


def test_out_of_memory_of_one_job_is_no_second_one_of_another() -> None:
    cluster = Simulated(nodes=6)
    submit(cluster, OTHER, 1)
    out_of_memory(cluster)
    [(_, worker)] = list(cluster.state.seated(cluster.state.jobs[OTHER]))
    place = (worker.rank, worker.id, worker.node, worker.gpu, worker.pid)
    generation = cluster.state.jobs[OTHER].generation
    error = ("user", OUT_OF_MEMORY, OUT_OF_MEMORY)
    cluster.tell(RankRaised(cluster.now, OTHER, *place, generation, 7, *error))
    cluster.run(30)
    assert cluster.all(StopJob) == []
