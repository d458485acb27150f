from collections.abc import Callable
from pathlib import Path

import pytest
from of_gpus import BEGINS_ANEW, Clock, Found, codes, machine

from sentinel.checks import gpu_driver
from sentinel.demo.nvml import StandIn
from sentinel.model.check import series
from sentinel.model.finding import Health

WARNING, CRITICAL, UNKNOWN = Health.WARNING, Health.CRITICAL, Health.UNKNOWN


def found() -> Found:
    return codes(gpu_driver.judge(gpu_driver.measure(machine())))


class Watch:
    """The check as one prober after the other runs it."""

    def __init__(self, kept: Path) -> None:
        self.clock, self.kept = Clock(), kept

    def look(self, after: float = 30.0) -> Found:
        self.clock.now += after
        return codes(gpu_driver.judge(gpu_driver.measure(machine(kept=self.kept), self.clock)))


@pytest.fixture
def watch(driver: StandIn, tmp_path: Path) -> Watch:
    return Watch(tmp_path / "checks")


def test_gpus_in_order_give_nothing(driver: StandIn) -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("action", "code", "health"),
    [
        (1, "gpu-recovery", CRITICAL),
        (2, "gpu-recovery", CRITICAL),
        (3, "recovery-action", WARNING),
        pytest.param(4, "recovery-action", WARNING, id="to drain, for the first time"),
        (5, "recovery-action", WARNING),
        (6, "gpu-recovery", CRITICAL),
        (7, "gpu-recovery", CRITICAL),
        pytest.param(99, "recovery-action", UNKNOWN, id="a number of a later driver"),
    ],
)
def test_what_the_driver_asks_for_is_told_by_its_number(
    driver: StandIn, action: int, code: str, health: Health
) -> None:
    driver.put({"recovery_action": action}, 1)
    assert found() == [("gpu-1", code, health)]


def bits(**places: int) -> int:
    shifts = {"degraded": 0, "route_recovers": 2, "route_broken": 4, "access_recovers": 6, "configuration": 8}
    return sum(value << shifts[name] for name, value in places.items())


@pytest.mark.parametrize(
    ("state", "status", "health", "expected"),
    [
        pytest.param(0, 0, 0, None, id="no fabric"),
        pytest.param(0, 999, bits(degraded=1), None, id="no fabric, whatever the rest says"),
        pytest.param(1, 0, 0, ("fabric-unreadable", UNKNOWN), id="not started"),
        pytest.param(2, 0, 0, ("fabric-unreadable", UNKNOWN), id="in progress"),
        pytest.param(3, 0, 0, None, id="completed, health not supported"),
        pytest.param(
            3, 0, bits(degraded=2, route_recovers=2, route_broken=2, configuration=1), None, id="well"
        ),
        pytest.param(3, 3, 0, None, id="completed, and not supported"),
        pytest.param(3, 999, 0, ("fabric-failed", WARNING), id="completed with an error"),
        pytest.param(
            3, 0, bits(route_broken=1, degraded=1), ("fabric-failed", WARNING), id="route unhealthy"
        ),
        pytest.param(3, 0, bits(configuration=5), ("fabric-failed", WARNING), id="too few links"),
        pytest.param(3, 0, bits(degraded=1), ("fabric-degraded", WARNING), id="less bandwidth"),
        pytest.param(3, 0, bits(route_recovers=1), ("fabric-degraded", WARNING), id="route being repaired"),
        pytest.param(3, 0, bits(access_recovers=1), ("fabric-degraded", WARNING), id="access being repaired"),
    ],
)
def test_a_place_in_the_fabric_is_judged_by_state_status_and_health(
    driver: StandIn, state: int, status: int, health: int, expected: tuple[str, Health] | None
) -> None:
    driver.put({"fabric.state": state, "fabric.status": status, "fabric.health": health}, 0)
    assert found() == ([("gpu-0", *expected)] if expected else [])


def test_a_driver_that_does_not_know_of_either_is_not_judged(driver: StandIn) -> None:
    driver.put({"fabric.state": None, "recovery_action": None})
    assert found() == []


def test_driver_and_firmware_are_exported_to_compare_a_fleet_and_stand_in_the_evidence(
    driver: StandIn,
) -> None:
    driver.put({"vbios": "96.00.99.00.02", "serial": "1650000000001", "recovery_action": 1}, 1)
    gpus = gpu_driver.measure(machine())
    named = {"model": "NVIDIA H200", "driver": "580.65.06"}
    shown = gpu_driver.metrics(gpus)
    for gpu, (uuid, vbios) in enumerate(
        [("GPU-00000000", "96.00.99.00.01"), ("GPU-00000001", "96.00.99.00.02")]
    ):
        named |= {"pci": gpus[gpu].gpu.pci, "serial": f"165000000000{gpu}"}
        assert shown[series("gpu_info", gpu=gpu, uuid=uuid, vbios=vbios, **named)] == 1.0
    assert shown[series("gpu_recovery_action", gpu=1)] == 1.0
    (finding,) = gpu_driver.judge(gpus)
    assert (finding.evidence["driver"], finding.evidence["vbios"]) == ("580.65.06", "96.00.99.00.02")
    assert finding.evidence["serial"] == "1650000000001"


def test_a_gpu_that_waits_for_the_fabric_is_unknown_and_after_five_minutes_people_are_told(
    driver: StandIn, watch: Watch
) -> None:
    look = watch.look
    driver.put({"fabric.state": 1}, 0)
    assert look(0) == look(200) == [("gpu-0", "fabric-unreadable", UNKNOWN)]
    driver.put({"fabric.state": 2}, 0)
    assert look(99) == [("gpu-0", "fabric-unreadable", UNKNOWN)]
    assert look(1) == [("gpu-0", "fabric-unready", WARNING)]
    driver.put({"fabric.state": 3}, 0)
    assert look(30) == []
    driver.put({"fabric.state": 2}, 0)
    assert look(3000) == [("gpu-0", "fabric-unreadable", UNKNOWN)], "it begins anew"


def test_a_gpu_to_be_drained_is_so_at_two_looks_in_a_row(driver: StandIn, watch: Watch) -> None:
    asked, again = [("gpu-0", "recovery-action", WARNING)], [("gpu-0", "gpu-drain-and-reset", CRITICAL)]
    for action, expected in ((4, asked), (0, []), (4, asked), (3, asked), (4, asked), (4, again), (4, again)):
        driver.put({"recovery_action": action}, 0)
        assert watch.look() == expected


@pytest.mark.parametrize("change", BEGINS_ANEW)
def test_nothing_is_known_after_a_boot_a_long_pause_or_an_exchange(
    driver: StandIn, watch: Watch, change: Callable[[StandIn, Path], None]
) -> None:
    driver.put({"fabric.state": 2, "recovery_action": 4}, 0)
    watch.look()
    change(driver, watch.kept)
    assert watch.look(3000) == [
        ("gpu-0", "recovery-action", WARNING),
        ("gpu-0", "fabric-unreadable", UNKNOWN),
    ]
