"""What passes, is explained or strikes all alike evicts no node."""

import pytest
from simulated import JOB, Simulated, lost, xid

from sentinel.core.detect.watch import Watch
from sentinel.model.action import Resume
from sentinel.model.fact import NodeJoined, RankExited, RankRaised
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.report import FindingSeen, Report


def out_of_memory(pid: int) -> Finding:
    line = f"Out of memory: Killed process {pid} (python)"
    return Finding("oom", "oom-kill", "memory", Health.WARNING, line, {"pid": pid, "line": line}, event=True)


def power_brake() -> Finding:
    return Finding("gpu", "throttle", "gpu-0", Health.CRITICAL, "GPU 0 slows down: power brake", {})


def test_a_spare_that_is_silent_for_a_moment_stays() -> None:
    cluster = Simulated(nodes=4)
    spare = cluster.spare()
    cluster.silence(spare)
    cluster.run(4)
    cluster.heard(spare)
    cluster.run(120)
    assert (cluster.evicted(), cluster.pages()) == ([], set())


def test_a_spare_that_stays_cut_off_goes_after_as_long_as_ray_waits() -> None:
    cluster = Simulated(nodes=4)
    spare = cluster.spare()
    cluster.silence(spare)
    cluster.run(60)
    assert cluster.evicted() == []
    cluster.run(30)
    assert cluster.evicted() == [spare]


def test_a_switch_that_restarts_costs_no_spare_behind_it() -> None:
    cluster = Simulated(nodes=24, world=4)
    behind = [node for node in cluster.state.nodes if not cluster.sitting(node)][:8]
    cluster.silence(*behind)
    cluster.run(30)
    cluster.heard(*behind)
    cluster.run(120)
    assert cluster.evicted() == []


@pytest.mark.parametrize("crash_first", [True, False])
def test_a_crash_does_not_make_another_nodes_short_silence_a_cut(crash_first: bool) -> None:
    cluster = Simulated(nodes=8, world=4)
    crashed, silent = cluster.node(1), cluster.node(2)
    for happens in sorted(("crash", "silence"), reverse=not crash_first):
        cluster.crash(1) if happens == "crash" else cluster.silence(silent)
    cluster.probed(crashed)
    cluster.run(4)
    cluster.heard(silent)
    cluster.run(60)
    assert (cluster.evicted(), cluster.going()) == ([], True)
    assert cluster.causes()[0] == "rank-crash"


def test_a_node_cut_off_beside_a_crash_goes_when_it_stays_silent() -> None:
    cluster = Simulated(nodes=8, world=4)
    silent = cluster.node(2)
    cluster.crash(1)
    cluster.silence(silent)
    cluster.run(10)
    assert (cluster.evicted(), cluster.going()) == ([], True), "the job goes on without it"
    cluster.run(120)
    assert cluster.evicted() == [silent]


def test_stalls_that_pass_by_themselves_are_no_crash_loop() -> None:
    cluster = Simulated()
    home = cluster.node(0)
    for _ in range(3):
        cluster.stall(cluster.beat(0, "compute", enqueued=9), cluster.beat(1))
        cluster.run(0.3)
        cluster.advance()
        cluster.run(600)
    cluster.crash(0)
    cluster.probed(home)
    cluster.run(20)
    assert (cluster.evicted(), cluster.causes()[-1]) == ([], "rank-crash")


def test_crashes_that_the_kernel_explains_are_no_crash_loop() -> None:
    cluster = Simulated()
    home = cluster.node(0)
    for _ in range(3):
        cluster.finding(home, out_of_memory(cluster.worker(0).pid))
        cluster.crash(0)
        cluster.probed(home)
        cluster.run(600)
    cluster.crash(0)
    cluster.probed(home)
    cluster.run(20)
    assert (cluster.evicted(), cluster.causes()[-1]) == ([], "rank-crash")


def test_crashes_on_all_nodes_alike_accuse_none() -> None:
    cluster = Simulated(nodes=12, world=4)
    for number in range(12):
        home = cluster.node(number % 4)
        cluster.crash(number % 4, "signal 11")
        cluster.probed(home)
        cluster.run(290)
    assert cluster.evicted() == []


