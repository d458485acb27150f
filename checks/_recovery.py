"""What the driver asks for in an Xid 154, by its number: the words differ from driver to driver."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sentinel.model.finding import Health

CODE = 154
_CHANGED = re.compile(
    r"recovery action changed from .{0,80}? to "
    r"(?:0x(?P<number>[0-9a-fA-F]{1,8})\b)?\s*\(?(?P<words>[^()]{0,80})",
    re.IGNORECASE,
)
"""`GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)`, or `(PF FLR)` from 610 on."""
BY_NUMBER: Mapping[int, tuple[str, Health]] = {
    0: ("None", Health.WARNING),
    1: ("GPU Reset", Health.CRITICAL),
    2: ("Node Reboot", Health.CRITICAL),
    3: ("Drain P2P", Health.WARNING),
    4: ("Drain and Reset", Health.CRITICAL),
    5: ("Recover IMEX Domain", Health.WARNING),
    6: ("Bus Reset", Health.CRITICAL),
    7: ("System Reboot", Health.CRITICAL),
}
"""`nvmlDeviceGpuRecoveryAction_t` (nvml.h, as nvidia-ml-py 13 has it). To drain peer-to-peer traffic, or to
mend the domain that several nodes share, is not to give up this GPU."""
BY_WORDS: Mapping[str, int] = {
    "none": 0,
    "gpu reset": 1,
    "gpu reset required": 1,
    "pf flr": 1,
    "node reboot": 2,
    "node reboot required": 2,
    "os reboot": 2,
    "drain p2p": 3,
    "drain and reset": 4,
    "recover imex domain": 5,
    "bus reset": 6,
    "system reboot": 7,
}
"""Words that drivers have used, for lines without a number."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a line asks for."""

    action: str
    """In the driver's own words, where it has some."""
    health: Health


def read(text: str) -> Asked:
    """Read the action that an Xid 154 changes to; a number or words never heard of are unknown."""
    found = _CHANGED.search(text)
    if found is None:
        return Asked("none that is understood", Health.UNKNOWN)
    words = " ".join(found["words"].split())
    number = int(found["number"], 16) if found["number"] else BY_WORDS.get(words.lower(), -1)
    name, health = BY_NUMBER.get(number, (f"0x{number:x}" if number >= 0 else "unnamed", Health.UNKNOWN))
    return Asked(words or name, health)
