"""Processes that can't be woken, and ended ones that nobody takes away."""

import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sentinel.checks._kept import remembered
from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health

PROC = Path("/proc")
STUCK_S = 60.0
"""Uninterruptible sleep of a disk or a mount in order lasts milliseconds; the kernel warns after 120 s."""
ZOMBIES_WINDOW_S = 600.0
ZOMBIES_GROWN = 100
"""More of them than ten minutes ago: somebody does not wait for its children, and ends up without pids."""
NAMED = 5
"""So many stuck processes are named in the evidence."""
_COUNTED_EVERY_S = 60.0
_KERNEL_THREAD = 0x00200000
"""PF_KTHREAD: drivers' threads may sleep like this for ever, and it means nothing."""
_ANEW_S = 60.0
"""After this a kernel thread is looked at again: its number may be a process's by now."""


class Sleeper(msgspec.Struct):
    """A process in uninterruptible sleep, and what shows whether it ran in between."""

    since: float
    ran: str


@dataclass(slots=True)
class KernelThreads:
    """Those that were seen: a large host has thousands, more than processes."""

    pids: frozenset[str] = frozenset()
    until: float = 0.0


class Memory(msgspec.Struct):
    """What is remembered; times are the monotonic clock's."""

    asleep: dict[str, Sleeper] = {}
    zombies: list[tuple[float, int]] = []


@dataclass(frozen=True, slots=True)
class Stuck:
    """A process that has slept for long."""

    pid: int
    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ProcessesSample:
    """One look at all processes."""

    asleep: int
    """In uninterruptible sleep at this moment."""
    stuck: tuple[Stuck, ...]
    """Those of them that have not run for `STUCK_S`, longest first."""
    zombies: int
    zombies_before: int
    """The fewest within `ZOMBIES_WINDOW_S`."""


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    name: str
    state: str
    kernel: bool
    ran: str
    started: str

    @classmethod
    def read(cls, text: str) -> "_Process | None":
        """Read `/proc/PID/stat`, in which the name may hold anything."""
        pid, _, rest = text.partition(" (")
        name, _, fields = rest.rpartition(") ")
        words = fields.split()
        if not pid.isdigit() or len(words) < 20:
            return None
        kernel = words[6].isdigit() and bool(int(words[6]) & _KERNEL_THREAD)
        return cls(int(pid), name, words[0], kernel, f"{words[11]} {words[12]}", words[19])


_KERNEL = KernelThreads()


def measure(machine: Machine) -> ProcessesSample:
    """Read the state of every process."""
    with remembered(machine.kept, "processes", Memory) as memory:
        return look(PROC, memory, time.monotonic(), _KERNEL)


def look(proc: Path, memory: Memory, now: float, kernel: KernelThreads | None = None) -> ProcessesSample:
    """Read the processes below `proc`; one that was seen to run since the last look begins anew."""
    kernel = kernel or KernelThreads()
    if now >= kernel.until:
        kernel.pids, kernel.until = frozenset(), now + _ANEW_S
    read = list(_all(proc, kernel.pids))
    kernel.pids |= {str(each.pid) for each in read if each.kernel}
    found = [each for each in read if not each.kernel]
    asleep = {f"{each.pid} {each.started}": each for each in found if each.state == "D"}
    before, memory.asleep = memory.asleep, {}
    for key, each in asleep.items():
        known, ran = before.get(key), _ran(proc, each)
        memory.asleep[key] = known if known and known.ran == ran else Sleeper(now, ran)
    slept = [Stuck(each.pid, each.name, now - memory.asleep[key].since) for key, each in asleep.items()]
    zombies = sum(each.state == "Z" for each in found)
    return ProcessesSample(
        len(asleep),
        tuple(sorted((each for each in slept if each.seconds >= STUCK_S), key=lambda each: -each.seconds)),
        zombies,
        _fewest(memory, zombies, now),
    )


def _fewest(memory: Memory, zombies: int, now: float) -> int:
    memory.zombies = [each for each in memory.zombies if each[0] > now - ZOMBIES_WINDOW_S]
    if not memory.zombies or now >= memory.zombies[-1][0] + _COUNTED_EVERY_S:
        memory.zombies.append((now, zombies))
    return min(count for _, count in memory.zombies)


def _all(proc: Path, known: Collection[str]) -> Iterator[_Process]:
    for pid in os.listdir(proc):  # noqa: PTH208  # thousands of them: names are all that is wanted
        if pid.isdigit() and pid not in known:
            text = _text(f"{proc}/{pid}/stat")
            if process := _Process.read(text):
                yield process


def _ran(proc: Path, process: _Process) -> str:
    """Say how often it was given a processor; where the kernel does not tell, for how long."""
    slices = _text(f"{proc}/{process.pid}/schedstat").split()
    return slices[2] if len(slices) == 3 else process.ran


def _text(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""  # ended between listing and reading
    try:
        return os.read(descriptor, 4096).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def judge(sample: ProcessesSample) -> Iterator[Finding]:
    """Warn of processes that are stuck, and of zombies that become more and more."""
    if sample.stuck:
        said = f"processes sleep uninterruptibly for over {STUCK_S:.0f} s: a disk, a mount or a driver hangs"
        evidence: dict[str, str | int | float] = {
            "processes": len(sample.stuck),
            "named": ", ".join(f"{each.name} ({each.pid})" for each in sample.stuck[:NAMED]),
            "longest_s": round(sample.stuck[0].seconds, 1),
        }
        yield Finding("processes", "stuck-processes", "host", Health.WARNING, said, evidence)
    if sample.zombies - sample.zombies_before > ZOMBIES_GROWN:
        said = "processes that ended are not taken away, and become more"
        evidence = {"zombies": sample.zombies, "before": sample.zombies_before}
        yield Finding("processes", "zombies", "host", Health.WARNING, said, evidence)


def metrics(sample: ProcessesSample) -> dict[Series, float]:
    """How many sleep uninterruptibly, and how many are zombies."""
    return {
        series("host_stuck_processes"): float(sample.asleep),
        series("host_zombie_processes"): float(sample.zombies),
    }


CHECK = Check(
    "processes",
    every=15.0,
    deadline=5.0,
    measure=measure,
    judge=judge,
    causes=(),
    metrics=metrics,
    of_this_host=True,
)
