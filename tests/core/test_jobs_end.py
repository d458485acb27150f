"""How jobs end, wait and share: finished is no failure, spares go by priority, maintenance accuses nobody."""

import inspect
from typing import Any

import pytest
from simulated import JOB, Simulated, ecc, lost
from told import idle, names, open_incidents, text, titles

from sentinel.model.action import Evict, Resume, StartWorker, StopJob, StopWorker
from sentinel.model.fact import Commanded, JobSubmitted, NodeJoined, RankExited, RankRaised
from sentinel.model.ids import JobId, NodeId
from sentinel.model.policy import Policy

OTHER, THIRD = JobId("other"), JobId("third")
GONE = ("refused", "refused", -1)
OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 79.1 GiB"
HOUR = 3600.0


def submit(
    cluster: Simulated, job: JobId, world: int, *, min_world: int = 0, standbys: int = 0, **more: Any
) -> None:
    """Submit a job; a field that jobs do not have yet skips the test."""
    unknown = [name for name in more if name not in inspect.signature(JobSubmitted).parameters]
    if unknown:
        pytest.skip(f"a job has no {unknown[0]}")
    least = min_world or world
    cluster.tell(JobSubmitted(cluster.now, job, world, "x:y", standbys, least, **more))
    cluster.run(10)


def seated(cluster: Simulated, job: JobId) -> list[NodeId]:
    return [worker.node for _, worker in cluster.state.seated(cluster.state.jobs[job])]


def resumed(cluster: Simulated, job: JobId) -> list[Resume]:
    return [resume for resume in cluster.all(Resume) if resume.job == job]


# --- finished ------------------------------------------------------------------------------------------


def finish(cluster: Simulated, apart: float = 0.0) -> None:
    for rank in range(len(cluster.seats)):
        cluster.crash(rank, "exit 0")
        cluster.run(apart)


@pytest.mark.xfail(strict=True, reason="an end with 0 is taken for a crash")
@pytest.mark.parametrize("apart", [0.0, 0.2, 0.4, 2.0])
def test_a_job_whose_ranks_all_end_with_0_is_finished(apart: float) -> None:
    """Ranks do not end in the same moment: who ended with 0 is waited for, and not replaced."""
    cluster = Simulated(nodes=5, world=3)
    finish(cluster, apart)
    cluster.run(60)
    assert (cluster.resumed(), cluster.pages(), open_incidents(cluster)) == ([], set(), 0)
    assert (cluster.causes(), cluster.evicted(), cluster.all(StopJob)) == ([], [], [])


@pytest.mark.xfail(strict=True, reason="an end with 0 is taken for a crash")
def test_the_standbys_of_a_finished_job_are_stopped_and_not_refilled() -> None:
    cluster = Simulated(nodes=5)
    waiting = {worker.id for worker in cluster.workers if worker.stage.value == "standby"}
    assert waiting
    finish(cluster)
    cluster.run(60)
    assert {stop.worker for stop in cluster.all(StopWorker)} >= waiting
    assert cluster.all(StartWorker) == []


@pytest.mark.xfail(strict=True, reason="an end with 0 is taken for a crash")
def test_the_gpus_of_a_finished_job_are_free_for_another() -> None:
    cluster = Simulated(nodes=2)
    submit(cluster, OTHER, 2)
    assert resumed(cluster, OTHER) == []
    finish(cluster, 0.1)
    cluster.run(10)
    assert sorted(seated(cluster, OTHER)) == ["n1", "n2"]


@pytest.mark.xfail(strict=True, reason="an end with 0 is taken for a crash")
def test_a_finished_jobs_nodes_may_fail_without_its_being_resumed() -> None:
    cluster = Simulated(nodes=5)
    bad = cluster.node(0)
    finish(cluster)
    cluster.run(10)
    cluster.finding(bad, ecc())
    cluster.run(60)
    assert (cluster.evicted(), cluster.resumed()) == ([bad], [])


