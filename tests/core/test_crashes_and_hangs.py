"""A rank that ends or stands still: who is replaced where, and when its node goes."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from simulated import Simulated, ecc

from sentinel.model.action import CollectStacks, Resume, StopWorker
from sentinel.model.finding import Finding, Health
from sentinel.model.report import STOPPED_ITSELF


def hang(cluster: Simulated, rank: int) -> None:
    cluster.stall(*(cluster.beat(r, state="T" if r == rank else "S") for r in range(cluster.job.world)))
    cluster.run(5)


def crash(cluster: Simulated, rank: int) -> None:
    cluster.crash(rank)
    cluster.run(5)


def test_a_crashed_rank_is_replaced_in_place_and_its_node_stays() -> None:
    cluster = Simulated()
    home, survivor = cluster.node(0), cluster.seats[1]
    crash(cluster, 0)
    assert cluster.resumed() == [[home, cluster.node(1)]]
    assert cluster.seats[1] == survivor
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["rank-crash"], [], True)
    assert len(cluster.pages()) == 1


def test_a_stopped_rank_is_named_though_all_wait_and_stacks_come_before_the_kill() -> None:
    cluster = Simulated()
    hung = cluster.worker(1)
    hang(cluster, 1)
    kinds = [type(action) for action in cluster.actions]
    assert kinds.index(CollectStacks) < kinds.index(StopWorker)
    assert [stop.worker for stop in cluster.all(StopWorker)] == [hung.id]
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["rank-hang"], [], True)
    assert any(
        "stack of rank 0" in fact.data for fact in cluster.incidents()[0].evidence if hasattr(fact, "data")
    )


@pytest.mark.parametrize("fault", [[crash, crash, crash], [hang, hang, hang], [crash, hang, crash]])
def test_the_third_crash_or_hang_within_an_hour_on_one_node_evicts_it(fault: list) -> None:
    cluster = Simulated()
    home = cluster.node(0)
    for number, each in enumerate(fault):
        assert cluster.evicted() == [], number
        each(cluster, 0)
        cluster.run(60)
    assert cluster.evicted() == [home]
    assert home not in cluster.resumed()[-1]
    assert (cluster.causes()[-1], cluster.going()) == ("crash-loop", True)


@pytest.mark.parametrize("how", sorted(STOPPED_ITSELF))
def test_ranks_that_stopped_themselves_say_nothing_against_their_node(how: str) -> None:
    cluster = Simulated()
    for ended in ("signal 9", how, how, how, "signal 9"):
        cluster.crash(0, ended)
        cluster.run(60)
    assert (cluster.evicted(), cluster.going()) == ([], True)


def test_three_crashes_in_more_than_an_hour_evict_nobody() -> None:
    cluster = Simulated()
    for _ in range(3):
        crash(cluster, 0)
        cluster.run(1900)
    assert cluster.evicted() == []


def test_ranks_that_end_on_several_nodes_at_once_accuse_no_node() -> None:
    cluster = Simulated(nodes=6, world=4)
    for _ in range(4):
        for rank in range(4):
            cluster.crash(rank, "signal 6")
        cluster.run(600)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["rank-crash"], [], True)


@pytest.mark.parametrize("how", ["signal 15", "exit 143"])
def test_ranks_that_a_scheduler_ends_accuse_no_node(how: str) -> None:
    cluster = Simulated()
    for _ in range(4):
        cluster.crash(0, how)
        cluster.run(120)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["rank-crash"], [], True)


def test_eight_ranks_of_a_node_that_end_at_once_are_one_crash_of_that_node() -> None:
    cluster = Simulated(nodes=3, gpus=8, world=16, standbys=8)
    for rank in range(8):
        cluster.crash(rank)
    cluster.run(10)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["rank-crash"], [], True)


def test_a_rank_behind_in_collectives_is_the_laggard() -> None:
    cluster = Simulated(world=3)
    cluster.stall(cluster.beat(0), cluster.beat(1, enqueued=9, phase="compute"), cluster.beat(2))
    cluster.run(5)
    (incident,) = cluster.incidents()
    assert incident.diagnosis is not None
    assert [suspect.rank for suspect in incident.diagnosis.suspects] == [1]


def test_a_rank_that_is_still_in_a_collective_which_others_left_is_not_accused() -> None:
    """Its data is on the way: it waits as they do, and what is between them may be slow."""
    cluster = Simulated(world=3)
    cluster.stall(cluster.beat(0), cluster.beat(1, enqueued=9), cluster.beat(2))
    cluster.run(1)
    (incident,) = cluster.incidents()
    assert incident.diagnosis is not None
    assert (incident.diagnosis.cause, incident.diagnosis.suspects) == ("unknown", ())
    assert "rank 1 is still in collective 9" in incident.diagnosis.why


def test_who_has_just_left_a_collective_is_not_accused_while_another_is_still_in_it() -> None:
    """What takes the one so long took the other nearly as long."""
    cluster = Simulated(world=4)
    left = cluster.beat(3, enqueued=9, phase="compute")
    cluster.stall(cluster.beat(0), cluster.beat(1, enqueued=9), cluster.beat(2), left)
    cluster.run(1)
    (incident,) = cluster.incidents()
    assert incident.diagnosis is not None
    assert (incident.diagnosis.cause, incident.diagnosis.suspects) == ("unknown", ())


def test_a_rank_that_is_behind_in_a_collective_which_nobody_has_left_is_the_laggard() -> None:
    """On a GPU what is only enqueued is not completed before the step's end."""
    cluster = Simulated(world=3)
    behind = replace(cluster.beat(1, enqueued=9), completed=2)
    cluster.stall(*(replace(cluster.beat(rank), completed=2) for rank in (0, 2)), behind)
    cluster.run(5)
    (incident,) = cluster.incidents()
    assert incident.diagnosis is not None
    assert [suspect.rank for suspect in incident.diagnosis.suspects] == [1]


