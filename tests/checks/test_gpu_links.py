from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from of_gpus import BEGINS_ANEW, Clock, Found, codes, machine

from sentinel.checks import gpu_links
from sentinel.checks._gpu_links import LinksSample
from sentinel.demo.nvml import StandIn
from sentinel.model.check import series
from sentinel.model.finding import Health
from sentinel.model.gpu_sample import GpuLinks, NvLink

WARNING, CRITICAL = Health.WARNING, Health.CRITICAL
Keys = dict[str, Any]


class Watch:
    """The check as a prober runs it, every ten seconds."""

    def __init__(self, kept: Path) -> None:
        self.clock, self.kept = Clock(), kept
        self.restart()

    def restart(self) -> None:
        """Another prober takes over."""
        self.machine = machine(kept=self.kept)

    def look(self, after: float = 10.0) -> Found:
        self.clock.now += after
        return codes(gpu_links.judge(gpu_links.measure(self.machine, self.clock)))

    def looks(self, count: int) -> Found:
        return [self.look() for _ in range(count)][-1]


@pytest.fixture
def watch(driver: StandIn, tmp_path: Path) -> Watch:
    return Watch(tmp_path / "checks")


def test_gpus_in_order_give_nothing(watch: Watch) -> None:
    assert [watch.look() for _ in range(9)] == [[]] * 9


@pytest.mark.parametrize("slow", [{"pcie.generation": 4}, {"pcie.width": 8}])
def test_a_pcie_link_is_judged_by_its_last_two_looks_under_load(
    driver: StandIn, watch: Watch, slow: dict[str, int]
) -> None:
    fault = [("gpu-1", "pcie-degraded", CRITICAL)]
    driver.put(slow, 1)
    assert watch.look() == [], "at rest a link may be slow"
    driver.put({"utilisation": 90, "pstate": 2})
    assert watch.look() == [], "nor has it to be at its best below full power"
    driver.put({"pstate": 0})
    assert watch.look() == [], "it may be on its way from rest to work, or back"
    assert watch.look() == fault
    driver.put({"utilisation": 0})
    assert watch.look() == fault, "rest proves nothing"
    driver.put({"utilisation": 90, "pcie.generation": 5, "pcie.width": 16}, 1)
    assert watch.look() == []


def test_a_pcie_link_that_all_gpus_have_is_the_machines_and_takes_no_node_away(
    driver: StandIn, watch: Watch
) -> None:
    driver.put({"pcie.generation": 4, "utilisation": 90, "pstate": 0})
    assert watch.looks(2) == [(f"gpu-{index}", "pcie-degraded", WARNING) for index in (0, 1)]
    driver.put({"pcie.generation": 3}, 0)
    watch.look()
    assert watch.looks(2) == [(f"gpu-{index}", "pcie-degraded", CRITICAL) for index in (0, 1)]


def test_a_pcie_link_that_is_seen_on_its_way_to_rest_is_well(driver: StandIn, watch: Watch) -> None:
    driver.put({"utilisation": 90})
    watch.look()
    driver.put({"pcie.generation": 1})
    assert watch.look() == []
    driver.put({"utilisation": 0})
    assert watch.looks(5) == []


def test_a_link_of_a_virtual_machine_that_shows_none_is_not_judged(driver: StandIn, watch: Watch) -> None:
    driver.put({"utilisation": 90, "pcie.generation": 0, "pcie.width": 0})
    assert watch.looks(2) == []
    driver.put({"pcie.generation": None, "pcie.width_max": None})
    assert watch.looks(2) == []


@pytest.mark.parametrize(
    ("generation", "width", "allowed"), [(5, 16, 30), (4, 16, 15), (5, 8, 15), (3, 16, 7), (1, 16, 2)]
)
def test_pcie_replays_are_allowed_by_minute_lane_and_generation(
    driver: StandIn, watch: Watch, generation: int, width: int, allowed: int
) -> None:
    driver.put({"pcie.generation": generation, "pcie.width": width, "pcie.replays": 1000})
    watch.look()
    driver.put({"pcie.replays": 1000 + allowed}, 0)
    driver.put({"pcie.replays": 1000 + allowed + 1}, 1)
    assert watch.look(60) == [("gpu-1", "pcie-replays", WARNING)]
    watch.looks(3)
    assert watch.looks(4) == [], "a minute later there are no new ones"


def test_a_rate_is_not_told_from_seconds(driver: StandIn, watch: Watch) -> None:
    watch.look()
    driver.put({"pcie.replays": 20}, 0)
    assert watch.look(10) == [], "120 a minute, if it went on"
    assert watch.look(30) == [], "it did not"