@pytest.mark.xfail(strict=True, reason="an end with 0 is taken for a crash")
def test_a_finished_job_stays_finished_when_nodes_join_and_controllers_restart() -> None:
    cluster = Simulated(nodes=3)
    cluster.restarts = True
    finish(cluster)
    cluster.run(10)
    cluster.tell(NodeJoined(cluster.now, NodeId("n9"), "10.0.0.9", 1, 1, "boot"))
    cluster.command("resume-actions")
    cluster.run(60)
    assert (cluster.resumed(), cluster.all(StartWorker), cluster.pages()) == ([], [], set())


def test_a_job_that_is_submitted_again_after_it_finished_runs_again() -> None:
    cluster = Simulated(nodes=3)
    finish(cluster)
    cluster.run(10)
    cluster.tell(JobSubmitted(cluster.now, JOB, 2, "x:y", 0, 1))
    cluster.run(20)
    assert (len(cluster.resumed()), cluster.going()) == (1, True)


@pytest.mark.xfail(strict=True, reason="an end with 0 is taken for a crash")
def test_an_open_incident_of_a_job_that_finishes_is_over() -> None:
    """A job that is slower or smaller than it was may finish all the same."""
    cluster = Simulated(nodes=2, min_world=1)
    cluster.finding(cluster.node(0), ecc())
    cluster.run(20)
    finish(cluster)
    cluster.run(60)
    assert (len(cluster.resumed()), open_incidents(cluster), len(cluster.pages())) == (1, 0, 1)


@pytest.mark.xfail(strict=True, reason="an end with 0 is taken for a crash")
def test_ends_with_0_count_against_no_node() -> None:
    cluster = Simulated(nodes=3, policy=Policy(crashes_per_hour=2))
    for _ in range(3):
        finish(cluster)
        cluster.run(10)
        cluster.tell(JobSubmitted(cluster.now, JOB, 2, "x:y", 0, 1))
        cluster.run(20)
    assert (cluster.evicted(), cluster.pages(), cluster.going()) == ([], set(), True)


@pytest.mark.xfail(strict=True, reason="an end with 0 is taken for a crash")
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


@pytest.mark.xfail(strict=True, reason="the first out of memory stops the job")
def test_out_of_memory_on_one_rank_is_tried_once_more() -> None:
    """A foreign process or fragmentation may be over by then."""
    cluster = Simulated(nodes=5)
    out_of_memory(cluster)
    assert (cluster.all(StopJob), cluster.going(), cluster.evicted()) == ([], True, [])
    assert "out-of-memory" in cluster.causes()


@pytest.mark.xfail(strict=True, reason="the first out of memory stops the job")
@pytest.mark.parametrize("rank", [0, 1])
def test_out_of_memory_that_comes_again_stops_the_job(rank: int) -> None:
    """On whichever rank: the program asks for more than there is."""
    cluster = Simulated(nodes=5)
    out_of_memory(cluster)
    assert cluster.all(StopJob) == []
    out_of_memory(cluster, rank)
    assert ([stop.job for stop in cluster.all(StopJob)], cluster.evicted()) == ([JOB], [])
    assert "out of memory" in text(cluster).lower()


@pytest.mark.xfail(strict=True, reason="the first out of memory stops the job")
def test_out_of_memory_before_the_first_new_step_is_again() -> None:
    cluster = Simulated(nodes=5)
    cluster.advances = False
    cluster.raises(0, OUT_OF_MEMORY)
    cluster.run(2)
    assert cluster.all(StopJob) == []
    cluster.raises(0, OUT_OF_MEMORY)
    cluster.run(2)
    assert len(cluster.all(StopJob)) == 1


@pytest.mark.xfail(strict=True, reason="the first out of memory stops the job")
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