def test_missing_ranks_wait_for_their_nodes_silence() -> None:
    cluster = Simulated()
    cut = cluster.node(1)
    cluster.stall(cluster.beat(0))
    cluster.run(0.5)
    assert cluster.resumed() == []
    cluster.silence(cut)
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["node-cut"], [cut], True)


def test_a_laggard_whose_node_falls_silent_is_its_nodes_victim() -> None:
    cluster = Simulated()
    cut = cluster.node(1)
    cluster.stall(cluster.beat(0), cluster.beat(1, "compute", enqueued=9))
    cluster.silence(cut)
    cluster.run(10)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["node-cut"], [cut], True)


def test_a_stall_that_passes_by_itself_evicts_nobody() -> None:
    cluster = Simulated()
    cluster.stall(cluster.beat(0), cluster.beat(1))
    cluster.run(0.1)
    cluster.advance()
    cluster.run(10)
    assert (cluster.resumed(), cluster.pages(), cluster.stages()) == ([], set(), ["resolved"])


@pytest.mark.parametrize(
    ("phases", "cause", "replaced"),
    [
        pytest.param(("data", "collective", "collective"), "data-stall", True, id="one loader"),
        pytest.param(("data", "data", "data"), "storage-stall", False, id="all loaders"),
    ],
)
def test_one_stuck_loader_is_its_ranks_and_all_are_the_storages(
    phases: tuple[str, ...], cause: str, replaced: bool
) -> None:
    cluster = Simulated(world=3)
    counts = [10 if phase == "collective" else 9 for phase in phases]
    beats = (
        cluster.beat(r, phase, count) for r, (phase, count) in enumerate(zip(phases, counts, strict=True))
    )
    cluster.stall(*beats)
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted(), bool(cluster.resumed())) == ([cause], [], replaced)
    assert len(cluster.pages()) == 1
    cluster.advance()
    cluster.settle()
    assert set(cluster.stages()) == {"resolved"}


@pytest.mark.parametrize("fault", ["crash", "exception", "hang"])
@pytest.mark.parametrize(
    "found",
    [
        Finding("host", "disk-full", "disk:/ckpt", Health.CRITICAL, "/ckpt is full"),
        Finding("trainer", "checkpoint-failed", "checkpoint", Health.CRITICAL, "no permission"),
        Finding("trainer", "checkpoint-corrupt", "checkpoint-7", Health.CRITICAL, "truncated", event=True),
    ],
)
def test_a_job_that_breaks_beside_damage_to_its_storage_is_resumed(found: Finding, fault: str) -> None:
    cluster = Simulated()
    cluster.finding(cluster.node(0), found)
    cluster.run(1)
    if fault == "crash":
        cluster.crash(0)
    elif fault == "exception":
        cluster.raises(0, "OSError: [Errno 28] No space left on device")
    else:
        hang(cluster, 0)
    cluster.run(10)
    assert (cluster.causes()[0], len(cluster.incidents()), cluster.going()) == (found.code, 2, True)
    cluster.settle()
    assert (cluster.stages(), cluster.evicted()) == (["open", "resolved"], [])


