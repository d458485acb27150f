"""The detector: what reports and the passing of time show, and what they do not."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from simulated import JOB
from watched import Watched

from sentinel.core.detect.watch import Watch
from sentinel.model.fact import (
    JobAdvanced,
    JobStalled,
    NodeHeard,
    NodeSilent,
    RankSlow,
)
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy
from sentinel.model.report import Hello, Report
from sentinel.phases import SLOW_PHASES


def test_a_step_that_was_reached_before_the_watch_began_is_not_new() -> None:
    cluster = Watched()
    assert cluster.report(50) == []
    assert [type(fact) for fact in cluster.report(51)] == [JobAdvanced]
    assert cluster.report(52) == []


def test_a_job_that_steps_is_never_stalled_and_one_that_does_not_is_told_once() -> None:
    cluster = Watched()
    for step in range(40):
        cluster.report(step)
    assert not cluster.said(JobStalled)
    for _ in range(40):
        cluster.report(39)
    assert len(cluster.said(JobStalled)) == 1


def stands(cluster: Watched, ranks: Sequence[int], reports: int, step: int) -> int:
    """Have these ranks stay in their phase from now on; gives how often a stall was told."""
    for rank in ranks:
        cluster.phase_since[rank] = cluster.now
    for _ in range(reports):
        cluster.report(step)
    return len(cluster.said(JobStalled))


def test_a_rank_that_enters_another_phase_is_late_and_does_not_stand_still() -> None:
    cluster = Watched()
    for step in range(40):
        cluster.report(step)
    cluster.entered = [1, 1, 0]  # the others wait for rank 2
    assert stands(cluster, (0, 1), 20, 39) == 0, "5 s, and rank 2 has just entered another phase"
    assert stands(cluster, (2,), 8, 39) == 0, "it has to stand still for as long as any stall"
    assert stands(cluster, (), 4, 39) == 1


@pytest.mark.parametrize("state", ["R", "S"])
@pytest.mark.parametrize("made", [1, 3, 5])
def test_a_generations_first_steps_may_take_longer_while_all_run(made: int, state: str) -> None:
    cluster = Watched()
    for step in range(40):
        cluster.report(step)
    cluster.crash(0)
    cluster.run(3)
    assert cluster.job.generation == 2
    for step in range(40, 40 + made):
        cluster.report(step)
    cluster.states, cluster.entered = [state] * 3, [1, 1, 0]
    assert stands(cluster, (0, 1, 2), 18, 39 + made) == 0, "4.5 s"
    assert stands(cluster, (), 6, 39 + made) == 1, "but not for ever"


def test_a_stopped_rank_is_no_slow_beginner() -> None:
    cluster = Watched()
    for step in range(40):
        cluster.report(step)
    cluster.crash(0)
    cluster.run(3)
    cluster.report(40)
    cluster.states[1] = "T"
    assert stands(cluster, (0, 1, 2), 12, 40) == 1


def told_after(cluster: Watched, stops_after: int, for_reports: int) -> float:
    """Stop rank 1 so many reports after the last step, and for so many; gives how long after it is told."""
    for step in range(40):
        cluster.report(step)
    stepped = cluster.now
    for number in range(20):
        if number == stops_after:
            cluster.stopped_at[1] = cluster.now
        if number == stops_after + for_reports:
            cluster.stopped_at[1] = None
        if any(isinstance(fact, JobStalled) for fact in cluster.report(39)):
            return cluster.now - stepped
    return 0.0


def test_a_stop_is_told_sooner_than_a_slow_step_would_be() -> None:
    policy = Policy()
    assert policy.stopped_s < told_after(Watched(), 0, 20) <= policy.stopped_s + 0.5 < policy.stall_s


@pytest.mark.parametrize("stops_after", [2, 4, 6])
def test_a_step_in_which_a_rank_was_stopped_for_a_moment_has_its_time(stops_after: int) -> None:
    assert told_after(Watched(), stops_after, 3) > Policy().stall_s, "as a profiler or a debugger does"


def test_who_is_stopped_late_in_a_step_stands_still_once_its_beats_stay_away() -> None:
    policy = Policy()
    cluster = Watched()
    assert (
        1.0 + policy.beat_stale_s
        < told_after(cluster, 4, 20)
        <= max(1.5 + policy.beat_stale_s, policy.stall_s)
    )


def test_of_a_job_with_long_steps_a_stop_is_told_after_as_many_of_them_as_a_stall() -> None:
    cluster = Watched()
    for step in range(40):
        cluster.report(step, seconds=1.0)
    stepped, cluster.stopped_at[1] = cluster.now, cluster.now
    while not cluster.said(JobStalled):
        cluster.report(39)
    assert 2.6 < cluster.now - stepped <= 3.2


@pytest.mark.parametrize("phase", ["setup", "load", "save", "snapshot", "evaluate", "training"])
@pytest.mark.parametrize("state", ["S", "T"])
def test_a_slow_phase_is_no_stall_unless_a_process_is_stopped(phase: str, state: str) -> None:
    cluster = Watched()
    for step in range(10):
        cluster.report(step)
    cluster.phase, cluster.states[1] = phase, state
    for _ in range(40):
        cluster.report(9)
    assert len(cluster.said(JobStalled)) == (state == "T")


@pytest.mark.parametrize("seconds", [10, 30])
def test_long_steps_are_no_stall_while_nobody_knows_how_long_they_take(seconds: int) -> None:
    cluster = Watched()  # as after a controller's restart, and as in a job's first steps
    for step in range(4):
        for _ in range(4 * seconds):
            cluster.report(step)
    assert not cluster.said(JobStalled)
    for _ in range(4 * 3 * seconds):
        cluster.report(3)
    assert len(cluster.said(JobStalled)) == 1, "once the pace is known, three steps without one are"


@pytest.mark.parametrize("phase", sorted(SLOW_PHASES))
def test_a_slow_phase_is_a_stall_when_it_has_had_its_time(phase: str) -> None:
    cluster = Watched()
    for step in range(10):
        cluster.report(step)
    cluster.phase, allowed = phase, cluster.rules.policy.slow_phase_s
    for _ in range(int(allowed / 0.25) - 1):
        cluster.report(9)
    assert not cluster.said(JobStalled)
    for _ in range(12):
        cluster.report(9)
    assert len(cluster.said(JobStalled)) == 1


def test_after_a_slow_save_a_stall_has_to_last_as_long_as_any_other() -> None:
    cluster = Watched()
    for step in range(10):
        cluster.report(step)
    for phase, reports, stalls in (("save", 40, 0), ("compute", 4, 0), ("compute", 10, 1)):
        cluster.phase = phase
        for _ in range(reports):
            cluster.report(9)
        assert len(cluster.said(JobStalled)) == stalls


@pytest.mark.parametrize("state", ["S", "T"])
def test_a_forming_generation_takes_its_time_unless_a_process_is_stopped(state: str) -> None:
    cluster = Watched()
    cluster.report(5)
    cluster.advances = False
    cluster.crash(0)
    cluster.run(0.5)
    cluster.phase, cluster.states[1] = "compute", state
    for _ in range(40):
        cluster.report(5)
    assert len(cluster.said(JobStalled)) == (state == "T")


def test_a_silent_node_is_told_once_and_its_last_beats_are_no_evidence() -> None:
    cluster = Watched()
    for step in range(10):
        cluster.report(step)
    mute = cluster.node(1)
    cluster.mute = {mute}
    for _ in range(20):
        for fact in cluster.report(9):
            cluster.tell(fact)
    assert [fact.node for fact in cluster.said(NodeSilent)] == [mute]  # type: ignore[attr-defined]
    (stall,) = cluster.said(JobStalled)
    assert isinstance(stall, JobStalled)
    assert {beat.rank for beat in stall.beats} == {0, 2}
    cluster.mute = set()
    assert NodeHeard in {type(fact) for fact in cluster.report(9)}


def test_a_job_that_nobody_is_heard_of_is_not_stalled_and_goes_on_when_the_nodes_are_heard_again() -> None:
    cluster = Watched()
    cluster.ports = dict.fromkeys(map(str, cluster.state.nodes), ("ok", "ok", 40))
    for step in range(10):
        cluster.report(step)
    cluster.mute = set(cluster.state.nodes)
    for _ in range(60):
        for fact in cluster.report(10):
            cluster.tell(fact)
        cluster.run(0)
    assert (cluster.said(JobStalled), cluster.causes()) == ([], ["control-cut"])
    for node in cluster.state.nodes:  # they say hello, and their first reports are still on the way
        hello = Hello(node, "another boot", "10.0.0.1", 1, 1)
        assert cluster.watch.hello(hello, cluster.state, cluster.now)
    assert not [f for f in cluster.watch.tick(cluster.state, cluster.now) if isinstance(f, JobStalled)]
    cluster.mute = set()
    for step in range(70, 90):
        for fact in cluster.report(step):
            cluster.tell(fact)
    cluster.run(20)
    assert (cluster.resumed(), cluster.causes(), cluster.state.frozen) == ([], ["control-cut"], "")


def test_nobody_is_silent_in_the_grace_period_of_a_new_watch() -> None:
    cluster = Watched()
    cluster.watch = Watch(cluster.rules.policy, cluster.now)
    assert cluster.watch.tick(cluster.state, cluster.now + cluster.rules.policy.grace_s - 0.1) == []
    assert cluster.watch.tick(cluster.state, cluster.now + cluster.rules.policy.grace_s + 0.1)


@pytest.mark.parametrize("pause", [3.0, 240.0])
def test_a_watch_that_slept_accuses_nobody_and_takes_old_reports_for_no_pace(pause: float) -> None:
    cluster = Watched()
    for step in range(20):
        cluster.report(step)
    pace = cluster.watch.median_step(JOB)
    cluster.now += pause
    cluster.watch.slept(cluster.now, pause)
    for step in range(20, 80):  # what had been on its way comes at once
        cluster.report(step, 0.0)
    assert cluster.watch.median_step(JOB) == pace
    for step in range(80, 120):
        cluster.report(step)
    assert [fact for fact in cluster.reported if isinstance(fact, NodeSilent | JobStalled)] == []
    assert cluster.watch.median_step(JOB) == pytest.approx(pace)


def test_a_node_that_stays_silent_after_the_watch_slept_is_told() -> None:
    cluster = Watched()
    cluster.report(1)
    cluster.now += 60
    cluster.watch.slept(cluster.now, 60.0)
    cluster.mute = {cluster.node(0)}
    for step in range(2, 40):
        for fact in cluster.report(step):
            cluster.tell(fact)
    assert [fact.node for fact in cluster.reported if isinstance(fact, NodeSilent)] == [cluster.node(0)]


def test_steps_that_go_on_without_a_silent_nodes_reports_are_told_once() -> None:
    cluster = Watched()
    for step in range(10):
        cluster.report(step)
    cluster.reported.clear()
    mute = cluster.node(1)
    cluster.mute = {mute}
    for step in range(10, 40):
        for fact in cluster.report(step):
            cluster.tell(fact)
    assert len(cluster.said(JobAdvanced)) == 1


@pytest.mark.parametrize("world", [3, 4, 5])
def test_a_rank_that_is_slow_for_good_is_told_once(world: int) -> None:
    cluster = Watched(world=world)
    cluster.outside[1] = 0.3
    for step in range(60):
        cluster.report(step)
    (slow,) = cluster.said(RankSlow)
    assert isinstance(slow, RankSlow)
    assert (slow.rank, slow.peers_s, slow.steps) == (1, 0.1, cluster.rules.policy.straggler_steps)


@pytest.mark.parametrize(
    ("slow_for", "steps_per_report"),
    [pytest.param(19, 1, id="fewer steps"), pytest.param(3, 10, id="many steps between few reports")],
)
def test_contention_that_passes_is_no_straggler(slow_for: int, steps_per_report: int) -> None:
    cluster = Watched()
    for number in range(60):
        cluster.outside[1] = 0.3 if 10 <= number < 10 + slow_for else 0.1
        cluster.report(number * steps_per_report)
    assert not cluster.said(RankSlow)


def test_with_two_ranks_nobody_is_the_odd_one() -> None:
    cluster = Watched(world=2)
    cluster.outside[1] = 0.9
    for step in range(60):
        cluster.report(step)
    assert not cluster.said(RankSlow)


def test_a_worker_without_a_seat_makes_no_progress() -> None:
    cluster = Watched()
    cluster.report(5)
    beat = replace(cluster.beat(0), worker="w99", step=9)  # type: ignore[arg-type]
    assert cluster.watch.report(Report(NodeId("n1"), "b", 0, (beat,), ()), cluster.state, cluster.now) == []
    assert cluster.watch.median_step(JOB) is None


def test_a_node_that_has_just_introduced_itself_is_not_silent() -> None:
    cluster = Watched()
    newcomer = NodeId("n9")
    hello = Hello(newcomer, "boot", "10.0.0.9", 1, 1)
    (joined,) = cluster.watch.hello(hello, cluster.state, cluster.now)
    cluster.tell(joined)
    assert cluster.watch.hello(hello, cluster.state, cluster.now) == [], "what is known is no news"
    silent = [f.node for f in cluster.watch.tick(cluster.state, cluster.now) if isinstance(f, NodeSilent)]
    assert newcomer not in silent
    assert len(silent) == cluster.job.world + 1, "those that never said a word are"


def forming(first: int, steps_s: float, *, fails: bool = False) -> Watched:
    """A job of steady pace whose rank 0 has just died: its next generation is ordered, and makes no step."""
    cluster = Watched()
    for step in range(first - 4, first):
        for _ in range(int(steps_s / 0.25)):
            cluster.report(step)
    cluster.advances, cluster.fails = False, {"Resume"} if fails else set()
    cluster.crash(0)
    cluster.run(0.6)
    return cluster


def goes_on(cluster: Watched, steps: range, steps_s: float) -> None:
    for step in steps:
        for _ in range(int(steps_s / 0.25)):
            for fact in cluster.report(step):
                cluster.tell(fact)
            cluster.run(0)


def test_a_generation_that_repeats_many_steps_after_a_checkpoint_is_not_broken_off() -> None:
    cluster = forming(first=300, steps_s=1.0)
    goes_on(cluster, range(200, 299), 1.0)
    assert (len(cluster.resumed()), cluster.stages()) == (1, ["mitigating"])
    goes_on(cluster, range(299, 302), 1.0)
    cluster.settle()
    assert (len(cluster.resumed()), cluster.going(), cluster.stages()) == (1, True, ["resolved"])


def test_a_generation_whose_first_step_takes_as_long_as_any_is_not_broken_off() -> None:
    cluster = forming(first=10, steps_s=40.0)
    goes_on(cluster, range(9, 11), 40.0)
    assert (len(cluster.resumed()), cluster.going()) == (1, True)


def test_a_generation_that_loads_for_minutes_is_not_broken_off() -> None:
    cluster = forming(first=10, steps_s=1.0)
    cluster.phase = "load"
    goes_on(cluster, range(-1, 0), 300.0)
    assert len(cluster.resumed()) == 1


@pytest.mark.parametrize("phase", ["compute", "load"])
def test_a_generation_that_stands_still_is_broken_off(phase: str) -> None:
    cluster = forming(first=10, steps_s=1.0)
    cluster.phase = phase
    goes_on(cluster, range(-1, 0), 35.0 if phase == "compute" else 35.0 + cluster.rules.policy.slow_phase_s)
    assert len(cluster.resumed()) == 2


def test_a_generation_whose_forming_failed_is_ordered_again_though_others_still_load() -> None:
    cluster = forming(first=10, steps_s=1.0, fails=True)
    cluster.phase = "load"
    goes_on(cluster, range(-1, 0), 6.0)
    assert len(cluster.resumed()) == 2
