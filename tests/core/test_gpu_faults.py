"""GPU faults: one incident and one page whatever comes first, and no rank returns to a bad GPU."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from simulated import Simulated, ecc, lost, xid

from sentinel.model.action import Page, Resume
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId

Step = Callable[[Simulated, NodeId], None]


def says(found: object) -> Step:
    return lambda cluster, node: cluster.finding(node, found)  # type: ignore[arg-type]


def dies(cluster: Simulated, node: NodeId) -> None:
    if cluster.worker(0).node == node:
        cluster.crash(0)


def soon(cluster: Simulated, node: NodeId) -> None:
    cluster.run(0.2)


def probed(cluster: Simulated, node: NodeId) -> None:
    cluster.probed(node)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([says(ecc()), says(xid(48)), dies], id="before the exit"),
        pytest.param([says(xid(48)), soon, dies, soon, says(ecc())], id="around the exit"),
        pytest.param([dies, says(ecc()), probed, says(xid(48))], id="with the exit's probe"),
        pytest.param([dies, soon, says(ecc()), soon, says(ecc(count=3))], id="after the exit"),
        pytest.param([dies, soon, says(xid(48)), says(ecc())], id="Xid first"),
    ],
)
def test_an_ecc_error_is_one_incident_in_any_order(steps: list[Step]) -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    for step in steps:
        step(cluster, bad)
    cluster.run(10)
    assert cluster.causes() == ["gpu-ecc"]
    assert cluster.evicted() == [bad]
    assert all(bad not in nodes for nodes in cluster.resumed()), "never reseated in between"
    assert len(cluster.resumed()) == 1
    assert (len(cluster.pages()), cluster.going()) == (1, True)


def test_an_ecc_error_that_shows_after_the_replacement_renames_the_incident() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    cluster.crash(0)
    cluster.run(3)
    cluster.settle()
    assert cluster.stages() == ["resolved"]
    cluster.finding(bad, ecc())
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted()) == (["gpu-ecc"], [bad])
    cluster.settle()
    assert (len(cluster.pages()), cluster.stages(), cluster.going()) == (1, ["resolved"], True)


@pytest.mark.parametrize("found", [[lost()], [xid(79)], [lost(), xid(79)], [xid(79), lost()]])
def test_a_lost_gpu_is_one_page_however_it_is_told(found: list) -> None:
    cluster = Simulated()
    bad = cluster.node(1)
    for each in found:
        cluster.finding(bad, each)
        cluster.run(0.1)
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted(), len(cluster.pages())) == (["gpu-lost"], [bad], 1)
    (incident,) = cluster.incidents()
    assert incident.diagnosis is not None
    (suspect,) = incident.diagnosis.suspects
    assert (suspect.node, suspect.rank, suspect.gpu) == (bad, 1, 0)
    assert cluster.going()


def recovery() -> Finding:
    said = "the driver's recovery action is GPU Reset Required"
    return Finding("xid", "gpu-recovery", "gpu-0", Health.CRITICAL, said, {"line": "154"}, event=True)


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        pytest.param([recovery()], "gpu-recovery", id="alone"),
        pytest.param([xid(48), recovery()], "gpu-ecc", id="after the error"),
        pytest.param([recovery(), xid(48)], "gpu-ecc", id="before it"),
        pytest.param([xid(31, health=Health.WARNING), recovery()], "gpu-recovery", id="after a program's"),
    ],
)
def test_the_drivers_verdict_evicts_under_the_name_of_the_error_that_it_follows(
    found: list[Finding], cause: str
) -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    for each in found:
        cluster.finding(bad, each)
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted(), len(cluster.pages())) == ([cause], [bad], 1)


def app_fault(cluster: Simulated, line: str) -> None:
    node = cluster.node(0)
    cluster.finding(node, xid(31, line=line, health=Health.WARNING))
    cluster.crash(0)
    cluster.run(5)


def test_a_programs_xid_replaces_the_rank_and_keeps_the_node() -> None:
    cluster = Simulated()
    app_fault(cluster, "a")
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["gpu-app-xid"], [], True)


def test_the_second_programs_xid_in_a_day_on_one_gpu_suspects_the_gpu() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    app_fault(cluster, "a")
    cluster.run(7200)
    app_fault(cluster, "b")
    assert (cluster.causes()[-1], cluster.evicted(), cluster.going()) == ("gpu-app-xid-repeat", [bad], True)


def test_a_suspect_gpu_on_the_only_node_goes_on_with_a_new_process() -> None:
    cluster = Simulated(nodes=1, gpus=2)
    for line in "ab":
        before = list(cluster.seats)
        cluster.finding(cluster.node(1), xid(31, cluster.worker(1).gpu, line=line, health=Health.WARNING))
        cluster.raises(1, "AcceleratorError: CUDA error: an illegal memory access was encountered")
        cluster.run(10)
        assert cluster.seats[0] == before[0]
        assert cluster.seats[1] != before[1], "its CUDA context is dead"
        cluster.run(7200)
    assert (cluster.causes()[-1], cluster.evicted(), cluster.going()) == ("gpu-app-xid-repeat", [], True)


def test_programs_xids_on_several_gpus_are_the_programs() -> None:
    cluster = Simulated(nodes=6, world=4)
    for line in "ab":
        for rank in range(4):
            gpu = cluster.worker(rank).gpu
            cluster.finding(cluster.node(rank), xid(31, gpu, line=line, health=Health.WARNING))
        for rank in range(4):
            cluster.crash(rank)
        cluster.run(7200)
    assert (cluster.causes()[-1], cluster.evicted(), cluster.going()) == ("gpu-app-xid", [], True)


def test_a_program_that_fails_at_the_same_step_again_and_again_evicts_nobody() -> None:
    cluster = Simulated(nodes=6)
    cluster.advances = False
    for line in "abcdef":
        if cluster.job.stage.value == "forming":
            app_fault(cluster, line)
        cluster.run(15)
    app_fault(cluster, "g")
    cluster.run(60)
    assert (cluster.causes(), cluster.evicted(), len(cluster.pages())) == (["gpu-app-xid"], [], 1)


@pytest.mark.parametrize("first", ["xid", "crash"])
def test_an_xid_on_a_gpu_without_a_rank_explains_no_crash_and_keeps_the_node(first: str) -> None:
    cluster = Simulated(gpus=4)
    node = cluster.node(0)
    assert {worker.gpu for _, worker in cluster.state.seated(cluster.job)} == {0, 1}
    for line in "ab":
        if first == "crash":
            cluster.crash(0)
        cluster.finding(node, xid(31, 3, line=line, health=Health.WARNING))
        if first == "xid":
            cluster.crash(0)
        cluster.run(7200)
    assert (cluster.causes()[-1], cluster.evicted(), cluster.going()) == ("rank-crash", [], True)


def test_several_kernel_lines_about_one_fault_are_one_fault() -> None:
    cluster = Simulated()
    for line in "abc":
        cluster.finding(cluster.node(0), xid(31, line=line, health=Health.WARNING))
    app_fault(cluster, "d")
    assert cluster.evicted() == []


def test_a_finding_that_is_told_again_after_a_lost_acknowledgement_counts_once() -> None:
    cluster = Simulated()
    node = cluster.node(0)
    app_fault(cluster, "a")
    cluster.run(60)
    cluster.finding(node, xid(31, line="a", health=Health.WARNING))
    assert len(cluster.at(node).app_xids) == 1


def test_a_burst_of_xids_that_the_next_agent_tells_again_counts_once() -> None:
    cluster = Simulated()
    node = cluster.node(0)
    burst = [xid(31, line=f"[{number}.0] fault", health=Health.WARNING) for number in range(200)]
    for each in burst:
        cluster.finding(node, each)
    cluster.crash(0)
    cluster.run(60)
    resumed = cluster.resumed()
    for each in burst:
        cluster.finding(node, replace(each, component="pci:0000:01:00"))
    cluster.run(60)
    assert len(cluster.at(node).app_xids) == 1
    assert (cluster.causes(), cluster.evicted(), cluster.resumed()) == (["gpu-app-xid"], [], resumed)


def hung(health: Health) -> Finding:
    return Finding("gpu", "gpu-probe-hung", "gpu", health, "the prober hung in the gpu check", {})


def test_a_driver_that_hangs_again_and_again_evicts_its_node() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    cluster.finding(bad, hung(Health.WARNING))
    cluster.run(5)
    assert cluster.evicted() == []
    cluster.finding(bad, hung(Health.CRITICAL))
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["gpu-reset"], [bad], True)


def test_a_driver_that_hangs_together_with_a_rank_is_the_cause() -> None:
    cluster = Simulated()
    bad = cluster.node(1)
    cluster.stall(cluster.beat(0), cluster.beat(1, enqueued=9, phase="compute"))
    cluster.finding(bad, hung(Health.WARNING))
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["gpu-reset"], [bad], True)


def throttled(health: Health = Health.CRITICAL) -> Finding:
    return Finding("gpu", "throttle", "gpu-0", health, "GPU 0 slows down: hardware, heat")


def test_a_gpu_that_slows_itself_down_for_long_is_drained_at_a_step_boundary() -> None:
    cluster = Simulated()
    bad, running = cluster.node(0), tuple(cluster.seats)
    cluster.finding(bad, throttled())
    cluster.run(60)
    (resume,) = cluster.all(Resume)
    assert resume.pause == running
    assert (cluster.causes(), cluster.evicted(), cluster.stages()) == (["throttle"], [bad], ["resolved"])


def test_a_gpu_that_slows_itself_down_for_moments_keeps_its_node() -> None:
    cluster = Simulated()
    for _ in range(5):
        cluster.finding(cluster.node(0), throttled())
        cluster.run(20)
        cluster.finding(cluster.node(0), throttled(Health.OK))
        cluster.run(1)
    cluster.run(600)
    assert (cluster.incidents(), cluster.actions) == ([], [])


def test_health_that_nobody_knows_evicts_nobody() -> None:
    cluster = Simulated()
    cluster.finding(cluster.node(0), xid(79, health=Health.UNKNOWN))
    cluster.run(5)
    assert (cluster.incidents(), cluster.actions) == ([], [])


def test_a_spare_with_a_bad_gpu_goes_without_touching_the_job() -> None:
    cluster = Simulated()
    spare = cluster.spare()
    cluster.finding(spare, ecc())
    cluster.run(5)
    assert (cluster.evicted(), cluster.resumed(), cluster.stages()) == ([spare], [], ["resolved"])


def test_a_finding_on_a_cordoned_node_opens_nothing_new() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    cluster.run(60)
    cluster.finding(bad, lost())
    cluster.run(5)
    assert (cluster.causes(), len(cluster.pages()), cluster.evicted()) == (["gpu-ecc"], 1, [bad])


def test_the_oom_killers_line_names_the_crash_even_when_it_comes_late() -> None:
    said = "Out of memory: Killed process 101 (python)"
    killed = Finding("oom", "oom-kill", "memory", Health.WARNING, said, {"line": said}, event=True)
    cluster = Simulated()
    node = cluster.node(0)
    cluster.crash(0)
    cluster.run(0.4)
    cluster.finding(node, killed)
    cluster.run(5)
    assert (cluster.causes(), len(cluster.resumed()), cluster.evicted()) == (["host-oom"], 1, [])


def test_an_xid_that_one_crash_was_explained_by_explains_no_second_one() -> None:
    cluster = Simulated()
    cluster.finding(cluster.node(0), xid(31, health=Health.WARNING))
    cluster.crash(0)
    cluster.run(3)
    cluster.crash(0)
    cluster.run(3)
    assert cluster.causes() == ["rank-crash"], "it has not settled, so the page is the same"
    assert "Also: rank-crash" in cluster.all(Page)[-1].body
    cluster.settle()
    cluster.crash(1)
    cluster.run(3)
    assert cluster.causes() == ["rank-crash", "rank-crash"]


UNMANAGED = Finding("platform", "fabric-manager-down", "service:x", Health.WARNING, "it is down", {})


def test_a_fabric_manager_that_is_down_beside_working_gpus_takes_no_node_away() -> None:
    cluster = Simulated()
    cluster.finding(cluster.node(0), UNMANAGED)
    cluster.run(600)
    assert (cluster.causes(), cluster.evicted(), cluster.pages()) == ([], [], set())


def test_a_rank_that_dies_soon_after_its_fabric_manager_died_of_that() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    cluster.finding(bad, UNMANAGED)
    cluster.run(5)
    cluster.crash(0)
    cluster.probed(bad)
    cluster.run(30)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["fabric-manager"], [bad], True)
