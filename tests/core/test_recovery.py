"""Forming generations: second failures, failed replacements, attempts that end, standbys."""

import pytest
from simulated import JOB, Simulated, ecc

from sentinel.core.state.workers import WorkerStage
from sentinel.model.action import Evict, Page, Refusal, Resume, StartWorker, StopWorker
from sentinel.model.fact import Outcome, RankSlow
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId


def test_a_second_failure_during_recovery_is_repaired_in_the_same_incident() -> None:
    cluster = Simulated()
    cluster.crash(0)
    cluster.run(0.35)
    assert len(cluster.resumed()) == 1
    cluster.crash(1)
    cluster.run(10)
    assert (len(cluster.incidents()), len(cluster.resumed()), cluster.going()) == (1, 2, True)


def test_a_replacement_that_also_fails_is_replaced() -> None:
    cluster = Simulated()
    cluster.crash(0)
    cluster.run(0.35)
    cluster.crash(0)
    cluster.run(10)
    assert (len(cluster.incidents()), len(cluster.resumed()), cluster.going()) == (1, 2, True)


def breaks_while_a_standby_starts(
    gpus: int, world: int, nodes: int = 4, takes: float = 0.5, after: float = 0.0
) -> tuple[Simulated, NodeId]:
    """Have rank 0 crash twice; the second time another standby has been starting on its node for so long."""
    cluster = Simulated(nodes, gpus, world, worker_starts_s=takes)
    home = cluster.node(0)
    cluster.crash(0)
    while not any(w.node == home and w.stage is WorkerStage.STARTING for w in cluster.workers):
        cluster.run(0.1)
    cluster.run(after)
    cluster.crash(0)
    cluster.run(0.4)
    return cluster, home


def test_a_lone_rank_goes_where_a_standby_is_warm_and_waits_for_none_that_starts() -> None:
    cluster, home = breaks_while_a_standby_starts(gpus=1, world=2)
    assert len(cluster.resumed()) == 2
    assert cluster.node(0) != home


def test_a_rank_beside_others_of_its_job_waits_for_a_standby_that_starts_there() -> None:
    cluster, home = breaks_while_a_standby_starts(gpus=2, world=4)
    assert len(cluster.resumed()) == 1, "its node's standby is starting"
    cluster.run(cluster.rules.policy.start_s)
    assert (cluster.node(0), cluster.going()) == (home, True)


def test_a_rank_beside_others_waits_for_none_that_takes_longer_than_that() -> None:
    cluster, home = breaks_while_a_standby_starts(gpus=2, world=4, takes=13.0)
    assert len(cluster.resumed()) == 2, "the last one took 13 s to be warm"
    assert cluster.node(0) != home


def test_a_rank_beside_others_waits_for_one_that_is_nearly_warm() -> None:
    cluster, home = breaks_while_a_standby_starts(gpus=2, world=4, takes=13.0, after=9.0)
    assert len(cluster.resumed()) == 1
    cluster.run(cluster.rules.policy.start_s)
    assert (cluster.node(0), cluster.going()) == (home, True)


def test_where_no_other_is_warm_the_one_at_home_is_waited_for() -> None:
    cluster, home = breaks_while_a_standby_starts(gpus=2, world=2, nodes=1, takes=13.0)
    assert len(cluster.resumed()) == 1
    cluster.run(20.0)
    assert (cluster.node(0), cluster.going()) == (home, True)


def test_a_rank_beside_others_that_waits_in_vain_goes_elsewhere() -> None:
    cluster = Simulated(gpus=2, world=4)
    home = cluster.node(0)
    cluster.never_starts = {home}
    for _ in range(2):
        cluster.crash(0)
        cluster.run(cluster.rules.policy.start_s + 2)
    assert (cluster.node(0) != home, cluster.going()) == (True, True)


def test_a_rank_that_hangs_during_an_eviction_is_not_seated_again() -> None:
    cluster = Simulated(nodes=5)
    cluster.finding(cluster.node(0), ecc())
    hung = cluster.worker(1).id
    cluster.stall(cluster.beat(0), cluster.beat(1, state="T"))
    cluster.run(10)
    assert (hung in cluster.seats, cluster.going()) == (False, True)


def test_attempts_end_and_people_decide() -> None:
    cluster = Simulated()
    cluster.advances = False
    cluster.crash(0)
    cluster.run(600)
    assert len(cluster.resumed()) == cluster.rules.policy.resume_attempts
    assert "brought no new step" in cluster.all(Refusal)[-1].reason
    cluster.advances = True
    cluster.command("resume-actions")
    cluster.run(5)
    assert cluster.going()


