"""SXids: the errors that NVIDIA's driver writes into the kernel log about an NVSwitch."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health
from sentinel.model.kernel_line import LONGEST, said

SXID = re.compile(
    r"nvidia-nvswitch(?P<switch>\d{1,3}): SXid \((?:PCI:)?(?P<pci>[0-9a-fA-F:.]{7,16})\): "
    r"(?P<sxid>\d{5}),? (?!Severity \d|Data \{)(?:(?P<severity>Fatal|Non-fatal), )?(?P<text>.{0,200})"
)
"""`nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, Non-fatal, Link 46 MC TS crumbstore MCTO (First)`, of
which lines of `Severity` and `Data` are the rest. The number alone says little: the driver raises many of
them as either."""
LINK = re.compile(r"Link (\d{1,3})\b")
FATAL, NON_FATAL, UNSAID = "fatal", "non-fatal", "unsaid"


@dataclass(frozen=True, slots=True)
class SxidEvent:
    """One SXid as the kernel wrote it."""

    sxid: int
    switch: int
    pci: str
    severity: str
    """`fatal`, `non-fatal`; `unsaid` where the driver does not say, as of its switch's own processor."""
    text: str
    line: str


def parse(line: str) -> SxidEvent | None:
    """Find an SXid in a line of a kernel log; None when there is none, or when it is only quoted."""
    message = said(line) if "SXid (" in line else None
    found = SXID.match(message) if message else None
    if found is None:
        return None
    return SxidEvent(
        sxid=int(found["sxid"]),
        switch=int(found["switch"]),
        pci=found["pci"].lower(),
        severity=(found["severity"] or UNSAID).lower(),
        text=found["text"].strip(),
        line=line.strip()[:LONGEST],
    )


def measure(machine: Machine) -> tuple[SxidEvent, ...]:
    """Take what the driver said of its switches out of the new kernel lines."""
    return tuple(event for line in machine.kernel_lines if (event := parse(line)))


def judge(events: tuple[SxidEvent, ...]) -> Iterator[Finding]:
    """One event per SXid that is not called harmless.

    A fatal one is also raised where a GPU was reset or lost behind a link: it needs a rank that suffers, too.
    """
    for event in events:
        if event.severity == NON_FATAL:
            continue
        is_fatal = event.severity == FATAL
        component = f"nvswitch-{event.switch}"
        evidence: dict[str, str | int | float] = {"sxid": event.sxid, "pci": event.pci, "line": event.line}
        evidence |= {"link": int(link[1])} if (link := LINK.match(event.text)) else {}
        how = "" if is_fatal else ", of which the driver does not say how bad it is"
        yield Finding(
            "sxid",
            "sxid-fatal" if is_fatal else "sxid-unknown",
            component,
            Health.WARNING if is_fatal else Health.UNKNOWN,
            f"SXid {event.sxid} on {component}: {event.text}{how}",
            evidence,
            event=True,
        )


def counts(events: tuple[SxidEvent, ...]) -> Mapping[Series, int]:
    """Events by the driver's severity, those that it calls harmless included."""
    return {
        series("sxid_events_total", severity=severity): sum(event.severity == severity for event in events)
        for severity in (FATAL, NON_FATAL, UNSAID)
    }


CHECK = Check(
    "sxid",
    every=30.0,
    deadline=1.0,
    measure=measure,
    judge=judge,
    causes=("nvlink",),
    on_exit=True,
    in_agent=True,
    of_kernel_log=True,
    counts=counts,
)