@pytest.mark.xfail(strict=True, reason="the first out of memory stops the job")
def test_a_crash_after_out_of_memory_is_no_second_one() -> None:
    cluster = Simulated(nodes=5)
    out_of_memory(cluster)
    cluster.crash(0)
    cluster.run(60)
    assert (cluster.all(StopJob), cluster.going()) == ([], True)


@pytest.mark.xfail(strict=True, reason="the first out of memory stops the job")
def test_out_of_memory_of_one_job_is_no_second_one_of_another() -> None:
    cluster = Simulated(nodes=6)
    submit(cluster, OTHER, 1)
    out_of_memory(cluster)
    [(_, worker)] = list(cluster.state.seated(cluster.state.jobs[OTHER]))
    place = (worker.rank, worker.id, worker.node, worker.gpu, worker.pid)
    generation = cluster.state.jobs[OTHER].generation
    told = ("user", OUT_OF_MEMORY, OUT_OF_MEMORY)
    cluster.tell(RankRaised(cluster.now, OTHER, *place, generation, 7, *told))
    cluster.run(30)
    assert cluster.all(StopJob) == []


# --- sharing -------------------------------------------------------------------------------------------


def both_lose_a_node(cluster: Simulated, first: JobId) -> None:
    """Two jobs lose a node at once, and there is one spare."""
    jobs = [first, *({JOB, OTHER} - {first})]
    for job in jobs:
        cluster.finding(seated(cluster, job)[0], ecc() if job == JOB else lost())
    cluster.run(60)


def wide() -> Simulated:
    """Return five nodes: for two jobs of two ranks there is one spare."""
    return Simulated(nodes=5, min_world=1, policy=Policy(evict_share=1.0))


@pytest.mark.parametrize("hurt_first", [JOB, OTHER])
def test_a_job_of_higher_priority_gets_the_spare_though_it_was_submitted_later(hurt_first: JobId) -> None:
    """When both need it in the same moment; whoever has it already keeps it while it runs."""
    cluster = wide()
    submit(cluster, OTHER, 2, min_world=1, priority=5)
    cluster.command("stop-actions")
    both_lose_a_node(cluster, hurt_first)
    cluster.command("resume-actions")
    cluster.run(60)
    assert (len(seated(cluster, OTHER)), len(seated(cluster, JOB))) == (2, 1)


@pytest.mark.parametrize("hurt_first", [JOB, OTHER])
def test_of_equal_jobs_the_one_submitted_first_gets_the_spare(hurt_first: JobId) -> None:
    cluster = wide()
    submit(cluster, OTHER, 2, min_world=1)
    cluster.command("stop-actions")
    both_lose_a_node(cluster, hurt_first)
    cluster.command("resume-actions")
    cluster.run(60)
    assert (len(seated(cluster, JOB)), len(seated(cluster, OTHER))) == (2, 1)


def test_of_two_jobs_that_wait_the_one_submitted_first_starts_first() -> None:
    cluster = Simulated(nodes=2)
    for job in (OTHER, THIRD):
        submit(cluster, job, 2)
    cluster.command("stop-job", JOB)
    cluster.run(20)
    assert (len(resumed(cluster, OTHER)), resumed(cluster, THIRD)) == (1, [])


def test_a_job_that_has_room_is_not_kept_waiting_by_one_that_has_none() -> None:
    """An idle GPU helps nobody; the larger job starts as soon as there is room for all of it."""
    cluster = Simulated(nodes=3)
    submit(cluster, OTHER, 3)
    submit(cluster, THIRD, 1)
    assert (resumed(cluster, OTHER), len(resumed(cluster, THIRD))) == ([], 1)


def test_the_name_of_a_job_gives_it_no_turn() -> None:
    cluster = Simulated(nodes=2)
    for job in (THIRD, JobId("a-job")):
        submit(cluster, job, 2)
    cluster.command("stop-job", JOB)
    cluster.run(20)
    assert (len(resumed(cluster, THIRD)), resumed(cluster, JobId("a-job"))) == (1, [])


