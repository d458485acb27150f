"""Xids: the errors that NVIDIA's driver writes into the kernel log."""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sentinel.checks import _nvlink5
from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health

LINE = re.compile(
    r"NVRM: Xid \(PCI:(?P<pci>[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})(?:\.\d)?\): (?P<xid>\d+),?\s*"
    r"(?:pid='?(?P<pid>\d+)'?,\s*)?(?:name=(?P<name>[^,]*),\s*)?(?P<text>.*)"
)
FATAL = {
    48: "double-bit ECC: fatal for every known handler",
    74: "NVLink error: its workflow ends in support",
    156: "resource retirement: reset the GPU",
}
"""Codes that the catalogue sends to a workflow, and that the field treats as fatal."""
FATAL_ACTIONS = {"RESET_GPU", "RESTART_BM", "RESTART_VM", "CHECK_MECHANICALS"}
OTHER = "other"
RECOVERY_CHANGED = 154
RECOVERY = re.compile(r"recovery action changed from .* to (?:0x[0-9a-fA-F]+ )?\(?(?P<action>[^()]+?)\)?\s*$")
"""`154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)`."""
RECOVERY_HEALTH = {
    "None": Health.WARNING,
    "Drain P2P": Health.WARNING,
    "GPU Reset Required": Health.CRITICAL,
    "Drain and Reset": Health.CRITICAL,
    "Node Reboot Required": Health.CRITICAL,
    "OS Reboot": Health.CRITICAL,
}
"""The driver's own verdict, in the words that drivers have used; any other is unknown."""
NVLINK5_HEALTH = {"RESET_GPU": Health.CRITICAL, "XID_154_EVAL": Health.WARNING, "IGNORE": Health.WARNING}


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of NVIDIA's catalogue of Xids, published 2025-10-29."""

    mnemonic: str
    action: str
    """What to do at once; empty where NVIDIA has not said."""
    in_use: bool


@dataclass(frozen=True, slots=True)
class XidEvent:
    """One Xid as the kernel wrote it."""

    xid: int
    pci: str
    """`dddd:bb:dd`, lower case"""
    pid: int | None
    process: str
    line: str


@dataclass(frozen=True, slots=True)
class XidSample:
    """The Xids among the new kernel lines, and which GPU is at which address."""

    events: tuple[XidEvent, ...]
    gpus: Mapping[str, int]
    error: str


@cache
def catalogue() -> Mapping[int, Entry]:
    """Read NVIDIA's table, `xid_catalog.csv`."""
    with Path(__file__).with_name("xid_catalog.csv").open(newline="") as file:
        return {
            int(row["xid"]): Entry(row["mnemonic"], row["immediate_action"], row["in_use"] == "yes")
            for row in csv.DictReader(file)
        }


def parse(line: str) -> XidEvent | None:
    """Find an Xid in a kernel line; None when there is none."""
    found = LINE.search(line)
    if found is None:
        return None
    domain, _, rest = found["pci"].lower().partition(":")
    pid = int(found["pid"]) if found["pid"] else None
    return XidEvent(int(found["xid"]), f"{domain[-4:]}:{rest}", pid, found["name"] or "", line.strip())


def measure(machine: Machine) -> XidSample:
    """Take the Xids out of the new kernel lines."""
    events = tuple(event for line in machine.kernel_lines if (event := parse(line)))
    return XidSample(events, machine.pci, machine.kernel_error)


def judge(sample: XidSample) -> Iterator[Finding]:
    """One event per Xid, none of them healthy; and whether Xids could be seen at all."""
    if sample.error:
        said = f"Xids can't be seen: {sample.error}"
        yield Finding("xid", "kernel-log-unreadable", "kernel-log", Health.UNKNOWN, said)
    for event in sample.events:
        yield _judge(event, sample.gpus)


def health_of(xid: int) -> Health:
    """Fatal codes are critical; codes without an action are unknown; the program's own are warnings."""
    entry = catalogue().get(xid)
    if xid in FATAL or (entry and entry.action in FATAL_ACTIONS):
        return Health.CRITICAL
    if entry is None or not entry.action:
        return Health.UNKNOWN
    return Health.WARNING


def _judge(event: XidEvent, gpus: Mapping[str, int]) -> Finding:
    entry = catalogue().get(event.xid, Entry("not in the catalogue", "", False))
    index = gpus.get(event.pci)
    component = f"pci:{event.pci}" if index is None else f"gpu-{index}"
    evidence: dict[str, str | int | float] = {
        "xid": event.xid,
        "pci": event.pci,
        "mnemonic": entry.mnemonic,
        "action": entry.action or "none known",
        "process": event.process,
        "line": event.line,
    }
    if event.pid is not None:
        evidence["pid"] = event.pid
    summary = f"Xid {event.xid} on {component}: {entry.mnemonic}"
    if event.xid == RECOVERY_CHANGED:
        return _judge_recovery(event, component, evidence)
    if event.xid in _nvlink5.CODES:
        return _judge_nvlink5(event, component, summary, evidence)
    return Finding("xid", f"xid-{event.xid}", component, health_of(event.xid), summary, evidence, event=True)


def _judge_recovery(event: XidEvent, component: str, evidence: dict[str, str | int | float]) -> Finding:
    """Take the driver at its word: it knows more than a table of codes."""
    found = RECOVERY.search(event.line)
    action = found["action"] if found else "none that is understood"
    health = RECOVERY_HEALTH.get(action, Health.UNKNOWN)
    code = "gpu-recovery" if health is Health.CRITICAL else f"xid-{event.xid}"
    said = f"Xid {event.xid} on {component}: the driver's recovery action is {action}"
    return Finding("xid", code, component, health, said, {**evidence, "action": action}, event=True)


def _judge_nvlink5(
    event: XidEvent, component: str, summary: str, evidence: dict[str, str | int | float]
) -> Finding:
    """Judge by the line's registers; what the table does not decide is unknown."""
    found = _nvlink5.resolve(event.xid, event.line)
    if found is None:
        return Finding("xid", f"xid-{event.xid}", component, Health.UNKNOWN, summary, evidence, event=True)
    health = NVLINK5_HEALTH.get(found.action, Health.UNKNOWN)
    code = "nvlink5-fatal" if health is Health.CRITICAL else f"xid-{event.xid}"
    evidence |= {"action": found.action, "investigate": found.investigate, "link": found.link}
    said = f"{summary}, {found.unit} on link {found.link}: {found.action}"
    return Finding("xid", code, component, health, said, evidence, event=True)


def counts(sample: XidSample) -> dict[Series, int]:
    """Events per code and GPU, zeros included; codes that are not in use share one label."""
    codes = [*(xid for xid, entry in catalogue().items() if entry.in_use), OTHER]
    counted = {_series(code, gpu): 0 for gpu in (*sample.gpus.values(), OTHER) for code in codes}
    for event in sample.events:
        code = event.xid if event.xid in codes else OTHER
        counted[_series(code, sample.gpus.get(event.pci, OTHER))] += 1
    return counted


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
    counts=counts,
)