def test_counters_that_go_back_begin_anew(driver: StandIn, watch: Watch) -> None:
    driver.put(
        {"pcie.replays": 5000, "nvlink.3.recoveries": 9, "nvlink.3.replays": 9, "nvlink.3.crc": 10**6}, 0
    )
    watch.look()
    driver.put({"pcie.replays": 4000, "nvlink.3.recoveries": 3, "nvlink.3.replays": 3, "nvlink.3.crc": 10}, 0)
    assert watch.looks(7) == []
    driver.put({"nvlink.3.recoveries": 4}, 0)
    assert watch.look() == [("gpu-0", "nvlink-retries", WARNING)]


def test_a_link_that_was_up_and_is_down_at_two_looks_is_down(driver: StandIn, watch: Watch) -> None:
    for index in (0, 1):
        driver.put({f"nvlink.{link}.active": 0 for link in range(18)}, index)
    assert watch.looks(3) == [], "never up: there may be no bridge"
    driver.put({f"nvlink.{link}.active": 1 for link in range(18)}, 0)
    watch.look()
    driver.put({f"nvlink.{link}.active": 0 for link in range(18)}, 0)
    assert watch.look() == [], "once"
    assert watch.look() == [("gpu-0", "nvlink-down", CRITICAL)]
    driver.put({f"nvlink.{link}.active": 1 for link in range(18)}, 0)
    assert watch.look() == []


def test_a_gpu_with_fewer_links_than_its_neighbour_has_lost_some_whoever_watched(
    driver: StandIn, watch: Watch
) -> None:
    driver.put({"nvlink.4.active": 0, "nvlink.7.active": 0}, 1)
    watch.look()
    assert watch.look() == [("gpu-1", "nvlink-down", CRITICAL)]
    found = next(iter(gpu_links.judge(gpu_links.measure(watch.machine, watch.clock))))
    assert (found.evidence["links"], "4, 7" in found.summary) == ("4, 7", True)


def active(*counts: int) -> list[LinksSample]:
    """Give a sample of each GPU with so many of its twelve links active, and the others down at two looks."""
    return [
        LinksSample(
            GpuLinks(index, nvlinks=tuple(NvLink(link, link < count) for link in range(12))),
            None,
            None,
            (),
            frozenset(range(count, 12)),
            frozenset(),
        )
        for index, count in enumerate(counts)
    ]


@pytest.mark.parametrize(
    ("counts", "named"),
    [
        ((12, 12, 4, 4), []),
        ((12, 12, 4, 4, 8, 8, 0, 0), []),
        ((12, 12, 12, 10), ["gpu-3"]),
        ((12, 0, 10), ["gpu-2"]),
    ],
)
def test_two_gpus_that_are_joined_by_fewer_bridges_than_others_are_built_so(
    counts: tuple[int, ...], named: list[str]
) -> None:
    found = codes(gpu_links.judge(active(*counts)))
    assert found == [(name, "nvlink-down", CRITICAL) for name in named]


def test_the_links_of_a_gpu_that_did_not_answer_are_trained_anew(driver: StandIn, watch: Watch) -> None:
    watch.look()
    driver.put({"lost": 1})
    watch.looks(2)
    driver.put({"lost": 0, **{f"nvlink.{link}.active": 0 for link in range(18)}})
    assert watch.looks(3) == []


def test_gpus_that_all_have_some_links_only_are_built_so(driver: StandIn, watch: Watch) -> None:
    driver.put({"nvlink.17.active": 0})
    assert watch.looks(3) == []


def test_a_gpu_that_is_split_into_instances_has_no_nvlinks(driver: StandIn, watch: Watch) -> None:
    watch.look()
    driver.put({"mig": 1, **{f"nvlink.{link}.active": 0 for link in range(18)}}, 0)
    assert watch.looks(3) == []
    driver.put({"mig": 0}, 0)
    assert watch.looks(3) == [], "they come back with its reset"


@pytest.mark.parametrize(
    ("counter", "just_below", "at_it", "found"),
    [
        ("recoveries", 0, 1, [("gpu-0", "nvlink-retries", WARNING)]),
        ("crc", 5999, 6000, [("gpu-0", "nvlink-errors", CRITICAL)]),
        ("replays", 0, 1, [("gpu-0", "nvlink-retries", WARNING)]),
    ],
)
def test_nvlink_errors_are_found_from_their_threshold_on(
    driver: StandIn, watch: Watch, counter: str, just_below: int, at_it: int, found: Found
) -> None:
    driver.put({f"nvlink.5.{counter}": 17}, 0)
    watch.look()
    driver.put({f"nvlink.5.{counter}": 17 + just_below}, 0)
    assert watch.look(60) == []
    driver.put({f"nvlink.5.{counter}": 17 + just_below + at_it}, 0)
    assert watch.look(60) == found
    watch.looks(3)
    assert watch.looks(4) == [], "a minute later"


def test_crc_errors_of_seconds_are_no_rate(driver: StandIn, watch: Watch) -> None:
    watch.look()
    driver.put({"nvlink.5.crc": 2000}, 0)
    assert watch.look(10) == []


