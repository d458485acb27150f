from collections.abc import Callable
from pathlib import Path

import pytest
from of_gpus import BEGINS_ANEW, Clock, Found, codes, machine

from sentinel.checks import gpu, gpu_clocks
from sentinel.demo.nvml import StandIn
from sentinel.model.check import series
from sentinel.model.finding import Health


class Watch:
    """The check as a prober runs it."""

    def __init__(self, kept: Path) -> None:
        self.clock, self.kept = Clock(), kept
        self.restart()

    def restart(self) -> None:
        """Another prober takes over."""
        self.machine = machine(kept=self.kept)

    def look(self, after: float = 60.0) -> Found:
        self.clock.now += after
        return codes(gpu_clocks.judge(gpu_clocks.measure(self.machine, self.clock)))


@pytest.fixture
def watch(driver: StandIn, tmp_path: Path) -> Watch:
    return Watch(tmp_path / "checks")


def test_gpus_in_order_give_nothing(watch: Watch) -> None:
    assert [watch.look(10) for _ in range(9)] == [[]] * 9


@pytest.mark.parametrize(
    ("reason", "health"),
    [(0x8, Health.WARNING), (0x40, Health.CRITICAL), (0x80, Health.CRITICAL), (0x48, Health.CRITICAL)],
)
def test_a_gpu_that_hardware_slows_in_six_minutes_of_ten_is_at_fault(
    driver: StandIn, watch: Watch, reason: int, health: Health
) -> None:
    repeated = [("gpu-0", "throttle-repeated", health)]
    for minute in range(6):
        driver.put({"throttle_reasons": reason}, 0)
        assert watch.look(30) == ([] if minute < 5 else repeated)
        driver.put({"throttle_reasons": 0}, 0)
        watch.look(30)
    for _ in range(3):
        assert watch.look() == repeated, "its ten minutes are not over"
    while watch.clock.now < 1000 + 10 * 60:
        watch.look()
    assert watch.look() == []


def test_another_prober_goes_on_where_the_last_one_was(driver: StandIn, watch: Watch) -> None:
    driver.put({"throttle_reasons": 0x40}, 0)
    for _ in range(6):
        watch.restart()
        found = watch.look()
    assert found == [("gpu-0", "throttle-repeated", Health.CRITICAL)]


def test_time_lost_to_heat_is_known_to_another_prober(driver: StandIn, watch: Watch) -> None:
    watch.look()
    driver.put({"violation_ns.1": 12 * 10**9}, 1)
    assert watch.look(120) == [("gpu-1", "thermal-violation", Health.WARNING)]
    watch.restart()
    assert watch.look(10) == [("gpu-1", "thermal-violation", Health.WARNING)]


@pytest.mark.parametrize("change", BEGINS_ANEW)
def test_nothing_is_new_after_a_boot_a_long_pause_or_an_exchange(
    driver: StandIn, watch: Watch, change: Callable[[StandIn, Path], None]
) -> None:
    driver.put({"throttle_reasons": 0x40})
    for _ in range(5):
        watch.look()
    driver.put({"violation_ns.1": 10**12})
    change(driver, watch.kept)
    watch.restart()
    assert [watch.look() for _ in range(5)] == [[]] * 5


def test_a_storm_within_one_minute_counts_once(driver: StandIn, watch: Watch) -> None:
    driver.put({"throttle_reasons": 0x8}, 0)
    assert [watch.look(2) for _ in range(9)] == [[]] * 9


def test_slowdowns_that_are_spread_out_are_no_fault(driver: StandIn, watch: Watch) -> None:
    for _ in range(20):
        driver.put({"throttle_reasons": 0x8}, 0)
        assert watch.look() == []
        driver.put({"throttle_reasons": 0}, 0)
        assert watch.look() == []


@pytest.mark.parametrize("reason", [0x0, 0x1, 0x2, 0x4, 0x10, 0x20, 0x100])
def test_what_the_driver_does_by_itself_is_no_slowdown_of_hardware(
    driver: StandIn, watch: Watch, reason: int
) -> None:
    driver.put({"throttle_reasons": reason})
    assert [watch.look() for _ in range(12)] == [[]] * 12


@pytest.mark.parametrize(
    ("share", "found"), [(0.049, []), (0.05, [("gpu-1", "thermal-violation", Health.WARNING)])]
)
def test_time_that_is_lost_to_heat_is_a_warning_from_five_percent_on(
    driver: StandIn, watch: Watch, share: float, found: Found
) -> None:
    watch.look()
    driver.put({"violation_ns.1": int(share * 120e9)}, 1)
    assert watch.look(120) == found


def test_a_minute_must_pass_before_a_share_is_one_and_a_new_driver_begins_anew(
    driver: StandIn, watch: Watch
) -> None:
    driver.put({"violation_ns.1": 10**12})
    watch.look()
    driver.put({"violation_ns.1": 10**12 + 5 * 10**9})
    assert watch.look(10) == []
    driver.put({"violation_ns.1": 10**11})
    assert watch.look(120) == []


def test_time_at_the_power_limit_is_no_fault(driver: StandIn, watch: Watch) -> None:
    watch.look()
    driver.put({"violation_ns.0": 10**12})
    assert watch.look(120) == []


@pytest.mark.parametrize(
    ("now", "limit", "found"),
    [
        (94, 95, []),
        (95, 95, [("gpu-0", "memory-temperature", Health.WARNING)]),
        (95, None, []),
        (None, 95, []),
    ],
)
def test_memory_is_held_to_the_devices_own_limit(
    driver: StandIn, watch: Watch, now: int | None, limit: int | None, found: Found
) -> None:
    driver.put({"memory_temperature": None, "temperature.threshold.2": limit})
    driver.put({"memory_temperature": now}, 0)
    assert watch.look() == found


@pytest.mark.parametrize(
    ("now", "limit", "is_hot"), [(86, 87, False), (87, 87, True), (89, None, False), (90, None, True)]
)
def test_a_gpu_is_held_to_its_own_limit_where_it_names_one(
    driver: StandIn, now: int, limit: int | None, is_hot: bool
) -> None:
    driver.put({"temperature": now, "temperature.threshold.3": limit})
    found = codes(gpu.judge(gpu.measure(machine())))
    assert found == [(f"gpu-{index}", "temperature", Health.WARNING) for index in (0, 1) if is_hot]


def test_clocks_and_power_are_exported_in_base_units(driver: StandIn) -> None:
    driver.put({"violation_ns.1": 3 * 10**9}, 0)
    shown = gpu_clocks.metrics(gpu_clocks.measure(machine()))
    assert shown[series("gpu_sm_clock_hertz", gpu=0)] == 1980e6
    assert shown[series("gpu_power_watts", gpu=0)] == 120.0
    assert shown[series("gpu_thermal_violation_seconds_total", gpu=0)] == pytest.approx(3.0)


def test_what_a_gpu_does_not_have_is_neither_judged_nor_exported(driver: StandIn, watch: Watch) -> None:
    driver.put(dict.fromkeys(driver.described))
    assert watch.look() == []
    assert gpu_clocks.metrics(gpu_clocks.measure(watch.machine)) == {}
