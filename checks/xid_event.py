"""Xids as NVIDIA's management library tells of them: for where the kernel log can't be read, or lost a line.

The agent drops one whose line it has read: the line says more, such as the process.
"""

from collections.abc import Iterator, Sequence

from sentinel.checks import _nvlink, _nvlink5, _recovery, xid
from sentinel.checks._owner import Owner
from sentinel.model.check import Check, DriverXid, Machine
from sentinel.model.finding import Finding, Health, skipped

WORDLESS = frozenset({_nvlink.CODE, _recovery.CODE, *_nvlink5.CODES})
"""Codes whose line says what they mean: an event has none, so they are unknown."""


def measure(machine: Machine) -> Sequence[DriverXid] | None:
    """Take what the library tells of; None where there is none to ask."""
    return None if machine.driver_events is None else machine.driver_events.take()


def judge(events: Sequence[DriverXid] | None) -> Iterator[Finding]:
    """One event per Xid, judged by its number: nobody knows whose process it was."""
    if events is None:
        yield skipped("xid_event", "no NVIDIA driver is to be asked here")
    for event in events or ():
        component, mnemonic = f"gpu-{event.index}", xid.mnemonic(event.xid)
        health = Health.UNKNOWN if event.xid in WORDLESS else xid.health_of(event.xid)
        evidence: dict[str, str | int | float] = {"xid": event.xid, "pci": event.pci, "mnemonic": mnemonic}
        evidence |= {"told": "NVML", "owner": Owner.UNKNOWN}
        said = f"Xid {event.xid} on {component}, as NVML tells: {mnemonic}"
        yield Finding("xid_event", f"xid-{event.xid}", component, health, said, evidence, event=True)


CHECK = Check(
    "xid_event",
    every=5.0,
    deadline=5.0,
    measure=measure,
    judge=judge,
    causes=xid.CHECK.causes,
    on_exit=True,
)
