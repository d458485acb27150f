"""NVIDIA's own binding against the stand-in library: every value arrives, and what goes wrong is told."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pynvml
import pytest

from sentinel.adapters import nvml_nvlinks
from sentinel.adapters.nvml import NvmlError, NvmlGpus
from sentinel.adapters.nvml_events import NvmlEvents
from sentinel.demo.nvml import GIB, HEALTHY, LINKS, StandIn, address
from sentinel.model.check import DriverXid
from sentinel.model.gpu_sample import (
    Fabric,
    GpuClocks,
    GpuDetail,
    GpuDriver,
    GpuLinks,
    GpuMemory,
    GpuProcess,
    GpuTenants,
    NvLink,
)

KINDS = [GpuMemory, GpuLinks, GpuClocks, GpuTenants, GpuDriver]
A, B = address(0), address(1)
NAMED = {"index": 0, "uuid": "GPU-00000000", "pci": A, "error": ""}


def first(kind: type[GpuDetail]) -> dict[str, Any]:
    return dataclasses.asdict(NvmlGpus().read(kind)[0])


def test_a_sample_has_every_value_of_its_gpu(driver: StandIn) -> None:
    driver.put(
        {
            "ecc.volatile.uncorrected": 1,
            "ecc.volatile.corrected": 2,
            "remap.pending": 1,
            "remap.failed": 1,
            "temperature": 44,
            "throttle_reasons": 0x40,
            "memory.used": GIB,
            "utilisation": 97,
        },
        0,
    )
    bad, good = NvmlGpus().sample()
    assert dataclasses.asdict(bad) == NAMED | {
        "present": True,
        "ecc_uncorrectable": 1,
        "ecc_corrected": 2,
        "remap_pending": True,
        "remap_failed": True,
        "temperature_c": 44,
        "temperature_max_c": 87,
        "throttle_reasons": 0x40,
        "memory_used_bytes": GIB + GIB // 2,
        "utilisation_percent": 97,
    }
    assert (good.index, good.uuid, good.pci, good.error) == (1, "GPU-00000001", B, "")
    assert (good.ecc_uncorrectable, good.remap_failed, good.throttle_reasons) == (0, False, 0)


def test_every_detail_has_its_value(driver: StandIn) -> None:
    driver.put(
        {
            "ecc.aggregate.corrected": 1,
            "ecc.aggregate.uncorrected": 2,
            "ecc.volatile.corrected.2": 3,
            "sram.volatile.corrected": 4,
            "sram.aggregate.uncorrected": 5,
            "sram.threshold_exceeded": 1,
            "remap.corrected": 6,
            "remap.uncorrected": 7,
            "remap.histogram": "10,11,12,13,14",
            "retired.single": 8,
            "retired.double": 9,
            "retired.pending": 1,
        }
    )
    assert first(GpuMemory) == NAMED | {
        "ecc_corrected_aggregate": 1,
        "ecc_uncorrectable_aggregate": 2,
        "dram_corrected": 3,
        "sram_corrected": 4,
        "sram_uncorrectable_aggregate": 5,
        "sram_threshold_exceeded": True,
        "remapped_corrected": 6,
        "remapped_uncorrectable": 7,
        "banks": (10, 11, 12, 13, 14),
        "retired_single": 8,
        "retired_double": 9,
        "retire_pending": True,
    }
    driver.put(
        {"pcie.generation": 4, "pcie.width": 8, "pcie.replays": 3, "utilisation": 5, "nvlink.count": 2}
    )
    driver.put({"nvlink.1.active": 0, "nvlink.1.replays": 1, "nvlink.1.recoveries": 2, "nvlink.1.crc": 3})
    assert first(GpuLinks) == NAMED | {
        "busy": True,
        "pcie_generation": 4,
        "pcie_generation_max": 5,
        "pcie_width": 8,
        "pcie_width_max": 16,
        "pcie_replays": 3,
        "nvlinks": tuple(
            dataclasses.asdict(each) for each in (NvLink(0, True, 0, 0, 0), NvLink(1, False, 1, 2, 3))
        ),
        "mig": False,
    }
    driver.put({"violation_ns.1": 1, "violation_ns.0": 2, "memory_temperature": 77, "clock.1": 1200})
    assert first(GpuClocks) == NAMED | {
        "throttle_reasons": 0,
        "thermal_violation_ns": 1,
        "power_violation_ns": 2,
        "memory_temperature_c": 77,
        "memory_temperature_max_c": 95,
        "power_w": 120.0,
        "power_limit_w": 700.0,
        "power_default_w": 700.0,
        "sm_clock_mhz": 1200,
        "sm_clock_max_mhz": 1980,
    }
    driver.put(
        {"processes": f"7:{GIB},8", "graphics_processes": "7:5,9:1", "memory.used": 3, "utilisation": 4}
    )
    driver.put({"mig": 1, "mig.pending": 0, "mig.max": 7, "mig.instances": 3})
    assert NvmlGpus().read(GpuTenants)[0] == GpuTenants(
        **NAMED,
        processes=(GpuProcess(7, GIB), GpuProcess(8, None), GpuProcess(9, 1)),
        memory_used_bytes=3,
        utilisation_percent=4,
        mig=True,
        mig_pending=False,
        mig_instances=3,
    )
    driver.put({"recovery_action": 2, "fabric.state": 3, "fabric.status": 999, "fabric.health": 5})
    assert NvmlGpus().read(GpuDriver)[0] == GpuDriver(
        **NAMED,
        recovery_action=2,
        fabric=Fabric(3, 999, 5),
        name="NVIDIA H200",
        driver="580.65.06",
        vbios="96.00.99.00.01",
        serial="1650000000000",
    )


def test_an_nvlink_of_the_fifth_generation_counts_its_recoveries_elsewhere(driver: StandIn) -> None:
    driver.put({"nvlink.count": 1, "nvlink.0.recoveries": None, "nvlink.0.crc": None, "field.215.0": 4})
    assert NvmlGpus().read(GpuLinks)[0].nvlinks == (NvLink(0, True, 0, 4, None),)


def crc_of_link_1(gpus: NvmlGpus) -> int | None:
    return gpus.read(GpuLinks)[0].nvlinks[1].crc_errors


def test_an_nvlink_that_counts_is_read_at_once_and_no_other_time(driver: StandIn) -> None:
    gpus, calls = NvmlGpus(), list[int]()
    fields = pynvml.nvmlDeviceGetFieldValues

    def counted(handle: Any, ids: tuple[Any, ...]) -> Any:
        calls.append(len(ids))
        return fields(handle, ids)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pynvml, "nvmlDeviceGetFieldValues", counted)
        driver.remove(1)
        every = 4 * LINKS
        assert (crc_of_link_1(gpus), calls) == (0, [1, 4, every])
        assert (crc_of_link_1(gpus), calls[3:]) == (0, [1, 4]), "only the totals"
        driver.put({"nvlink.1.crc": 7})
        assert (crc_of_link_1(gpus), calls[5:]) == (7, [1, 4, every])
        driver.put({"nvlink.totals": None})
        assert (crc_of_link_1(gpus), calls[8:]) == (7, [1, 4, every])
        driver.put({"nvlink.1.crc": 8})
        assert (crc_of_link_1(gpus), calls[11:]) == (8, [1, 4, every]), "without totals every link is asked"


def test_totals_that_cost_more_than_all_links_are_not_asked_for(
    driver: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus, calls, clock = NvmlGpus(), list[int](), [0.0]
    fields = pynvml.nvmlDeviceGetFieldValues

    def slow(handle: Any, ids: tuple[Any, ...]) -> Any:
        calls.append(len(ids))
        clock[0] += 0.03 if len(ids) == 4 else 0.02
        return fields(handle, ids)

    driver.remove(1)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetFieldValues", slow)
    monkeypatch.setattr(nvml_nvlinks.time, "thread_time", lambda: clock[0])
    for _ in range(5):
        crc_of_link_1(gpus)
    driver.put({"nvlink.1.crc": 7})
    assert crc_of_link_1(gpus) == 7
    assert calls == [1, 4, 72, *[1, 4] * 3, 1, 72, 1, 72]


def test_a_total_that_stands_still_hides_no_error_for_longer_than_a_minute(
    driver: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = NvmlGpus()
    driver.put({"nvlink.1.crc": 1, "nvlink.2.crc": 0})
    assert crc_of_link_1(gpus) == 1
    driver.put({"nvlink.1.crc": 0, "nvlink.2.crc": 1})
    assert crc_of_link_1(gpus) == 1
    monkeypatch.setattr(nvml_nvlinks, "_READ_EVERY", 0.0)
    assert crc_of_link_1(gpus) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_gpu_does_not_support_is_none_and_no_error(driver: StandIn, kind: type[GpuDetail]) -> None:
    driver.put(dict.fromkeys(HEALTHY))
    assert NvmlGpus().read(kind)[0] == kind(0, "GPU-00000000", A)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_gpu_says_so_and_hides_no_other(driver: StandIn, kind: type[GpuDetail]) -> None:
    gpus = NvmlGpus()
    before = gpus.read(kind)
    driver.put({"lost": 1}, 0)
    assert gpus.read(kind) == [kind(0, "GPU-00000000", A, "GPU is lost"), before[1]]
    assert [each.present for each in gpus.sample()] == [False, True]
    driver.put({"lost": None}, 0)
    assert gpus.read(kind) == before


def test_a_gpu_that_vanishes_between_two_calls_is_lost_and_the_others_keep_their_numbers(
    driver: StandIn,
) -> None:
    gpus = NvmlGpus()
    _, other = gpus.read(GpuMemory)
    driver.remove(0)
    assert gpus.read(GpuMemory) == [GpuMemory(0, "GPU-00000000", A, "GPU is lost"), other]


CALLS = {
    GpuMemory: (
        "nvmlDeviceGetTotalEccErrors",
        "nvmlDeviceGetRetiredPages",
        "nvmlDeviceGetSramEccErrorStatus",
    ),
    GpuLinks: ("nvmlDeviceGetNvLinkState", "nvmlDeviceGetFieldValues", "nvmlDeviceGetCurrPcieLinkWidth"),
    GpuClocks: ("nvmlDeviceGetViolationStatus", "nvmlDeviceGetClockInfo", "nvmlDeviceGetFieldValues"),
    GpuTenants: ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetMemoryInfo_v2"),
    GpuDriver: ("nvmlDeviceGetGpuFabricInfoV", "nvmlDeviceGetFieldValues", "nvmlDeviceGetVbiosVersion"),
}


@pytest.mark.parametrize(("kind", "call"), [(kind, call) for kind, calls in CALLS.items() for call in calls])
def test_an_error_that_tells_is_kept_and_the_other_answers_count(
    driver: StandIn, kind: type[GpuDetail], call: str
) -> None:
    before = dataclasses.asdict(NvmlGpus().read(kind)[0])
    for code, words in ((16, "GPU requires restart"), (999, "Unknown Error")):
        driver.put({f"error.{call}": code}, 0)
        bad, good = NvmlGpus().read(kind)
        assert (bad.error, good.error) == (words, "")
        kept = [name for name, value in dataclasses.asdict(bad).items() if value == before[name]]
        assert len(kept) > 4, "more than what names it"
    driver.put({f"error.{call}": 15}, 0)
    assert NvmlGpus().read(kind)[0] == kind(0, "GPU-00000000", A, "GPU is lost")


def test_a_gpu_that_needs_a_reset_says_so_of_everything(driver: StandIn) -> None:
    gpus = NvmlGpus()
    gpus.sample()
    driver.put({"error": 16}, 1)
    assert [(each.present, each.error) for each in gpus.sample()] == [
        (True, ""),
        (True, "GPU requires restart"),
    ]
    driver.put({"error": None}, 1)
    assert [each.error for each in gpus.sample()] == ["", ""]


def test_a_driver_that_is_not_loaded_is_one_line(driver: StandIn) -> None:
    driver.put({"error.nvmlInitWithFlags": 9})
    for kind in KINDS:
        with pytest.raises(NvmlError, match="Driver Not Loaded"):
            NvmlGpus().read(kind)


def test_a_machine_whose_driver_finds_no_gpu_has_none(driver: StandIn) -> None:
    driver.remove(0)
    driver.remove(1)
    assert [*NvmlGpus().sample(), *NvmlGpus().read(GpuMemory)] == []


def test_an_xid_of_the_event_set_is_given_once_and_none_from_before(driver: StandIn) -> None:
    driver.put({"xids": "13"}, 0)
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    events = pynvml.nvmlEventSetCreate()
    pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
    driver.put({"xids": "13,31,79"}, 0)
    seen = [pynvml.nvmlEventSetWait_v2(events, 1000) for _ in range(2)]
    assert [(each.eventType, each.eventData) for each in seen] == [(8, 31), (8, 79)]
    with pytest.raises(pynvml.NVMLError_Timeout):
        pynvml.nvmlEventSetWait_v2(events, 0)
    pynvml.nvmlEventSetFree(events)


def test_xids_are_taken_once_by_whoever_follows_them_and_the_gpus_are_read_beside(driver: StandIn) -> None:
    gpus, events = NvmlGpus(), NvmlEvents()
    before = gpus.sample()
    driver.put({"xids": "13"}, 1)
    assert events.take() == (), "from before it followed"
    driver.put({"xids": "13,31,31"}, 1)
    driver.put({"xids": "79", "lost": 1}, 0)
    assert events.take() == (DriverXid(0, A, 79), DriverXid(1, B, 31), DriverXid(1, B, 31))
    assert events.take() == ()
    driver.put({"lost": 0}, 0)
    assert gpus.sample() == before


def test_another_process_finds_it_by_its_environment(driver: StandIn, nvml_library: Path) -> None:
    count = "import pynvml; pynvml.nvmlInit(); print(pynvml.nvmlDeviceGetCount())"
    told = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "NVML_STANDIN")}
    said = subprocess.run(
        [sys.executable, "-c", count], env={**os.environ, **told}, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "2"
    assert LINKS == 18
