"""What NVML is asked about a GPU beyond its presence: one reader for each kind of detail."""

import ctypes
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pynvml

from sentinel.adapters.nvml_asking import Asking, text
from sentinel.adapters.nvml_nvlinks import nvlinks
from sentinel.model.gpu_sample import (
    Fabric,
    GpuClocks,
    GpuDetail,
    GpuDriver,
    GpuLinks,
    GpuMemory,
    GpuProcess,
    GpuTenants,
)

Values = dict[str, Any]
"""A detail's fields, without what names the GPU."""

# Field ids of nvml.h: not every release of the binding that we take has a name for each.
_MEMORY_TEMPERATURE = 82
_RECOVERY_ACTION = 230


class _FabricInfo(ctypes.Structure):
    """`nvmlGpuFabricInfo_v2_t` of nvml.h: older releases of the binding declare it too large."""

    _fields_ = (
        ("version", ctypes.c_uint),
        ("cluster_uuid", ctypes.c_ubyte * 16),
        ("status", ctypes.c_uint),
        ("clique", ctypes.c_uint),
        ("state", ctypes.c_uint),
        ("health", ctypes.c_uint),
    )


_FABRIC_VERSION = ctypes.sizeof(_FabricInfo) | 2 << 24


def _memory(handle: Any, ask: Asking) -> Values:
    aggregate, volatile = pynvml.NVML_AGGREGATE_ECC, pynvml.NVML_VOLATILE_ECC
    corrected = pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED
    uncorrected = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
    dram = pynvml.NVML_MEMORY_LOCATION_DRAM
    remapped = ask(lambda: pynvml.nvmlDeviceGetRemappedRows(handle)) or (None, None)
    return {
        "ecc_corrected_aggregate": ask(
            lambda: pynvml.nvmlDeviceGetTotalEccErrors(handle, corrected, aggregate)
        ),
        "ecc_uncorrectable_aggregate": ask(
            lambda: pynvml.nvmlDeviceGetTotalEccErrors(handle, uncorrected, aggregate)
        ),
        "dram_corrected": ask(
            lambda: pynvml.nvmlDeviceGetMemoryErrorCounter(handle, corrected, volatile, dram)
        ),
        "remapped_corrected": remapped[0],
        "remapped_uncorrectable": remapped[1],
        "banks": ask(lambda: _banks(pynvml.nvmlDeviceGetRowRemapperHistogram(handle))),
        **(ask(lambda: _sram(handle)) or {}),
        **_retired(handle, ask),
    }


def _banks(histogram: Any) -> tuple[int, int, int, int, int]:
    return (histogram.max, histogram.high, histogram.partial, histogram.low, getattr(histogram, "none"))  # noqa: B009


def _sram(handle: Any) -> Values:
    status = pynvml.c_nvmlEccSramErrorStatus_v1_t()
    pynvml.nvmlDeviceGetSramEccErrorStatus(handle, ctypes.byref(status))
    return {
        "sram_corrected": status.volatileCor,
        "sram_uncorrectable_aggregate": status.aggregateUncParity + status.aggregateUncSecDed,
        "sram_threshold_exceeded": bool(status.bThresholdExceeded),
    }


def _retired(handle: Any, ask: Asking) -> Values:
    """Pages of GPUs before Ampere; later ones remap rows."""
    single = pynvml.NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS
    double = pynvml.NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR
    return {
        "retired_single": ask(lambda: len(pynvml.nvmlDeviceGetRetiredPages(handle, single))),
        "retired_double": ask(lambda: len(pynvml.nvmlDeviceGetRetiredPages(handle, double))),
        "retire_pending": ask(lambda: bool(pynvml.nvmlDeviceGetRetiredPagesPendingStatus(handle))),
    }


