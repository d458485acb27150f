"""From NVIDIA's library through the GPU checks to the deed: what evicts, what drains, what only stands."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from simulated import Simulated

from sentinel.adapters.nvml import NvmlGpus
from sentinel.checks import gpu_clocks, gpu_driver, gpu_links, gpu_memory, gpu_tenants
from sentinel.demo.nvml import GIB, LINKS, StandIn
from sentinel.model.action import Resume
from sentinel.model.check import Machine
from sentinel.model.finding import Finding, Health

Keys = dict[str, Any]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def looks(driver: StandIn, before: Keys, after: Keys, seconds: float) -> Iterator[Finding]:
    """Give what all checks find at the last of three looks, of which the first saw another state."""
    clock = Clock()
    machine = Machine("n", NvmlGpus(), None, kept=str(driver.file.parent / "checks"))
    checks: list[tuple[Callable[[Machine], Any], Callable[[Any], Iterator[Finding]]]] = [
        (gpu_memory.measure, gpu_memory.judge),
        (partial(gpu_driver.measure, clock=clock), gpu_driver.judge),
        (partial(gpu_links.measure, clock=clock), gpu_links.judge),
        (partial(gpu_clocks.measure, clock=clock), gpu_clocks.judge),
        (gpu_tenants.measure, gpu_tenants.judge),
    ]
    for keys in (before, after, after):
        driver.put(keys, 0)
        clock.now += seconds
        found = [each for measure, judge in checks for each in judge(measure(machine))]
    yield from found


ALL_UP = {f"nvlink.{link}.active": 1 for link in range(LINKS)}
DRAINED = [
    ({}, {"sram.threshold_exceeded": 1}, "sram-ecc"),
    ({}, {"retired.single": 50, "retired.double": 13}, "gpu-remap"),
    ({}, {"utilisation": 90, "pcie.width": 4}, "pcie-degraded"),
    ({"nvlink.3.crc": 0}, {"nvlink.3.crc": 10**6}, "nvlink-errors"),
    ({}, {"recovery_action": 4}, "gpu-reset-due"),
]
EVICTED = [
    (ALL_UP, {"nvlink.3.active": 0}, "nvlink"),
    ({}, {"recovery_action": 1}, "gpu-recovery"),
]
LEFT_ALONE = [
    pytest.param({}, {"nvlink.3.replays": 1}, id="packets sent again"),
    pytest.param({}, {"nvlink.3.recoveries": 1}, id="a link that was trained again"),
    pytest.param({}, {"pcie.replays": 10**6}, id="PCIe packets sent again"),
    pytest.param({}, {"remap.uncorrected": 600, "remap.histogram": "1,1,1,1,1"}, id="worn rows"),
    pytest.param(
        {}, {"ecc.volatile.corrected.2": 10**9, "sram.volatile.corrected": 10**9}, id="corrected errors"
    ),
    pytest.param({}, {"recovery_action": 3}, id="peer-to-peer traffic to be drained"),
    pytest.param({}, {"recovery_action": 99}, id="an action that nobody knows"),
    pytest.param({}, {"fabric.state": 2}, id="a fabric that is not ready"),
    pytest.param({}, {"fabric.health": 1}, id="a fabric with less bandwidth"),
    pytest.param({}, {"memory_temperature": 99}, id="hot memory"),
    pytest.param({}, {"mig.pending": 1}, id="a mode that waits"),
    pytest.param({}, {"lost": 1}, id="a GPU that the gpu check accuses"),
    pytest.param({}, {"error": 999}, id="a driver that knows nothing"),
]


@pytest.mark.parametrize(("before", "after", "cause"), DRAINED, ids=[each[-1] for each in DRAINED])
def test_what_worsens_but_works_drains_the_node_and_loses_no_step(
    driver: StandIn, before: Keys, after: Keys, cause: str
) -> None:
    cluster = Simulated()
    bad, running = cluster.node(0), tuple(cluster.seats)
    found = list(looks(driver, before, after, 25.0))
    assert {each.health for each in found} - {Health.WARNING} == {Health.CRITICAL}
    for each in found:
        cluster.finding(bad, each)
    cluster.run(60)
    assert (cluster.causes(), cluster.evicted(), len(cluster.pages())) == ([cause], [bad], 1)
    (resume,) = cluster.all(Resume)
    assert resume.pause == running, "at a step boundary"


@pytest.mark.parametrize(("before", "after", "cause"), EVICTED, ids=[each[-1] for each in EVICTED])
def test_what_is_broken_evicts_the_node(driver: StandIn, before: Keys, after: Keys, cause: str) -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    for each in looks(driver, before, after, 10.0):
        cluster.finding(bad, each)
    cluster.run(10)
    assert (cluster.causes(), cluster.evicted(), len(cluster.pages())) == ([cause], [bad], 1)
    (resume,) = cluster.all(Resume)
    assert resume.pause == ()


@pytest.mark.parametrize(("before", "after"), LEFT_ALONE)
def test_what_is_only_evidence_evicts_nobody_and_wakes_nobody(
    driver: StandIn, before: Keys, after: Keys
) -> None:
    cluster = Simulated()
    found = list(looks(driver, before, after, 25.0))
    assert found
    assert {each.health for each in found} <= {Health.WARNING, Health.UNKNOWN}
    for each in found:
        cluster.finding(cluster.node(0), each)
    cluster.run(120)
    assert (cluster.causes(), cluster.evicted(), cluster.pages()) == ([], [], set())


@pytest.mark.parametrize("keys", [{"fabric.status": 999}, {"fabric.state": 2}, {"fabric.health": 1 << 4}])
def test_a_broken_fabric_wakes_people_and_evicts_nobody(driver: StandIn, keys: Keys) -> None:
    cluster = Simulated()
    for each in looks(driver, keys, keys, 200.0):
        cluster.finding(cluster.node(0), each)
    cluster.run(120)
    assert (cluster.causes(), cluster.evicted(), len(cluster.pages())) == (["fabric"], [], 1)


def test_memory_that_nobody_holds_wakes_people_and_evicts_nobody(
    driver: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_tenants.heartbeat, "counts_as_the_kernel", lambda: True)
    cluster = Simulated()
    for each in looks(driver, {}, {"memory.used": 80 * GIB}, 30.0):
        cluster.finding(cluster.node(0), each)
    cluster.run(120)
    assert (cluster.causes(), cluster.evicted(), len(cluster.pages())) == (["gpu-residue"], [], 1)