def test_of_two_jobs_that_wait_the_one_of_higher_priority_starts_first() -> None:
    cluster = Simulated(nodes=2)
    submit(cluster, OTHER, 2, priority=0)
    submit(cluster, THIRD, 2, priority=1)
    cluster.command("stop-job", JOB)
    cluster.run(20)
    assert (len(resumed(cluster, THIRD)), resumed(cluster, OTHER)) == (1, [])


def test_a_running_job_is_not_stopped_for_one_of_higher_priority() -> None:
    """Priority says who gets what is free; who preempts jobs is the scheduler."""
    cluster = Simulated(nodes=2)
    submit(cluster, OTHER, 2, priority=9)
    cluster.run(60)
    assert (cluster.going(), cluster.resumed(), resumed(cluster, OTHER)) == (True, [], [])


def test_a_standby_of_a_low_job_makes_room_for_a_high_jobs_rank() -> None:
    """A warm standby is no use of a GPU: a node with nothing else on it is a spare."""
    cluster = wide()
    submit(cluster, OTHER, 2, min_world=1, standbys=1, priority=5)
    bad = seated(cluster, OTHER)[0]
    cluster.finding(bad, ecc())
    cluster.run(60)
    assert (len(seated(cluster, OTHER)), bad in seated(cluster, OTHER)) == (2, False)


def test_a_job_submitted_again_keeps_its_place_in_the_queue() -> None:
    """Submitting twice is no news, so it is no reason to wait longer."""
    cluster = Simulated(nodes=2)
    for job in (OTHER, THIRD, OTHER):
        submit(cluster, job, 2)
    cluster.command("stop-job", JOB)
    cluster.run(20)
    assert (len(resumed(cluster, OTHER)), resumed(cluster, THIRD)) == (1, [])


# --- maintenance ---------------------------------------------------------------------------------------


def maintain(cluster: Simulated, node: NodeId, seconds: float) -> float:
    """Announce maintenance of a node; give when it is to be over."""
    until = cluster.now + seconds
    cluster.tell(Commanded(cluster.now, "maintain", node, "ann", "new kernel", until))
    cluster.run(5)
    return until


def dies(cluster: Simulated, node: NodeId) -> None:
    cluster.doors[node] = GONE
    cluster.silence(node)


def boots(cluster: Simulated, node: NodeId) -> None:
    cluster.doors.pop(node, None)
    cluster.tell(NodeJoined(cluster.now, node, "10.0.0.7", 1, 1, "another-boot"))
    cluster.run(5)


def quiet(cluster: Simulated) -> bool:
    """Nobody is accused, evicted or woken."""
    return not (cluster.pages() or cluster.evicted() or open_incidents(cluster))


@pytest.mark.xfail(strict=True, reason="no command announces maintenance")
@pytest.mark.parametrize("doors", [GONE, ("timeout", "timeout", -1), ("refused", "ok", -1)])
def test_a_spare_in_maintenance_may_be_silent(doors: tuple[str, str, int]) -> None:
    cluster = Simulated(nodes=5)
    spare = cluster.spare()
    maintain(cluster, spare, HOUR)
    cluster.doors[spare] = doors
    cluster.silence(spare)
    cluster.run(HOUR - 60)
    assert quiet(cluster)


def test_a_node_that_is_still_silent_after_its_maintenance_is_lost() -> None:
    """The time that was announced is over, so it counts as if it had fallen silent then."""
    cluster = Simulated(nodes=5)
    spare = cluster.spare()
    maintain(cluster, spare, HOUR)
    dies(cluster, spare)
    cluster.run(HOUR + 120)
    assert (cluster.evicted(), cluster.causes(), len(cluster.pages())) == ([spare], ["node-lost"], 1)


def test_a_node_that_falls_silent_after_its_maintenance_is_lost() -> None:
    cluster = Simulated(nodes=5)
    spare = cluster.spare()
    maintain(cluster, spare, HOUR)
    dies(cluster, spare)
    cluster.run(600)
    boots(cluster, spare)
    cluster.run(HOUR)
    dies(cluster, spare)
    cluster.run(120)
    assert cluster.evicted() == [spare]