@pytest.mark.parametrize("first", ["slow", "crash"])
def test_a_gpu_that_slows_itself_down_is_no_reason_for_a_crash_and_keeps_its_node(first: str) -> None:
    cluster = Simulated()
    slow = cluster.node(0)
    if first == "crash":
        cluster.crash(0)
    cluster.finding(slow, Finding("gpu", "throttle", "gpu-0", Health.WARNING, "GPU 0 slows down: hardware"))
    cluster.run(0.1)
    if first == "slow":
        cluster.crash(0)
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["rank-crash"], [], True)


def test_collectives_that_fail_with_nobody_to_blame_restart_the_gang() -> None:
    cluster = Simulated()
    cluster.raises(0, kind="collective")
    cluster.raises(1, kind="collective")
    cluster.run(4)
    assert cluster.resumed() == []
    cluster.run(10)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["gang-broken"], [], True)


def test_collectives_that_fail_are_echoes_of_a_rank_that_ended() -> None:
    cluster = Simulated()
    cluster.raises(1, kind="collective")
    cluster.crash(0)
    cluster.run(10)
    assert (cluster.causes(), len(cluster.resumed())) == (["rank-crash"], 1)


def test_a_step_completed_before_the_crash_but_told_after_it_is_no_recovery() -> None:
    cluster = Simulated()
    cluster.crash(0)
    cluster.advance()
    cluster.run(5)
    cluster.settle()
    assert (cluster.causes(), cluster.stages(), cluster.going()) == (["rank-crash"], ["resolved"], True)
    assert len(cluster.pages()) == 1


def test_a_step_completed_before_a_rank_raised_but_told_after_it_is_no_recovery() -> None:
    cluster = Simulated()
    cluster.raises(0, kind="collective")
    cluster.advance()
    cluster.raises(1, kind="collective")
    cluster.run(20)
    assert (cluster.causes(), cluster.stages(), cluster.going()) == (["gang-broken"], ["resolved"], True)
    assert (len(cluster.resumed()), len(cluster.pages())) == (1, 1)


@pytest.mark.parametrize("fault", [crash, hang])
def test_a_rank_that_keeps_failing_on_its_next_node_accuses_neither(fault: Callable) -> None:
    cluster = Simulated(nodes=6)
    first = cluster.node(0)
    for _ in range(7):
        fault(cluster, 0)
        cluster.run(60)
    assert cluster.evicted() == [first]
    assert (cluster.causes()[-1], cluster.going()) == ("crash-follows-rank", True)
    cluster.command("undrain", first)
    fault(cluster, 0)
    cluster.run(60)
    assert (cluster.evicted(), cluster.causes()[-1]) == ([first], "crash-follows-rank")


def test_a_failure_that_the_gpu_explains_does_not_follow_the_rank() -> None:
    cluster = Simulated(nodes=6)
    for _ in range(5):
        crash(cluster, 0)
        cluster.run(60)
    bad = cluster.node(0)
    cluster.crash(0)
    cluster.finding(bad, ecc())
    cluster.run(60)
    assert (cluster.causes()[-1], cluster.evicted()[-1]) == ("gpu-ecc", bad)
    crash(cluster, 0)
    assert cluster.causes()[-1] == "rank-crash"


def test_another_rank_that_keeps_failing_accuses_its_node_all_the_same() -> None:
    cluster = Simulated(nodes=6)
    homes = [cluster.node(0), cluster.node(1)]
    for rank in (0, 0, 0, 1, 1, 1):
        cluster.crash(rank)
        cluster.run(60)
    assert (cluster.evicted(), cluster.causes()[-1]) == (homes, "crash-loop")


def test_a_generation_that_never_steps_is_tried_with_new_processes_before_people_are_asked() -> None:
    cluster = Simulated(nodes=3, world=3)
    survivor = cluster.worker(1).id
    cluster.advances = False
    cluster.crash(0)
    cluster.run(80)
    assert survivor in cluster.seats
    cluster.run(80)
    assert len(cluster.all(Resume)) == 4
    assert survivor not in cluster.seats


def test_a_cause_found_after_a_broken_gang_came_back_joins_its_incident() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    for rank in (0, 1):
        cluster.raises(rank, kind="collective")
    cluster.run(6)
    cluster.settle()
    assert (cluster.causes(), cluster.stages()) == (["gang-broken"], ["resolved"])
    cluster.finding(bad, ecc())
    cluster.run(10)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["gpu-ecc"], [bad], True)
    assert len(cluster.pages()) == 1
