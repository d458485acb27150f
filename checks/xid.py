"""Xids: the errors that NVIDIA's driver writes into the kernel log."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from msgspec.structs import replace

from sentinel.checks import _nvlink, _nvlink5, _recovery
from sentinel.checks._nvrm import LostGpu, XidEvent, parse, read
from sentinel.checks._owner import Owner, Owners
from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health

__all__ = [
    "CHECK",
    "XidEvent",
    "XidSample",
    "as_called",
    "catalogue",
    "health_of",
    "judge",
    "measure",
    "mnemonic",
    "parse",
]

FATAL = {
    48: "double-bit ECC: fatal for every known handler",
    74: "NVLink error: its workflow ends in support, where its registers do not say otherwise",
    156: "resource retirement: reset the GPU",
}
"""Codes that the catalogue sends to a workflow, and that the field treats as fatal."""
FATAL_ACTIONS = {"RESET_GPU", "RESTART_BM", "RESTART_VM", "CHECK_MECHANICALS"}
PROGRAM_ACTION = "RESTART_APP"
PROGRAMS = {137: "an access over NVLink that the peer does not allow: an illegal address, as 31 is"}
"""Codes of programs for which the catalogue names another action."""
FREQUENT = frozenset({13, 31, 43, 45, 63, 94})
"""Codes that every fleet has, of programs and of memory errors that were contained."""
OTHER = "other"
NVLINK_FINDINGS = {
    _nvlink.Weight.IGNORE: ("nvlink-ignorable", Health.WARNING),
    _nvlink.Weight.FOLLOW: ("nvlink-secondary", Health.WARNING),
    _nvlink.Weight.UNKNOWN: ("nvlink-unknown", Health.UNKNOWN),
    _nvlink.Weight.THRICE: ("nvlink-strike", Health.WARNING),
    _nvlink.Weight.TWICE: ("nvlink-strike", Health.WARNING),
    _nvlink.Weight.FATAL: ("xid-74", Health.CRITICAL),
}
STRIKES = {_nvlink.Weight.THRICE: 3, _nvlink.Weight.TWICE: 2}
"""From how many on within 24 h a link is broken."""
NVLINK5_HEALTH = {"RESET_GPU": Health.CRITICAL, "XID_154_EVAL": Health.WARNING, "IGNORE": Health.WARNING}
CALLED_FATAL = "xid-called-fatal"
IGNORED = "ignored"
Evidence = dict[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of NVIDIA's catalogue of Xids, published 2025-10-29."""

    mnemonic: str
    action: str
    """What to do at once; empty where NVIDIA has not said."""
    in_use: bool


@dataclass(frozen=True, slots=True)
class XidSample:
    """What the driver said in the new kernel lines, which GPU is at which address, and who is ours."""

    events: tuple[XidEvent, ...]
    lost: tuple[LostGpu, ...]
    gpus: Mapping[str, int]
    owners: Owners
    error: str
    fatal: frozenset[int] = frozenset()
    """Codes that the operator calls fatal."""
    ignored: frozenset[int] = frozenset()


@cache
def catalogue() -> Mapping[int, Entry]:
    """Read NVIDIA's table, `xid_catalog.csv`."""
    with Path(__file__).with_name("xid_catalog.csv").open(newline="") as file:
        return {
            int(row["xid"]): Entry(row["mnemonic"], row["immediate_action"], row["in_use"] == "yes")
            for row in csv.DictReader(file)
        }


def measure(machine: Machine) -> XidSample:
    """Take what the driver said out of the new kernel lines."""
    found = tuple(read(machine.kernel_lines))
    return XidSample(
        events=tuple(each for each in found if isinstance(each, XidEvent)),
        lost=tuple(each for each in found if isinstance(each, LostGpu)),
        gpus=machine.pci,
        owners=Owners.of(machine),
        error=machine.kernel_error,
        fatal=machine.xid_fatal,
        ignored=machine.xid_ignored,
    )