def test_what_was_found_and_is_over_in_the_same_report_is_nothing() -> None:
    cluster = Simulated()
    home = cluster.node(0)
    repaired = Finding("gpu", "gpu-lost", "gpu-0", Health.OK, "GPU answers", {})
    watch = Watch(cluster.rules.policy, cluster.now - 60)
    seen = ((1, FindingSeen(lost())), (2, FindingSeen(repaired)))
    for fact in watch.report(Report(home, "b", 1, (), seen), cluster.state, cluster.now):
        cluster.tell(fact)
    cluster.run(10)
    assert (cluster.evicted(), cluster.all(Resume)) == ([], [])


def test_what_is_found_on_most_nodes_at_once_is_no_nodes_fault() -> None:
    cluster = Simulated(nodes=24, world=16)
    for node in cluster.state.nodes:
        cluster.finding(node, power_brake())
    cluster.run(60)
    assert (cluster.evicted(), cluster.all(Resume)) == ([], [])


def test_whoever_always_sat_on_a_node_is_no_test_of_it() -> None:
    """Storage is out: the second time another rank of the first one's node happens to raise first."""
    cluster = Simulated(nodes=2, gpus=8, world=16, min_world=8)
    cluster.advances = False
    error = "OSError: [Errno 116] Stale file handle"
    cluster.raises(0, error)
    cluster.run(2)
    assert cluster.node(1) == "n1"
    cluster.raises(1, error)
    cluster.run(30)
    assert cluster.evicted() == []


def test_a_storm_of_one_xid_hides_no_other() -> None:
    cluster = Simulated()
    home = cluster.node(0)
    cluster.finding(home, xid(31, 0, "MMU fault", Health.WARNING))
    for channel in range(12):
        cluster.finding(home, xid(45, 0, f"channel {channel}", Health.WARNING))
    cluster.crash(0)
    cluster.probed(home)
    cluster.run(5)
    assert cluster.causes() == ["gpu-app-xid"]


@pytest.mark.parametrize("repaired", ["undrained", "booted"])
def test_the_same_fault_after_a_repair_is_a_new_one(repaired: str) -> None:
    cluster = Simulated(nodes=4)
    home = cluster.node(0)
    cluster.finding(home, xid(79))
    cluster.run(5)
    if repaired == "booted":
        cluster.tell(NodeJoined(cluster.now, home, "10.0.0.1", 1, 1, "kernel-2"))
    cluster.command("undrain", home)
    cluster.run(60)
    cluster.actions.clear()
    cluster.finding(home, xid(79))
    cluster.run(5)
    assert cluster.evicted() == [home]


def test_a_node_that_was_booted_anew_has_no_old_findings() -> None:
    cluster = Simulated(nodes=2, gpus=2, world=2)
    home, other = cluster.node(0), NodeId("n2")
    cluster.finding(home, lost(0))
    cluster.run(5)
    cluster.tell(NodeJoined(cluster.now, home, "10.0.0.1", 1, 2, "kernel-2"))
    cluster.command("undrain", home)
    cluster.run(30)
    cluster.ports[other] = ("refused", "refused", -1)
    cluster.silence(other)
    cluster.run(60)
    assert (cluster.going(), [w.gpu for _, w in cluster.state.seated(cluster.job)]) == (True, [0, 1])
    assert JOB in cluster.state.jobs


def test_what_a_node_says_of_another_nodes_rank_is_no_word() -> None:
    cluster = Simulated(world=3)
    worker, liar = cluster.worker(0), cluster.node(1)
    place = (worker.id, liar, 0, worker.pid, cluster.job.generation)
    cluster.tell(RankExited(cluster.now, JOB, 0, *place, "signal 9"))
    cluster.tell(RankRaised(cluster.now, JOB, 0, *place, 5, "user", "KeyError: 3", ""))
    cluster.run(30)
    assert (cluster.causes(), cluster.resumed(), cluster.going()) == ([], [], True)
