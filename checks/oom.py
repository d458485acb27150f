"""Processes that the kernel killed because memory ran out."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from sentinel.checks._owner import Owner, Owners
from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health
from sentinel.model.kernel_line import LONGEST, said

_WHY = r"(?:(?P<why>Memory cgroup out of memory|Out of memory(?: \(oom_kill_allocating_task\))?): )?"
_NAME = r"\((?P<name>.{0,64})\)"
_KILLED = rf"{_WHY}Killed process (?P<pid>\d{{1,10}})(?:, UID \d{{1,10}},)? {_NAME}"
KILLED = re.compile(rf"{_KILLED},? (?:total-vm|vsz):")
"""The victim, as `__oom_kill_process` of mm/oom_kill.c names it: with the reason in front since 5.1, without
it before; with its UID in 3.10 of Red Hat. A name may hold parentheses and spaces."""
KILLED_SHORT = re.compile(_KILLED)
"""The same, where what follows was cut off."""
CHOSEN = re.compile(rf"{_WHY}Kill process (?P<pid>\d{{1,10}}) {_NAME} score \d{{1,10}} or sacrifice child")
"""Until 5.0: the process that was chosen; the next line names the victim, which may be a child of it."""
SUMMED_UP = re.compile(
    r"oom-kill:constraint=(?P<why>[A-Z_]{4,32}),.{0,1900},"
    r"task=(?P<name>.{1,64}?),pid=(?P<pid>\d{1,10}),uid=\d{1,10}\s*$"
)
"""Since 5.0: one line for machines, before the one for people. Its end counts: the name of a control group,
or of the process, may look like it."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One process that was killed."""

    pid: int
    process: str
    line: str
    limit: str
    """Whose memory ran out: `control group`, `node`, `cpuset` or `memory policy`; empty where nobody says."""


LIMITS = {
    "Memory cgroup out of memory": "control group",
    "CONSTRAINT_MEMCG": "control group",
    "Out of memory": "node",
    "Out of memory (oom_kill_allocating_task)": "node",
    "CONSTRAINT_NONE": "node",
    "CONSTRAINT_CPUSET": "cpuset",
    "CONSTRAINT_MEMORY_POLICY": "memory policy",
}
"""By the kernel's words (mm/oom_kill.c): a limit that was set for a job asks for another one, or for
less; a node that is full asks who else is on it."""


@dataclass(frozen=True, slots=True)
class OomSample:
    """The kills among the new kernel lines, and who is ours."""

    kills: tuple[Kill, ...]
    owners: Owners


def measure(machine: Machine) -> OomSample:
    """Take the OOM killer's victims out of the new kernel lines."""
    return OomSample(tuple(_kills(machine.kernel_lines)), Owners.of(machine))


def _kills(lines: Iterable[str]) -> Iterator[Kill]:
    """Give each victim once: what announces it gives way to the line that names it."""
    announced: Kill | None = None
    for line in lines:
        message = (said(line) if "ill" in line else None) or ""
        if killed := _victim(line, message, KILLED, KILLED_SHORT):
            same = announced is not None and announced.pid == killed.pid
            yield (
                replace(killed, limit=announced.limit) if announced and same and not killed.limit else killed
            )
            announced = None
        elif chosen := _victim(line, message, SUMMED_UP, CHOSEN):
            if announced is not None and announced.pid != chosen.pid:
                yield announced
            announced = chosen
    if announced is not None:
        yield announced


def _victim(line: str, message: str, *forms: re.Pattern[str]) -> Kill | None:
    found = next((found for form in forms if (found := form.match(message))), None)
    if found is None:
        return None
    limit = LIMITS.get(found["why"] or "", "")
    return Kill(int(found["pid"]), found["name"], line.strip()[:LONGEST], limit)


def judge(sample: OomSample) -> Iterator[Finding]:
    """One event per killed process; a stranger's end explains none of ours."""
    for kill in sample.kills:
        evidence = {**sample.owners.evidence(kill.pid, kill.process), "line": kill.line}
        evidence |= {"limit": kill.limit} if kill.limit else {}
        is_strange = evidence["owner"] == Owner.STRANGER
        code = "oom-kill-stranger" if is_strange else "oom-kill"
        where = f" of a {kill.limit}" if kill.limit not in ("", "node") else ""
        whose = ", which is not ours" if is_strange else ""
        summary = f"Out of memory{where}: Killed process {kill.pid} ({kill.process}){whose}"
        yield Finding("oom", code, "memory", Health.WARNING, summary, evidence, event=True)


def counts(sample: OomSample) -> dict[Series, int]:
    """Processes killed, whosever they were."""
    return {series("oom_kills_total"): len(sample.kills)}


CHECK = Check(
    "oom",
    every=30.0,
    deadline=1.0,
    measure=measure,
    judge=judge,
    causes=("host-oom",),
    on_exit=True,
    in_agent=True,
    of_kernel_log=True,
    counts=counts,
)
