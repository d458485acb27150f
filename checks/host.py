"""The host: memory, disks, load, contention for the processors, processes that can't be woken."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health

DISK_FULL = 0.97
"""From this share used a checkpoint may not fit any more; file systems slow down before 100%."""
DISK_ROOM_BYTES = 16 * 1024**3
"""With this much free a disk is not full, however large it is: 3% of a big volume are many checkpoints."""
MEMORY_LOW = 0.05
"""Under this share available the kernel reclaims in earnest and its OOM killer is near."""
CONTENTION = 25.0
"""Percent of the last 10 s in which some runnable process waited for a processor (PSI `cpu some avg10`)."""
STUCK = 3
"""Processes in uninterruptible sleep that are normal: writers of a busy disk."""
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class DiskSample:
    """One volume, bytes; `error` when it can't be asked."""

    path: str
    total: int = 0
    free: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class HostSample:
    """One look at the host."""

    memory_total: int
    """Bytes."""
    memory_available: int
    load: float
    """Runnable processes, one-minute average."""
    processors: int
    cpu_pressure: float | None
    """PSI `cpu some avg10`, percent; None on kernels without it."""
    stuck: int
    """Processes in uninterruptible sleep (D)."""
    disks: Sequence[DiskSample]


def measure(machine: Machine) -> HostSample:
    """Read /proc and ask each volume; a dead network mount hangs here, which is why the prober runs it."""
    memory = _memory()
    return HostSample(
        memory_total=memory["MemTotal"],
        memory_available=memory["MemAvailable"],
        load=os.getloadavg()[0],
        processors=os.cpu_count() or 1,
        cpu_pressure=_cpu_pressure(),
        stuck=_stuck(),
        disks=[_disk(path) for path in machine.disks],
    )


def judge(sample: HostSample) -> Iterator[Finding]:
    """One finding per shortage."""
    if sample.memory_available < MEMORY_LOW * sample.memory_total:
        evidence = {"available_bytes": sample.memory_available, "total_bytes": sample.memory_total}
        yield Finding(
            "host", "memory-low", "memory", Health.WARNING, "host memory is nearly used up", evidence
        )
    yield from _judge_processors(sample)
    if sample.stuck > STUCK:
        said = "processes sleep uninterruptibly: a disk, a mount or a driver does not answer"
        yield Finding("host", "stuck-processes", "host", Health.WARNING, said, {"processes": sample.stuck})
    for disk in sample.disks:
        yield from _judge_disk(disk)


def _judge_processors(sample: HostSample) -> Iterator[Finding]:
    if sample.cpu_pressure is None:
        said = "the kernel does not measure CPU pressure (PSI)"
        yield Finding("host", "cpu-pressure-unknown", "cpu", Health.UNKNOWN, said)
    elif sample.cpu_pressure > CONTENTION:
        evidence = {
            "pressure_percent": sample.cpu_pressure,
            "load": sample.load,
            "processors": sample.processors,
        }
        said = f"processes wait for a processor for over {CONTENTION:.0f}% of the time"
        yield Finding("host", "cpu-contention", "cpu", Health.WARNING, said, evidence)


def _judge_disk(disk: DiskSample) -> Iterator[Finding]:
    component = f"disk:{disk.path}"
    if disk.error:
        said = f"{disk.path} can't be asked: {disk.error}"
        yield Finding("host", "disk-unreadable", component, Health.UNKNOWN, said)
        return
    used = 1 - disk.free / disk.total if disk.total else 0.0
    if used >= DISK_FULL and disk.free < DISK_ROOM_BYTES:
        evidence = {"free_bytes": disk.free, "total_bytes": disk.total, "used_share": round(used, 4)}
        yield Finding("host", "disk-full", component, Health.CRITICAL, f"{disk.path} is full", evidence)


def metrics(sample: HostSample) -> dict[Series, float]:
    """Gauges of the host."""
    gauges = {
        series("host_memory_total_bytes"): float(sample.memory_total),
        series("host_memory_available_bytes"): float(sample.memory_available),
        series("host_load1"): sample.load,
        series("host_stuck_processes"): float(sample.stuck),
    }
    if sample.cpu_pressure is not None:
        gauges[series("host_cpu_pressure_ratio")] = sample.cpu_pressure / 100
    for disk in sample.disks:
        if not disk.error:
            gauges[series("host_disk_free_bytes", path=disk.path)] = float(disk.free)
            gauges[series("host_disk_size_bytes", path=disk.path)] = float(disk.total)
    return gauges


def _memory() -> dict[str, int]:
    lines = (PROC / "meminfo").read_text().splitlines()
    return {name: int(value.split()[0]) * 1024 for name, value in (line.split(":") for line in lines)}


def _cpu_pressure() -> float | None:
    try:
        some = (PROC / "pressure/cpu").read_text().splitlines()[0]
    except OSError:
        return None
    return float(dict(word.split("=") for word in some.split()[1:])["avg10"])


def _stuck() -> int:
    return sum(_state(entry.name) == "D" for entry in os.scandir(PROC) if entry.name.isdigit())


def _state(pid: str) -> str:
    try:
        return (PROC / pid / "stat").read_text(errors="replace").rpartition(") ")[2][:1]
    except OSError:
        return ""  # ended between listing and reading


def _disk(path: str) -> DiskSample:
    try:
        volume = os.statvfs(path)
    except OSError as error:
        return DiskSample(path, error=error.strerror or str(error))
    return DiskSample(path, volume.f_blocks * volume.f_frsize, volume.f_bavail * volume.f_frsize)


CHECK = Check(
    "host",
    every=5.0,
    deadline=5.0,
    measure=measure,
    judge=judge,
    causes=("disk-full",),
    metrics=metrics,
    on_exit=True,
)