@pytest.mark.parametrize("counter", ["replays", "recoveries"])
def test_a_link_that_retries_in_more_than_15_of_30_minutes_has_an_error_that_does_not_end(
    driver: StandIn, watch: Watch, counter: str
) -> None:
    watch.look()
    seen = []
    for count in range(1, 18):
        driver.put({f"nvlink.5.{counter}": count}, 0)
        seen.append(("gpu-0", "nvlink-errors", CRITICAL) in watch.look(60))
    assert seen == [False] * 15 + [True] * 2
    quiet = [("gpu-0", "nvlink-errors", CRITICAL) in watch.look(60) for _ in range(30)]
    assert (quiet[0], quiet[-1]) == (True, False), "until its half hour is over"


def test_retries_of_several_links_do_not_add_up_and_a_storm_in_one_minute_counts_once(
    driver: StandIn, watch: Watch
) -> None:
    watch.look()
    for count in range(1, 21):
        driver.put({f"nvlink.{count % 2}.replays": count}, 0)
        assert watch.look(60) == [("gpu-0", "nvlink-retries", WARNING)]
    watch.clock.now += 3600
    for count in range(21, 41):
        driver.put({"nvlink.0.replays": count}, 0)
        assert ("gpu-0", "nvlink-errors", CRITICAL) not in watch.look(3)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({}, {"nvlink.5.active": 0}, ("gpu-0", "nvlink-down", CRITICAL)),
        ({"nvlink.5.crc": 0}, {"nvlink.5.crc": 10**6}, ("gpu-0", "nvlink-errors", CRITICAL)),
        ({"pcie.replays": 0}, {"pcie.replays": 10**6}, ("gpu-0", "pcie-replays", WARNING)),
    ],
)
def test_another_prober_goes_on_where_the_last_one_was(
    driver: StandIn, watch: Watch, before: Keys, after: Keys, found: tuple[str, str, Health]
) -> None:
    driver.put(before, 0)
    watch.look()
    driver.put(after, 0)
    watch.looks(2)
    assert watch.look() == [found]
    watch.restart()
    assert watch.look() == [found], "at its first look: else the agent would call it cleared"


def test_what_was_seen_under_load_is_known_to_another_prober_at_rest(driver: StandIn, watch: Watch) -> None:
    driver.put({"utilisation": 90, "pcie.width": 4}, 0)
    watch.looks(2)
    driver.put({"utilisation": 0}, 0)
    watch.restart()
    assert watch.look() == [("gpu-0", "pcie-degraded", CRITICAL)]


ALL_COUNTED = {"nvlink.5.recoveries": 3, "nvlink.5.replays": 3, "nvlink.5.crc": 10**9, "pcie.replays": 10**6}


def test_a_prober_that_begins_finds_no_fault_in_what_was_counted_before(
    driver: StandIn, watch: Watch
) -> None:
    driver.put(ALL_COUNTED, 0)
    assert watch.looks(3) == []


@pytest.mark.parametrize("change", BEGINS_ANEW)
def test_nothing_is_new_after_a_boot_a_long_pause_or_an_exchange(
    driver: StandIn, watch: Watch, change: Callable[[StandIn, Path], None]
) -> None:
    watch.look()
    driver.put({**ALL_COUNTED, **{f"nvlink.{link}.active": 0 for link in range(18)}})
    change(driver, watch.kept)
    watch.restart()
    assert watch.looks(3) == []


def test_a_gpu_that_vanishes_is_unknown_and_what_comes_back_begins_anew(
    driver: StandIn, watch: Watch
) -> None:
    watch.look()
    driver.put({"lost": 1}, 0)
    assert watch.looks(2) == [("gpu-0", "gpu-links-unreadable", Health.UNKNOWN)]
    driver.put({"lost": 0, "nvlink.1.recoveries": 5}, 0)
    assert watch.looks(2) == [], "it was reset meanwhile"


def test_what_a_gpu_does_not_have_is_neither_judged_nor_exported(driver: StandIn) -> None:
    driver.put(dict.fromkeys([key for key in driver.described if key.startswith(("nvlink", "pcie"))]))
    samples = gpu_links.measure(machine())
    assert (list(gpu_links.judge(samples)), gpu_links.metrics(samples)) == ([], {})


def test_counters_are_exported_over_all_links(driver: StandIn) -> None:
    driver.put({"nvlink.1.replays": 2, "nvlink.4.replays": 3, "nvlink.4.active": 0}, 1)
    shown = gpu_links.metrics(gpu_links.measure(machine()))
    assert shown[series("gpu_nvlink_replays_total", gpu=1)] == 5.0
    assert shown[series("gpu_nvlinks_active", gpu=1)] == 17.0
    assert shown[series("gpu_pcie_width_lanes", gpu=0)] == 16.0