def judge(sample: XidSample) -> Iterator[Finding]:
    """One event per Xid and lost GPU, none of them healthy; and whether Xids could be seen at all."""
    if sample.error:
        said = f"Xids can't be seen: {sample.error}"
        yield Finding("xid", "kernel-log-unreadable", "kernel-log", Health.UNKNOWN, said)
    for event in sample.events:
        yield as_called(
            SPECIAL.get(event.xid, _judge)(event, sample), event.xid, sample.fatal, sample.ignored
        )
    for lost in sample.lost:
        component = _component(lost.pci, sample)
        said = f"{component} has fallen off the bus"
        evidence: Evidence = {"pci": lost.pci, "line": lost.line}
        yield Finding("xid", "gpu-lost", component, Health.CRITICAL, said, evidence, event=True)


def as_called(found: Finding, xid: int, fatal: frozenset[int], ignored: frozenset[int]) -> Finding:
    """Let the operator's lists have the last word, but not about a stranger's process."""
    if xid in ignored:
        said = f"{found.summary}; ignored here, as checks.xid_ignored says"
        return replace(found, code=f"xid-{xid}-{IGNORED}", health=Health.WARNING, summary=said)
    is_ours = found.evidence.get("owner") != Owner.STRANGER
    if xid in fatal and is_ours and found.health is not Health.CRITICAL:
        said = f"{found.summary}; fatal here, as checks.xid_fatal says"
        return replace(found, code=CALLED_FATAL, health=Health.CRITICAL, summary=said)
    return found


def health_of(xid: int) -> Health:
    """Fatal codes are critical; codes without an action are unknown; the program's own are warnings."""
    entry = catalogue().get(xid)
    if xid in FATAL or (entry and entry.action in FATAL_ACTIONS):
        return Health.CRITICAL
    if entry is None or not entry.action:
        return Health.UNKNOWN
    return Health.WARNING


def is_programs(xid: int) -> bool:
    """Say whether a code is of a program's making first of all: then it matters whose program it was."""
    return xid in PROGRAMS or _entry(xid).action == PROGRAM_ACTION


def mnemonic(xid: int) -> str:
    """Give NVIDIA's word for a code."""
    return _entry(xid).mnemonic


def _entry(xid: int) -> Entry:
    return catalogue().get(xid, Entry("not in the catalogue", "", False))


def _component(pci: str, sample: XidSample) -> str:
    index = sample.gpus.get(pci)
    return f"pci:{pci or 'unknown'}" if index is None else f"gpu-{index}"


def _summary(event: XidEvent, sample: XidSample) -> str:
    return f"Xid {event.xid} on {_component(event.pci, sample)}: {_entry(event.xid).mnemonic}"


def _evidence(event: XidEvent) -> Evidence:
    evidence: Evidence = {
        "xid": event.xid,
        "pci": event.pci,
        "mnemonic": _entry(event.xid).mnemonic,
        "action": _entry(event.xid).action or "none known",
        "process": event.process,
        "line": event.line,
    }
    evidence |= {"mig": event.mig} if event.mig else {}
    return evidence | ({} if event.pid is None else {"pid": event.pid})


def _found(
    event: XidEvent, sample: XidSample, code: str, health: Health, said: str, evidence: Evidence
) -> Finding:
    return Finding("xid", code, _component(event.pci, sample), health, said, evidence, event=True)


def _judge(event: XidEvent, sample: XidSample) -> Finding:
    """Judge by the catalogue; a program's error also by whose program it was."""
    code, said, evidence = f"xid-{event.xid}", _summary(event, sample), _evidence(event)
    if is_programs(event.xid):
        evidence |= sample.owners.evidence(event.pid, event.process)
        evidence |= {"place": event.place} if event.place else {}
        if evidence["owner"] == Owner.STRANGER:
            code = f"{code}-stranger"
            said = f"{said}, of a process that is not ours: {event.process} ({event.pid})"
    return _found(event, sample, code, health_of(event.xid), said, evidence)


