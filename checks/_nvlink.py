"""NVIDIA's workflow for an Xid 74: which bits of its registers are nothing, a strike, or a broken link.

The workflow (WORKFLOW_NVLINK_ERR of the Xid catalogue, sheet "Xid 74") judges the first, third, fourth and
fifth of seven registers; https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

CODE = 74
_HEX = r"0x([0-9a-fA-F]{1,8})"
DETAIL = re.compile(r"link (-?\d{1,3}) ?\(" + r", ?".join([_HEX] * 7) + r"\)")
"""`NVLink: fatal error detected on link 14(0x0, 0x0, 0x10000, 0x0, 0x0, 0x0, 0x0)`."""


class Weight(IntEnum):
    """What a bit means; the heaviest of a line counts."""

    IGNORE = 0
    """"Can be safely ignored", or a threshold of corrected errors: "continue operation"."""
    FOLLOW = 1
    """Sympathetic: follow the other Xid."""
    UNKNOWN = 2
    """Not in the workflow: "report a bug"."""
    THRICE = 3
    """Likely ECC or parity: from "more than 2 times on the same link" on."""
    TWICE = 4
    """"If seen repeatedly", or after a look at the connections."""
    FATAL = 5
    """Marginal signal, or not expected in production: Field Diags at once."""


BITS: Mapping[int, Mapping[Weight, tuple[int, ...]]] = {
    0: {
        Weight.IGNORE: (0, 23, 30),
        Weight.FOLLOW: (1, 20),
        Weight.THRICE: (4, 5),
        Weight.TWICE: (8, 9, 12, 16, 17, 24, 27, 28, 29),
        Weight.FATAL: (21, 22),
    },
    2: {Weight.THRICE: (0, 1, 2, 6), Weight.TWICE: (16, 17, 18, 19), Weight.FATAL: (13,)},
    3: {Weight.FOLLOW: (16, 17, 18)},
    4: {Weight.IGNORE: (20, 23, 26, 29), Weight.THRICE: (18, 19, 21, 22, 24, 25, 27, 28)},
}
"""The workflow, by register from 0 on."""
_WEIGHTS = {
    (register, bit): weight
    for register, weights in BITS.items()
    for weight, bits in weights.items()
    for bit in bits
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What the workflow makes of one line."""

    link: int
    weight: Weight
    bits: str
    """Those that are set where they mean something, `1.23 3.16`, registers counted from 1 as NVIDIA does."""


def read(text: str) -> Reading | None:
    """Judge a line's registers, of which those that say nothing leave it unknown; None when it has none."""
    found = DETAIL.search(text)
    if found is None:
        return None
    registers = [int(each, 16) for each in found.groups()[1:]]
    bits = list(_set_bits(registers))
    weight = max((_WEIGHTS.get(each, Weight.UNKNOWN) for each in bits), default=Weight.UNKNOWN)
    return Reading(int(found[1]), weight, " ".join(f"{register + 1}.{bit}" for register, bit in bits))


def _set_bits(registers: list[int]) -> Iterator[tuple[int, int]]:
    return ((reg, bit) for reg in BITS for bit in range(32) if registers[reg] >> bit & 1)
