from typing import Any

import pytest
from of_gpus import Found, codes, machine

from sentinel.checks import gpu, gpu_memory
from sentinel.demo.nvml import StandIn
from sentinel.model.check import series
from sentinel.model.finding import Health
from sentinel.runtime.probe import NoGpus

WARNING, CRITICAL = Health.WARNING, Health.CRITICAL


def found() -> Found:
    return codes(gpu_memory.judge(gpu_memory.measure(machine())))


def test_gpus_in_order_give_nothing(driver: StandIn) -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("just_below", "at_it", "code", "health"),
    [
        ({"sram.threshold_exceeded": 0}, {"sram.threshold_exceeded": 1}, "sram-threshold", CRITICAL),
        (
            {"sram.volatile.corrected": 10_000},
            {"sram.volatile.corrected": 10_001},
            "sram-corrected",
            WARNING,
        ),
        (
            {"ecc.volatile.corrected.2": 20_000_000},
            {"ecc.volatile.corrected.2": 20_000_001},
            "dram-corrected",
            WARNING,
        ),
        ({"remap.uncorrected": 511}, {"remap.uncorrected": 512}, "remapped-rows", WARNING),
        (
            {"remap.histogram": "6143,0,0,1,0"},
            {"remap.histogram": "6143,0,0,0,1"},
            "remap-bank-full",
            WARNING,
        ),
        (
            {"retired.single": 49, "retired.double": 13},
            {"retired.single": 49, "retired.double": 14},
            "pages-retired",
            CRITICAL,
        ),
        ({"retired.double": 14}, {"retired.double": 15}, "pages-retired-double", WARNING),
        ({"retired.pending": 0}, {"retired.pending": 1}, "retirement-pending", WARNING),
    ],
)
def test_each_fault_is_found_from_its_threshold_on(
    driver: StandIn, just_below: dict[str, Any], at_it: dict[str, Any], code: str, health: Health
) -> None:
    driver.put({"retired.single": 0, "retired.double": 0})
    driver.put(just_below, 1)
    assert found() == []
    driver.put(at_it, 1)
    assert found() == [("gpu-1", code, health)]


def test_a_gpu_that_counts_none_of_it_is_judged_by_none_of_it(driver: StandIn) -> None:
    driver.put(dict.fromkeys([key for key in driver.described if key.startswith(("ecc", "sram", "remap"))]))
    assert found() == []
    assert gpu_memory.metrics(gpu_memory.measure(machine())) == {}


@pytest.mark.parametrize(
    ("error", "words"), [(15, "GPU is lost"), (16, "GPU requires restart"), (999, "Unknown Error")]
)
def test_of_a_gpu_that_does_not_answer_nothing_is_known_and_the_other_is_judged(
    driver: StandIn, error: int, words: str
) -> None:
    driver.put({"sram.threshold_exceeded": 1})
    driver.put({"error": error}, 0)
    said = list(gpu_memory.judge(gpu_memory.measure(machine())))
    assert codes(said) == [
        ("gpu-0", "gpu-memory-unreadable", Health.UNKNOWN),
        ("gpu-1", "sram-threshold", CRITICAL),
    ]
    assert words in said[0].summary


def test_where_no_gpu_is_that_is_said_once(driver: StandIn) -> None:
    driver.remove(0)
    driver.remove(1)
    for check in (gpu, gpu_memory):
        assert codes(check.judge(check.measure(machine()))) == [
            (check.CHECK.name, "not-applicable", Health.SKIPPED)
        ]
    assert codes(gpu_memory.judge(NoGpus().read(gpu_memory.GpuMemory))) == [
        ("gpu_memory", "not-applicable", Health.SKIPPED)
    ]


def test_counters_are_exported_by_gpu(driver: StandIn) -> None:
    driver.put({"ecc.aggregate.corrected": 7, "remap.histogram": "1,2,3,4,5"}, 1)
    shown = gpu_memory.metrics(gpu_memory.measure(machine()))
    assert shown[series("gpu_ecc_lifetime_corrected_errors_total", gpu=1)] == 7.0
    assert [shown[series("gpu_remap_banks", gpu=1, spare=spare)] for spare in gpu_memory.BANKS] == [
        1,
        2,
        3,
        4,
        5,
    ]
    assert shown[series("gpu_ecc_lifetime_corrected_errors_total", gpu=0)] == 0.0