def _judge_recovery(event: XidEvent, sample: XidSample) -> Finding:
    """Take the driver at its word: it knows more than a table of codes."""
    asked = _recovery.read(event.text)
    code = "gpu-recovery" if asked.health is Health.CRITICAL else f"xid-{event.xid}"
    component = _component(event.pci, sample)
    said = f"Xid {event.xid} on {component}: the driver's recovery action is {asked.action}"
    return _found(event, sample, code, asked.health, said, {**_evidence(event), "action": asked.action})


def _judge_nvlink(event: XidEvent, sample: XidSample) -> Finding:
    """Judge by the seven registers; a line without them only says that a link failed."""
    reading, evidence = _nvlink.read(event.text), _evidence(event)
    if reading is None:
        return _judge(event, sample)
    code, health = NVLINK_FINDINGS[reading.weight]
    evidence |= {"link": reading.link, "place": f"link {reading.link}", "bits": reading.bits}
    if reading.weight in STRIKES:
        evidence["strikes"] = STRIKES[reading.weight]
    said = f"{_summary(event, sample)} on link {reading.link}: bits {reading.bits}"
    return _found(event, sample, code, health, said, evidence)


def _judge_nvlink5(event: XidEvent, sample: XidSample) -> Finding:
    """Judge by the line's registers; what the table does not decide is unknown."""
    found, said, evidence = _nvlink5.resolve(event.xid, event.text), _summary(event, sample), _evidence(event)
    if found is None:
        return _found(event, sample, f"xid-{event.xid}", Health.UNKNOWN, said, evidence)
    health = NVLINK5_HEALTH.get(found.action, Health.UNKNOWN)
    code = "nvlink5-fatal" if health is Health.CRITICAL else f"xid-{event.xid}"
    evidence |= {"action": found.action, "investigate": found.investigate, "link": found.link}
    said = f"{said}, {found.unit} on link {found.link}: {found.action}"
    return _found(event, sample, code, health, said, evidence)


SPECIAL: Mapping[int, Callable[[XidEvent, XidSample], Finding]] = {
    _nvlink.CODE: _judge_nvlink,
    _recovery.CODE: _judge_recovery,
    **dict.fromkeys(_nvlink5.CODES, _judge_nvlink5),
}
"""Codes whose line says more than the code."""


def counts(sample: XidSample) -> dict[Series, int]:
    """Events per code and GPU; codes that are not in use share one label.

    What breaks a GPU, and what is frequent, is there with 0 before it happens; of all codes that would be a
    thousand series for eight GPUs.
    """
    used = {xid for xid, entry in catalogue().items() if entry.in_use}
    zeros = [*(xid for xid in sorted(used) if _is_counted_from_zero(xid)), OTHER]
    counted = Counter(
        dict.fromkeys((_series(c, g) for g in (*sample.gpus.values(), OTHER) for c in zeros), 0)
    )
    for event in sample.events:
        code = event.xid if event.xid in used else OTHER
        counted[_series(code, sample.gpus.get(event.pci, OTHER))] += 1
    return counted


def _is_counted_from_zero(xid: int) -> bool:
    return xid in FREQUENT or xid in SPECIAL or health_of(xid) is Health.CRITICAL


def _series(code: object, gpu: object) -> Series:
    return series("xid_events_total", xid=code, gpu=gpu)


CHECK = Check(
    "xid",
    every=30.0,
    deadline=1.0,
    measure=measure,
    judge=judge,
    causes=(
        "gpu-lost",
        "gpu-ecc",
        "gpu-remap",
        "gpu-reset",
        "gpu-recovery",
        "gpu-app-xid",
        "gpu-app-xid-repeat",
        "nvlink",
        "throttle",
    ),
    on_exit=True,
    in_agent=True,
    of_kernel_log=True,
    counts=counts,
)