def _links(handle: Any, ask: Asking) -> Values:
    power = ask(lambda: pynvml.nvmlDeviceGetPerformanceState(handle))
    load = ask(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    mig = ask(lambda: pynvml.nvmlDeviceGetMigMode(handle)[0])
    return {
        "busy": None if power is None or load is None else power == pynvml.NVML_PSTATE_0 and load > 0,
        "pcie_generation": ask(lambda: pynvml.nvmlDeviceGetCurrPcieLinkGeneration(handle)),
        "pcie_generation_max": ask(lambda: pynvml.nvmlDeviceGetMaxPcieLinkGeneration(handle)),
        "pcie_width": ask(lambda: pynvml.nvmlDeviceGetCurrPcieLinkWidth(handle)),
        "pcie_width_max": ask(lambda: pynvml.nvmlDeviceGetMaxPcieLinkWidth(handle)),
        "pcie_replays": ask(lambda: pynvml.nvmlDeviceGetPcieReplayCounter(handle)),
        "nvlinks": nvlinks(handle, ask),
        "mig": bool(mig),
    }


def _clocks(handle: Any, ask: Asking) -> Values:
    sm = pynvml.NVML_CLOCK_SM
    thermal, power = pynvml.NVML_PERF_POLICY_THERMAL, pynvml.NVML_PERF_POLICY_POWER
    hottest = pynvml.NVML_TEMPERATURE_THRESHOLD_MEM_MAX
    (memory_c,) = ask.fields(handle, _MEMORY_TEMPERATURE)
    return {
        "throttle_reasons": ask(lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
        "thermal_violation_ns": ask(
            lambda: pynvml.nvmlDeviceGetViolationStatus(handle, thermal).violationTime
        ),
        "power_violation_ns": ask(lambda: pynvml.nvmlDeviceGetViolationStatus(handle, power).violationTime),
        "memory_temperature_c": memory_c,
        "memory_temperature_max_c": ask.once(
            "hottest memory", lambda: pynvml.nvmlDeviceGetTemperatureThreshold(handle, hottest)
        ),
        "power_w": ask(lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000),
        "power_limit_w": ask(lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000),
        "power_default_w": ask.once(
            "power", lambda: pynvml.nvmlDeviceGetPowerManagementDefaultLimit(handle) / 1000
        ),
        "sm_clock_mhz": ask(lambda: pynvml.nvmlDeviceGetClockInfo(handle, sm)),
        "sm_clock_max_mhz": ask.once("clock", lambda: pynvml.nvmlDeviceGetMaxClockInfo(handle, sm)),
    }


def _tenants(handle: Any, ask: Asking) -> Values:
    mode = ask(lambda: pynvml.nvmlDeviceGetMigMode(handle))
    version = pynvml.nvmlMemory_v2  # the first one counts as used what the driver reserves
    return {
        "processes": ask(lambda: _processes(handle)),
        "memory_used_bytes": ask(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle, version).used),
        "utilisation_percent": ask(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        "mig": None if mode is None else bool(mode[0]),
        "mig_pending": None if mode is None else bool(mode[1]),
        "mig_instances": ask(lambda: _instances(handle)) if mode and mode[0] else None,
    }


def _processes(handle: Any) -> tuple[GpuProcess, ...]:
    """Give those that compute and those that draw: one that is listed twice has its memory once."""
    found = {
        each.pid: GpuProcess(each.pid, each.usedGpuMemory)
        for listed in (
            pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle),
            pynvml.nvmlDeviceGetComputeRunningProcesses(handle),
        )
        for each in listed
    }
    return tuple(found[pid] for pid in sorted(found))


def _instances(handle: Any) -> int:
    count = 0
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        with suppress(pynvml.NVMLError_NotFound):
            pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
            count += 1
    return count


def _driver(handle: Any, ask: Asking) -> Values:
    (action,) = ask.fields(handle, _RECOVERY_ACTION)
    return {
        "recovery_action": action,
        "fabric": ask(lambda: _fabric(handle)),
        "name": text(ask.once("name", lambda: pynvml.nvmlDeviceGetName(handle)) or ""),
        "driver": text(ask.once("driver", pynvml.nvmlSystemGetDriverVersion) or ""),
        "vbios": text(ask.once("vbios", lambda: pynvml.nvmlDeviceGetVbiosVersion(handle)) or ""),
        "serial": text(ask.once("serial", lambda: pynvml.nvmlDeviceGetSerial(handle)) or ""),
    }


def _fabric(handle: Any) -> Fabric:
    info = _FabricInfo(version=_FABRIC_VERSION)
    pynvml.nvmlDeviceGetGpuFabricInfoV(handle, ctypes.byref(info))
    return Fabric(info.state, info.status, info.health)


READERS: Mapping[type[GpuDetail], Callable[[Any, Asking], Values]] = {
    GpuMemory: _memory,
    GpuLinks: _links,
    GpuClocks: _clocks,
    GpuTenants: _tenants,
    GpuDriver: _driver,
}
"""Each gives the fields of its kind of an open GPU. Raises NVMLError when the GPU is lost."""
