"""Processes that the kernel killed because memory ran out."""

import re
from collections.abc import Iterator, Sequence

from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health

LINE = re.compile(r"[Oo]ut of memory: Kill(?:ed)? process (?P<pid>\d+) \((?P<name>[^)]*)\)")
"""As mm/oom_kill.c writes it, for the whole host and for a memory cgroup alike."""


def measure(machine: Machine) -> Sequence[str]:
    """Take the OOM killer's lines out of the new kernel lines."""
    return [line for line in machine.kernel_lines if LINE.search(line)]


def judge(lines: Sequence[str]) -> Iterator[Finding]:
    """One event per killed process."""
    for line in lines:
        found = LINE.search(line)
        if found is None:
            continue
        said = f"Out of memory: Killed process {found['pid']} ({found['name']})"
        evidence = {"pid": int(found["pid"]), "process": found["name"], "line": line.strip()}
        yield Finding("oom", "oom-kill", "memory", Health.WARNING, said, evidence, event=True)


def counts(lines: Sequence[str]) -> dict[Series, int]:
    """Processes killed."""
    return {series("oom_kills_total"): len(lines)}


CHECK = Check(
    "oom",
    every=30.0,
    deadline=1.0,
    measure=measure,
    judge=judge,
    causes=("host-oom",),
    on_exit=True,
    in_agent=True,
    counts=counts,
)