def test_maintenance_that_is_over_already_excuses_nothing() -> None:
    cluster = Simulated(nodes=5)
    spare = cluster.spare()
    maintain(cluster, spare, -60)
    dies(cluster, spare)
    cluster.run(120)
    assert cluster.evicted() == [spare]


@pytest.mark.xfail(strict=True, reason="no command announces maintenance")
def test_another_nodes_silence_is_not_excused() -> None:
    cluster = Simulated(nodes=6)
    one, two = idle(cluster, 2)
    maintain(cluster, one, HOUR)
    for node in (one, two):
        dies(cluster, node)
    cluster.run(120)
    assert cluster.evicted() == [two]


@pytest.mark.xfail(strict=True, reason="no command announces maintenance")
def test_a_job_leaves_a_node_in_maintenance_at_a_step_boundary() -> None:
    """Whoever announces maintenance is about to end its processes: the job goes before, and loses no step."""
    cluster = Simulated(nodes=5)
    node, running = cluster.node(0), tuple(cluster.seats)
    maintain(cluster, node, HOUR)
    (resume,) = cluster.all(Resume)
    assert (node in cluster.resumed()[0], resume.pause) == (False, running)
    dies(cluster, node)
    cluster.run(HOUR - 60)
    assert (quiet(cluster), cluster.going()) == (True, True)


@pytest.mark.xfail(strict=True, reason="no command announces maintenance")
def test_a_job_without_a_spare_stays_until_its_node_goes_and_comes_back_with_it() -> None:
    """It may not shrink, so it trains as long as it can; nobody is accused of what was announced."""
    cluster = Simulated(nodes=2, min_world=2)
    node = cluster.node(0)
    maintain(cluster, node, HOUR)
    assert (cluster.going(), cluster.resumed()) == (True, [])
    cluster.raises(1, kind="collective")
    dies(cluster, node)
    cluster.run(600)
    assert (cluster.evicted(), names(node, titles(cluster))) == ([], False)
    boots(cluster, node)
    cluster.run(HOUR)
    assert (cluster.going(), cluster.evicted(), open_incidents(cluster)) == (True, [], 0)


@pytest.mark.xfail(strict=True, reason="no command announces maintenance")
def test_a_rank_that_ends_by_its_nodes_maintenance_counts_against_nobody() -> None:
    """The shutdown ends the processes before the job has left."""
    cluster = Simulated(nodes=5, policy=Policy(crashes_per_hour=1))
    node = cluster.node(0)
    until = cluster.now + HOUR
    cluster.tell(Commanded(cluster.now, "maintain", node, "ann", "", until))
    if node in seated(cluster, JOB):
        cluster.crash(seated(cluster, JOB).index(node), "signal 9")
    dies(cluster, node)
    cluster.run(600)
    assert (cluster.evicted(), cluster.pages(), cluster.going()) == ([], set(), True)


@pytest.mark.xfail(strict=True, reason="no command announces maintenance")
def test_nothing_is_placed_on_a_node_in_maintenance() -> None:
    for spares in (0, 1):
        cluster = Simulated(nodes=4)
        spare, other = (idle(cluster, 2)[each] for each in (spares, 1 - spares))
        maintain(cluster, spare, HOUR)
        cluster.actions.clear()
        cluster.finding(cluster.node(0), ecc())
        cluster.run(60)
        cluster.crash(1)
        cluster.run(60)
        assert (cluster.going(), cluster.resumed()[0][0]) == (True, other)
        assert spare not in [start.node for start in cluster.all(StartWorker)]