def test_a_generation_that_does_not_form_is_ordered_again() -> None:
    cluster = Simulated()
    cluster.fails = {"Resume"}
    cluster.crash(0)
    cluster.run(2)
    cluster.fails = set()
    cluster.run(20)
    assert (len(cluster.resumed()), cluster.going(), cluster.causes()) == (2, True, ["rank-crash"])


def test_a_long_first_step_is_no_failure() -> None:
    cluster = Simulated(world=2)
    cluster.advances = False
    cluster.state.change(cluster.job, high_step=-1)
    cluster.crash(0)
    cluster.run(cluster.rules.policy.slow_phase_s - 10)
    assert len(cluster.resumed()) == 1


def test_standbys_are_refilled_only_while_the_job_runs() -> None:
    cluster = Simulated()
    cluster.crash(0)
    cluster.run(0.45)
    assert not cluster.all(StartWorker)
    cluster.run(5)
    assert [start.node for start in cluster.all(StartWorker)] == [cluster.node(0)]


def test_a_standby_that_dies_is_no_incident_and_is_replaced() -> None:
    cluster = Simulated()
    standby = next(w for w in cluster.workers if w.stage.value == "standby")
    from sentinel.model.fact import RankExited

    cluster.tell(RankExited(cluster.now, JOB, -1, standby.id, standby.node, -1, standby.pid, 1, "exit 1"))
    assert (cluster.incidents(), [s.node for s in cluster.all(StartWorker)]) == ([], [standby.node])


def test_a_worker_that_becomes_ready_wakes_a_waiting_job() -> None:
    cluster = Simulated(standbys=0)
    cluster.crash(0)
    cluster.run(0.35)
    assert (cluster.resumed(), len(cluster.all(StartWorker))) == ([], 1)
    cluster.run(5)
    assert (len(cluster.resumed()), cluster.going()) == (1, True)


def test_a_node_where_nothing_starts_is_left_for_another() -> None:
    cluster = Simulated(standbys=0)
    bad = cluster.node(0)
    cluster.never_starts = {bad}
    cluster.crash(0)
    cluster.run(60)
    assert (bad in cluster.resumed()[-1], cluster.going(), cluster.evicted()) == (False, True, [])


def test_a_worker_that_does_not_start_in_time_is_stopped_for_it_may_start_later() -> None:
    cluster = Simulated(standbys=0)
    cluster.never_starts = {cluster.node(0)}
    cluster.crash(0)
    cluster.run(1)
    (start,) = cluster.all(StartWorker)
    stopped = [(stop.worker, stop.node, stop.pid) for stop in cluster.all(StopWorker)]
    assert stopped == [(start.worker, start.node, 0)]


def test_a_worker_that_did_not_start_on_a_silent_node_is_stopped_when_the_node_is_heard() -> None:
    cluster = Simulated(standbys=0)
    node = cluster.node(0)
    cluster.never_starts = {node}
    cluster.crash(0)
    cluster.run(0.35)
    (start,) = cluster.all(StartWorker)
    cluster.silence(node)
    cluster.run(1)
    cluster.actions.clear()
    cluster.heard(node)
    assert start.worker in [stop.worker for stop in cluster.all(StopWorker)]


def test_a_job_that_never_starts_is_paged() -> None:
    cluster = Simulated(nodes=1, world=1, standbys=0)
    cluster.never_starts = {"n1"}
    cluster.crash(0)
    cluster.run(60)
    assert (len(cluster.pages()), len(cluster.all(StartWorker))) == (1, 3)


def test_a_straggler_is_drained_at_a_step_boundary() -> None:
    cluster = Simulated(nodes=4, world=3)
    slow, running = cluster.worker(1), tuple(cluster.seats)
    cluster.tell(RankSlow(cluster.now, JOB, 1, slow.node, slow.gpu, cluster.job.generation, 0.3, 0.1, 20))
    kinds = [type(action) for action in cluster.actions]
    assert kinds.index(Resume) < kinds.index(Evict), "the ranks leave before the node is emptied"
    (resume,) = cluster.all(Resume)
    assert resume.pause == running
    cluster.run(5)
    cluster.settle()
    assert (cluster.causes(), cluster.evicted(), cluster.stages()) == (
        ["straggler"],
        [slow.node],
        ["resolved"],
    )


def slow(cluster: Simulated, rank: int) -> None:
    worker = cluster.worker(rank)
    place = (rank, worker.node, worker.gpu, cluster.job.generation)
    cluster.tell(RankSlow(cluster.now, JOB, *place, 0.3, 0.1, 20))
    cluster.run(60)


