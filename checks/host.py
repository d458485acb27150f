"""The host: memory, swap, processors, and what keeps its processes waiting for minutes."""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sentinel.checks._kept import Counter, counted, remembered
from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health

MEMORY_LOW = 0.05
"""Under this share available the kernel reclaims in earnest and its OOM killer is near."""
LASTS_S = 300.0
"""What passes within five minutes is a peak; PSI has an average over as much."""
SWAPPED_BYTES = 1024**3
"""Written to swap within that time: a host that does so has too little memory for what runs on it."""
MEMORY_STALLED = 10.0
"""Percent of the last five minutes in which all processes waited for memory (PSI `memory full avg300`).
systemd-oomd kills at 60 over half a minute; a tenth for minutes shows in every step already."""
IO_STALLED = 60.0
"""The same of disks and mounts (PSI `io full avg300`): loading data and saving checkpoints wait less."""
STOLEN = 0.10
"""Share of the processors' time of five minutes that a hypervisor gave to others."""
PROC = Path("/proc")
_TICKS_EVERY_S = 30.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Memory(msgspec.Struct):
    """What is remembered."""

    counters: dict[str, Counter] = {}
    ticks: list[tuple[float, int, int]] = []
    """(seconds of the monotonic clock, stolen ticks, all ticks), oldest first, for five minutes."""


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
    memory_stalled: float | None = None
    """PSI `memory full avg300`, percent."""
    io_stalled: float | None = None
    """PSI `io full avg300`, percent."""
    swapped_out: int = 0
    """Bytes written to swap within `LASTS_S`."""
    swap_used: int = 0
    """Bytes."""
    stolen: float | None = None
    """Share of all processors' time of the last `LASTS_S`, 0 to 1; None until so much has passed."""


def measure(machine: Machine) -> HostSample:
    """Read /proc, which does not hang."""
    with remembered(machine.kept, "host", Memory) as memory:
        return look(PROC, memory, time.monotonic())


def look(proc: Path, memory: Memory, now: float) -> HostSample:
    """Read the files below `proc`."""
    sizes = _pairs(proc / "meminfo")
    pages = _pairs(proc / "vmstat").get("pswpout", 0)
    swapped, _ = counted(memory.counters, "pswpout", pages, now)
    return HostSample(
        memory_total=sizes["MemTotal"] * 1024,
        memory_available=sizes["MemAvailable"] * 1024,
        load=float((proc / "loadavg").read_text().split()[0]),
        processors=os.cpu_count() or 1,
        cpu_pressure=_pressure(proc, "cpu", "some", "avg10"),
        memory_stalled=_pressure(proc, "memory", "full", "avg300"),
        io_stalled=_pressure(proc, "io", "full", "avg300"),
        swapped_out=swapped.within(LASTS_S, now) * _PAGE,
        swap_used=(sizes["SwapTotal"] - sizes["SwapFree"]) * 1024,
        stolen=_stolen(proc, memory, now),
    )


def judge(sample: HostSample) -> Iterator[Finding]:
    """One finding per shortage that lasts."""
    if sample.memory_available < MEMORY_LOW * sample.memory_total:
        evidence = {"available_bytes": sample.memory_available, "total_bytes": sample.memory_total}
        yield _warning("memory-low", "memory", "host memory is nearly used up", evidence)
    if sample.swapped_out > SWAPPED_BYTES:
        evidence = {"swapped_out_bytes": sample.swapped_out, "swap_used_bytes": sample.swap_used}
        yield _warning("swapping", "memory", "the host writes memory to swap", evidence)
    if sample.cpu_pressure is None:
        said = "the kernel does not measure pressure (PSI): boot it with psi=1"
        yield Finding("host", "pressure-unreadable", "pressure", Health.UNKNOWN, said)
    if (sample.memory_stalled or 0.0) > MEMORY_STALLED:
        said = "all processes have waited for memory again and again for minutes"
        yield _warning("memory-pressure", "memory", said, {"percent": sample.memory_stalled or 0.0})
    if (sample.io_stalled or 0.0) > IO_STALLED:
        said = "all processes have waited for disks or mounts most of the time for minutes"
        yield _warning("io-pressure", "io", said, {"percent": sample.io_stalled or 0.0})
    if (sample.stolen or 0.0) > STOLEN:
        said = "the hypervisor gives this machine's processors to others"
        yield _warning("cpu-steal", "cpu", said, {"stolen_share": round(sample.stolen or 0.0, 4)})


def _warning(code: str, component: str, said: str, evidence: Mapping[str, int | float]) -> Finding:
    return Finding("host", code, component, Health.WARNING, said, evidence)


def metrics(sample: HostSample) -> dict[Series, float]:
    """Gauges of the host."""
    gauges = {
        "host_memory_total_bytes": float(sample.memory_total),
        "host_memory_available_bytes": float(sample.memory_available),
        "host_swap_used_bytes": float(sample.swap_used),
        "host_load1": sample.load,
    }
    shares = {
        "host_cpu_pressure_ratio": _ratio(sample.cpu_pressure),
        "host_memory_stalled_ratio": _ratio(sample.memory_stalled),
        "host_io_stalled_ratio": _ratio(sample.io_stalled),
        "host_cpu_stolen_ratio": sample.stolen,
    }
    known = {name: share for name, share in shares.items() if share is not None}
    return {series(name): value for name, value in (gauges | known).items()}


def _ratio(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def _pairs(path: Path) -> dict[str, int]:
    """Read lines of a name and a number, with or without a colon and a unit."""
    words = (line.replace(":", " ").split() for line in path.read_text().splitlines())
    return {each[0]: int(each[1]) for each in words if len(each) > 1}


def _pressure(proc: Path, of: str, kind: str, window: str) -> float | None:
    """Give one average in percent; None where the kernel measures none."""
    try:
        lines = (proc / "pressure" / of).read_text().splitlines()
    except OSError:
        return None
    line = next((each for each in lines if each.startswith(f"{kind} ")), "")
    value = dict(word.split("=") for word in line.split()[1:]).get(window)
    return None if value is None else float(value)


def _stolen(proc: Path, memory: Memory, now: float) -> float | None:
    """Give the stolen share since five minutes ago."""
    ticks = [int(word) for word in (proc / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    stolen, total = ticks[7], sum(ticks)
    if not memory.ticks or now >= memory.ticks[-1][0] + _TICKS_EVERY_S:
        memory.ticks.append((now, stolen, total))
    while len(memory.ticks) > 1 and memory.ticks[1][0] <= now - LASTS_S:
        del memory.ticks[0]
    at, stolen_then, total_then = memory.ticks[0]
    if at > now - LASTS_S or total <= total_then:
        return None
    return max(0.0, (stolen - stolen_then) / (total - total_then))


CHECK = Check(
    "host",
    every=5.0,
    deadline=5.0,
    measure=measure,
    judge=judge,
    causes=(),
    metrics=metrics,
    on_exit=True,
)