@pytest.mark.xfail(strict=True, reason="no command announces maintenance")
def test_a_node_is_used_again_when_its_maintenance_is_over_and_it_reports() -> None:
    """Nobody has to undrain it: the announced time is the word. It may boot twice before."""
    cluster = Simulated(nodes=3, min_world=2)
    spare = cluster.spare()
    maintain(cluster, spare, HOUR)
    for _ in range(2):
        dies(cluster, spare)
        cluster.run(300)
        boots(cluster, spare)
    assert spare not in [start.node for start in cluster.all(StartWorker)]
    cluster.run(HOUR)
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    cluster.run(30)
    assert (spare in seated(cluster, JOB), cluster.evicted(), cluster.going()) == (True, [bad], True)


def test_undraining_ends_a_maintenance_early() -> None:
    cluster = Simulated(nodes=3)
    spare = cluster.spare()
    maintain(cluster, spare, HOUR)
    cluster.command("undrain", spare)
    cluster.run(5)
    dies(cluster, spare)
    cluster.run(120)
    assert cluster.evicted() == [spare]


def test_a_drain_outlives_a_maintenance() -> None:
    """A human's cordon is never undone, also not by the end of what another human announced."""
    cluster = Simulated(nodes=3)
    spare = cluster.spare()
    cluster.command("drain", spare)
    maintain(cluster, spare, 600)
    cluster.run(HOUR)
    assert not cluster.at(spare).usable
    cluster.actions.clear()
    cluster.finding(cluster.node(0), ecc())
    cluster.run(30)
    assert spare not in seated(cluster, JOB)


@pytest.mark.xfail(strict=True, reason="no command announces maintenance")
def test_a_longer_maintenance_is_announced_by_a_second_word() -> None:
    cluster = Simulated(nodes=5)
    spare = cluster.spare()
    maintain(cluster, spare, 600)
    dies(cluster, spare)
    cluster.run(300)
    maintain(cluster, spare, HOUR)
    cluster.run(HOUR - 60)
    assert quiet(cluster)


@pytest.mark.xfail(strict=True, reason="no command announces maintenance")
def test_what_checks_find_during_maintenance_accuses_nobody() -> None:
    """A driver that is unloaded looks like lost GPUs; what still stands when the time is over counts."""
    cluster = Simulated(nodes=5)
    spare = cluster.spare()
    maintain(cluster, spare, HOUR)
    cluster.finding(spare, lost())
    cluster.run(HOUR - 60)
    assert quiet(cluster)
    cluster.run(180)
    assert cluster.evicted() == [spare]


@pytest.mark.xfail(strict=True, reason="no command announces maintenance")
def test_a_rack_in_maintenance_is_no_cut_of_the_control_network() -> None:
    """Half of the nodes are silent, as was announced: the others are looked after."""
    cluster = Simulated(nodes=8)
    rack = idle(cluster, 5)
    for node in rack:
        maintain(cluster, node, HOUR)
        dies(cluster, node)
    cluster.run(60)
    cluster.crash(0)
    cluster.run(60)
    assert (cluster.going(), cluster.evicted()) == (True, [])
    assert "control-cut" not in cluster.causes()


@pytest.mark.xfail(strict=True, reason="no command announces maintenance")
def test_a_rack_in_maintenance_does_not_use_up_the_share_that_may_go() -> None:
    cluster = Simulated(nodes=8, policy=Policy(evict_share=0.13))
    rack = idle(cluster, 4)
    for node in rack:
        maintain(cluster, node, HOUR)
        dies(cluster, node)
    cluster.run(60)
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    cluster.run(30)
    assert (cluster.evicted(), [each.node for each in cluster.all(Evict)]) == ([bad], [bad])


@pytest.mark.xfail(strict=True, reason="no command announces maintenance")
def test_maintenance_is_remembered_over_a_restart() -> None:
    cluster = Simulated(nodes=5)
    cluster.restarts = True
    spare = cluster.spare()
    maintain(cluster, spare, HOUR)
    dies(cluster, spare)
    cluster.run(HOUR - 60)
    assert quiet(cluster)
    cluster.run(180)
    assert cluster.evicted() == [spare]