def test_a_rank_that_is_slow_wherever_it_sits_costs_one_node_and_no_more() -> None:
    cluster = Simulated(nodes=8, world=3)
    first = cluster.node(1)
    for _ in range(4):
        slow(cluster, 1)
        cluster.crash(0, "signal 15")  # the next generation may tell it again
        cluster.run(60)
    assert (cluster.evicted(), cluster.going()) == ([first], True)
    assert cluster.all(Page)[-1].stage == "resolved"
    titles = {page.incident: page.title for page in cluster.all(Page)}
    assert sum("One rank is slow wherever it sits: rank 1" in title for title in titles.values()) == 1


def test_a_node_that_is_undrained_counts_no_more_against_a_slow_ranks_next_node() -> None:
    cluster = Simulated(nodes=8, world=3)
    first = cluster.node(1)
    slow(cluster, 1)
    cluster.command("undrain", first)
    cluster.run(5)
    second = cluster.node(1)
    slow(cluster, 1)
    assert cluster.evicted() == [first, second]


def test_a_gpu_that_has_been_slowing_itself_down_for_long_is_why_its_rank_is_slow() -> None:
    cluster = Simulated(nodes=4, world=3)
    slow = cluster.worker(1)
    said = f"GPU {slow.gpu} slows down: hardware"
    cluster.finding(slow.node, Finding("gpu", "throttle", f"gpu-{slow.gpu}", Health.WARNING, said))
    cluster.run(600)
    cluster.tell(RankSlow(cluster.now, JOB, 1, slow.node, slow.gpu, cluster.job.generation, 0.3, 0.1, 20))
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted()) == (["throttle"], [slow.node])


def test_a_straggler_without_a_warm_standby_runs_on_until_one_is_ready() -> None:
    cluster = Simulated(nodes=4, world=3, standbys=0)
    slow = cluster.worker(1)
    cluster.tell(RankSlow(cluster.now, JOB, 1, slow.node, slow.gpu, cluster.job.generation, 0.3, 0.1, 20))
    assert (cluster.going(), cluster.evicted(), cluster.resumed()) == (True, [], [])
    cluster.run(5)
    (resume,) = cluster.all(Resume)
    assert resume.pause
    assert (cluster.evicted(), cluster.going()) == ([slow.node], True)


def test_a_crash_while_a_drain_waits_is_repaired_with_it() -> None:
    cluster = Simulated(nodes=5, world=3, standbys=0)
    slow = cluster.worker(1)
    cluster.tell(RankSlow(cluster.now, JOB, 1, slow.node, slow.gpu, cluster.job.generation, 0.3, 0.1, 20))
    cluster.crash(0)
    cluster.run(10)
    cluster.settle()
    assert (cluster.evicted(), cluster.going(), cluster.stages()) == ([slow.node], True, ["resolved"])


@pytest.mark.parametrize("world", [1, 2, 4])
def test_a_new_job_waits_for_gpus_and_starts_by_itself(world: int) -> None:
    cluster = Simulated(nodes=4, world=world)
    assert cluster.going()
    assert len({cluster.node(rank) for rank in range(world)}) == world


def test_a_worker_that_gives_no_answer_while_others_failed_to_form_is_replaced() -> None:
    cluster = Simulated()
    cluster.fails = {"Resume"}
    cluster.crash(0)
    cluster.run(0.4)
    [resume] = cluster.all(Resume)
    stuck = resume.seats[1].worker
    cluster.tell(Outcome(cluster.now, resume.id, False, "no answer in time", (f"stuck {stuck}",)))
    cluster.fails = set()
    cluster.run(20)
    assert stuck in {stop.worker for stop in cluster.all(StopWorker)}
    assert stuck not in cluster.seats
    assert cluster.going()


@pytest.mark.parametrize(
    ("after", "pages"), [pytest.param(0.1, 0, id="at once"), pytest.param(60, 1, id="later")]
)
def test_an_incident_of_a_job_that_a_human_stops_is_over_and_pages_nobody_any_more(
    after: float, pages: int
) -> None:
    cluster = Simulated()
    cluster.advances = False
    cluster.crash(0)
    cluster.run(after)
    cluster.command("stop-job", JOB)
    decided = len(cluster.actions)
    cluster.run(600)
    assert (cluster.stages(), len(cluster.pages()), cluster.actions[decided:]) == (["resolved"], pages, [])


def test_a_silent_node_is_still_looked_at_when_its_job_is_stopped() -> None:
    cluster = Simulated()
    dead = cluster.node(0)
    cluster.silence(dead)
    cluster.command("stop-job", JOB)
    cluster.ports[dead] = ("refused", "refused", -1)
    cluster.run(20)
    assert (cluster.evicted(), cluster.causes(), cluster.stages()) == ([dead], ["node-lost"], ["resolved"])
