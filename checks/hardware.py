"""What the hardware counts itself: errors of host memory (EDAC), and of GPUs and NICs on PCIe (AER)."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sentinel.checks._kept import Counter, counted, remembered
from sentinel.checks._sysfs import UnreadableError, entries, number, text, whole
from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health, skipped

SYS = Path("/sys")
CORRECTED_PER_HOUR = 100
"""More than this of one controller: a memory row is failing. rasdaemon gives a page up at 50 within a day."""
NONFATAL_PER_HOUR = 10
"""A few come when a device is set up or reset; a link in order has none for months."""
GPU, NIC = "0x03", "0x02"
"""How the PCI class of a display or 3D controller begins, and that of a network controller."""
HOUR_S = 3600.0
_TOTAL = {"fatal": "TOTAL_ERR_FATAL", "nonfatal": "TOTAL_ERR_NONFATAL"}


class Memory(msgspec.Struct):
    """What is remembered."""

    counters: dict[str, Counter] = {}
    first: dict[str, int] = {}
    """What each controller's uncorrectable errors were when they were first looked at."""


@dataclass(frozen=True, slots=True)
class ControllerSample:
    """One memory controller."""

    name: str
    """`mc0`"""
    uncorrectable: int = 0
    """Errors since the machine started."""
    uncorrectable_new: int = 0
    """Those that came while somebody looked."""
    corrected: int = 0
    """Within the last hour."""
    corrected_new: int = 0
    """Since the last look."""
    error: str = ""
    """Why it can't be judged."""


@dataclass(frozen=True, slots=True)
class DeviceSample:
    """One GPU or NIC on PCIe; errors within the last hour."""

    address: str
    """`0000:3b:00.0`"""
    fatal: int = 0
    nonfatal: int = 0
    new: int = 0
    """Of both, since the last look."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class HardwareSample:
    """All that counts errors on this machine."""

    controllers: tuple[ControllerSample, ...]
    devices: tuple[DeviceSample, ...]


def measure(machine: Machine) -> HardwareSample:
    """Read all counters."""
    with remembered(machine.kept, "hardware", Memory) as memory:
        return look(SYS, memory, time.monotonic())


def look(root: Path, memory: Memory, now: float) -> HardwareSample:
    """Read the counters below `root`."""
    controllers = (each for each in entries(root / "devices/system/edac/mc") if each.name[:2] == "mc")
    devices = (each for each in entries(root / "bus/pci/devices") if _is_ours(each))
    return HardwareSample(
        tuple(_controller(each, memory, now) for each in controllers if each.name[2:].isdigit()),
        tuple(_device(each, memory, now) for each in devices),
    )


def _is_ours(device: Path) -> bool:
    """Say whether it is a GPU or NIC that counts its errors."""
    return (text(device / "class") or "").startswith((GPU, NIC)) and (device / "aer_dev_fatal").exists()


def _controller(folder: Path, memory: Memory, now: float) -> ControllerSample:
    name = folder.name
    try:
        uncorrectable, corrected = _needed(folder / "ue_count"), _needed(folder / "ce_count")
    except UnreadableError as error:
        return ControllerSample(name, error=str(error))
    first = min(uncorrectable, memory.first.get(name, uncorrectable))
    memory.first[name] = first
    grown, new = counted(memory.counters, f"{name} corrected", corrected, now)
    return ControllerSample(name, uncorrectable, uncorrectable - first, grown.within(HOUR_S, now), new)


def _needed(path: Path) -> int:
    if (found := number(path)) is None:
        raise UnreadableError(f"{path}: is missing")
    return found


def _device(folder: Path, memory: Memory, now: float) -> DeviceSample:
    grown, new = {}, 0
    try:
        for kind, total in _TOTAL.items():
            value = _total(folder / f"aer_dev_{kind}", total)
            counter, growth = counted(memory.counters, f"{folder.name} {kind}", value, now)
            grown[kind], new = counter.within(HOUR_S, now), new + growth
    except UnreadableError as error:
        return DeviceSample(folder.name, error=str(error))
    return DeviceSample(folder.name, grown["fatal"], grown["nonfatal"], new)


def _total(path: Path, name: str) -> int:
    """Read the sum at the end of a device's list of errors, a name and a count a line."""
    for line in (text(path) or "").splitlines():
        if line.startswith(f"{name} "):
            return whole(line.removeprefix(name).strip(), path)
    raise UnreadableError(f"{path}: has no {name}")


def judge(sample: HardwareSample) -> Iterator[Finding]:
    """One finding for each thing that counts errors."""
    if not sample.controllers and not sample.devices:
        yield skipped("hardware", "no memory controller, GPU or NIC of this machine counts errors")
    for each in sample.controllers:
        yield from _judge_controller(each)
    for device in sample.devices:
        yield from _judge_device(device)


def _judge_controller(each: ControllerSample) -> Iterator[Finding]:
    component = f"memory:{each.name}"
    if each.error:
        yield Finding("hardware", "memory-errors-unreadable", component, Health.UNKNOWN, each.error)
    elif each.uncorrectable_new:
        said, evidence = "host memory has an uncorrectable error", {"errors": each.uncorrectable_new}
        yield Finding("hardware", "memory-uncorrectable", component, Health.CRITICAL, said, evidence)
    elif each.uncorrectable:
        said = "host memory had an uncorrectable error before anybody looked, since the machine started"
        evidence = {"errors": each.uncorrectable}
        yield Finding("hardware", "memory-uncorrectable-before", component, Health.WARNING, said, evidence)
    if each.corrected > CORRECTED_PER_HOUR:
        said, evidence = "host memory corrects many errors", {"errors_per_hour": each.corrected}
        yield Finding("hardware", "memory-corrected", component, Health.WARNING, said, evidence)


def _judge_device(device: DeviceSample) -> Iterator[Finding]:
    component = f"pci:{device.address}"
    if device.error:
        yield Finding("hardware", "pcie-errors-unreadable", component, Health.UNKNOWN, device.error)
    elif device.fatal:
        said, evidence = "its PCIe link had a fatal error", {"errors_per_hour": device.fatal}
        yield Finding("hardware", "pcie-fatal", component, Health.WARNING, said, evidence)
    elif device.nonfatal > NONFATAL_PER_HOUR:
        said, evidence = "its PCIe link has uncorrected errors", {"errors_per_hour": device.nonfatal}
        yield Finding("hardware", "pcie-nonfatal", component, Health.WARNING, said, evidence)


def counts(sample: HardwareSample) -> dict[Series, int]:
    """Errors since the last look."""
    memory = {
        series("memory_corrected_errors_total", controller=each.name): each.corrected_new
        for each in sample.controllers
        if not each.error
    }
    pcie = {
        series("pcie_uncorrected_errors_total", pci=each.address): each.new
        for each in sample.devices
        if not each.error
    }
    return memory | pcie


def metrics(sample: HardwareSample) -> dict[Series, float]:
    """Uncorrectable errors of host memory since the machine started."""
    return {
        series("memory_uncorrectable_errors_total", controller=each.name): float(each.uncorrectable)
        for each in sample.controllers
        if not each.error
    }


CHECK = Check(
    "hardware",
    every=15.0,
    deadline=5.0,
    measure=measure,
    judge=judge,
    causes=("host-memory",),
    metrics=metrics,
    counts=counts,
    of_this_host=True,
)
