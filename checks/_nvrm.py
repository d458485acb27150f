"""Lines of NVIDIA's driver in the kernel log: Xids, and GPUs that it can't reach any more."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from sentinel.model.kernel_line import LONGEST, said

_PCI = r"(?P<pci>[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})(?:\.\d)?"
_XID = re.compile(
    rf"NVRM: Xid \((?:PCI:)?{_PCI}(?P<mig>(?: GPU-(?:CI|I):\d{{1,5}}){{0,2}})\): "
    r"(?P<xid>\d{1,5})\b,?\s*(?P<text>.*)",
    re.DOTALL,
)
"""On a MIG GPU the address names the instance, too: `(PCI:0000:01:00 GPU-I:05 GPU-CI:00)`, as kernel_rc.c of
NVIDIA's open kernel modules writes it."""
_PROCESS = re.compile(r"(?:pid='?(?P<pid>[^,'\s]*)'?(?:,\s*|$))?(?:name=(?P<name>[^,]*)(?:,\s*|$))?")
_NUMBER = re.compile(r"[0-9]{1,10}")
"""Of at most ten digits: what is longer is no process."""
_GPU = (
    r"(?:The NVIDIA )?GPU (?:at )?(?:PCI:)?"
    r"(?P<pci>(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2})(?:\.\d)?"
)
"""Some drivers leave out the domain: `GPU 18:00.0`."""
_ADDRESS = re.compile(rf"NVRM: {_GPU}")
_SM = re.compile(r"\bGPC ?(?P<gpc>\d{1,3}),? ?TPC ?(?P<tpc>\d{1,3})\b")
"""`Graphics SM Warp Exception on (GPC 9, TPC 1, SM 1)`: an Xid 13 counts against that part only."""
_OFF_THE_BUS = re.compile(
    rf"NVRM: (?:{_GPU}:? )?(?:\(PCI ID: [0-9a-fA-F:]{{1,9}}\) )?"
    r"(?:installed in this system )?(?:GPU )?(?:has )?fallen off the bus\b"
)
_CONTINUES = 3
"""Lines over which the driver spreads the news of a lost GPU, the address in the first."""
_NOBODY = "<unknown>"


@dataclass(frozen=True, slots=True)
class XidEvent:
    """One Xid as the kernel wrote it."""

    xid: int
    pci: str
    """`dddd:bb:dd`, lower case"""
    mig: str
    """`GPU-I:05 GPU-CI:00`; empty where the GPU is whole, or hit as a whole."""
    pid: int | None
    process: str
    """Empty where the driver does not know it."""
    text: str
    """What follows code and process."""
    line: str
    place: str = ""
    """The part of the GPU that it is about, `GPU-I:05 GPC 9 TPC 1`, as far as the driver says."""


@dataclass(frozen=True, slots=True)
class LostGpu:
    """A GPU that the driver can't reach, said without an Xid."""

    pci: str
    """Empty if the lines do not say."""
    line: str


def parse(line: str) -> XidEvent | None:
    """Find an Xid in a line of a kernel log; None when there is none, or when it is only quoted."""
    message = said(line)
    return _parse(message, line) if message is not None else None


def read(lines: Iterable[str]) -> Iterator[XidEvent | LostGpu]:
    """Find every Xid and every lost GPU in a log's new lines."""
    address, left = "", 0
    places: dict[tuple[int, str, str], str] = {}
    for line in lines:
        message = (said(line) if "NVRM:" in line else None) or ""
        if not message.lstrip().startswith("NVRM:"):
            continue
        if event := _parse(message, line):
            yield _placed(event, places)
            continue
        words = " ".join(message.split())
        if found := _ADDRESS.match(words):
            address, left = _short(found["pci"]), _CONTINUES
        if _OFF_THE_BUS.match(words):
            yield LostGpu(address if left > 0 else "", line.strip()[:LONGEST])
        left -= 1


def _placed(event: XidEvent, places: dict[tuple[int, str, str], str]) -> XidEvent:
    """Say which part an event is about: of several lines about one error only the first ones name it.

    An Xid 13 goes on with `Graphics Exception: ESR 0x57c730=…`, which is no error of all the GPU.
    """
    key = (event.xid, event.pci, event.mig)
    if "TPC" in event.text and (found := _SM.search(event.text)) is not None:
        places[key] = f"GPC {found['gpc']} TPC {found['tpc']}"
    place = f"{event.mig.partition(' ')[0]} {places.get(key, '')}".strip()
    return replace(event, place=place) if place else event


def _parse(message: str, line: str) -> XidEvent | None:
    found = _XID.match(message)
    if found is None:
        return None
    process = _PROCESS.match(found["text"])
    assert process is not None  # all of it may be missing
    pid, name = process["pid"] or "", (process["name"] or "").strip()
    return XidEvent(
        xid=int(found["xid"]),
        pci=_short(found["pci"]),
        mig=found["mig"].strip(),
        pid=int(pid) if _NUMBER.fullmatch(pid) else None,
        process="" if name == _NOBODY else name,
        text=found["text"][process.end() :],
        line=line.strip()[:LONGEST],
    )


def _short(address: str) -> str:
    *domain, bus, device = address.lower().split(":")
    return f"{domain[0][-4:] if domain else '0000'}:{bus}:{device}"
