"""NVIDIA's table for the Xids of NVLink 5 (144-150): one code spans "ignore" and "reset the GPU"."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CODES = range(144, 151)
DETAIL = re.compile(
    r"\s*(?P<unit>[\w/]{1,64})\s+(?P<severity>Fatal|Nonfatal)\b.{0,80}?\bLink (?P<link>-?\d{1,3})\s+"
    r"\((?P<info>0x[0-9a-fA-F]{1,8})\s+(?P<status>0x[0-9a-fA-F]{1,8})\b"
)
"""`NETIR_LINK_EVT Fatal XC0 i0 Link 01 (0x021425c6 0x00000000 …)`, as drivers from R575 on write it."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What the table says about one line."""

    unit: str
    link: int
    action: str
    """`RESET_GPU`, `IGNORE` or `XID_154_EVAL`: the driver says itself what to do, in an Xid 154."""
    investigate: str


@dataclass(frozen=True, slots=True)
class _Row:
    xid: int
    units: frozenset[str]
    """All names that drivers have given it."""
    patterns: tuple[re.Pattern[str], ...]
    """Of the 32 bits of `intrinfo`, in both layouts that drivers have used."""
    status: int
    action: str
    investigate: str


@cache
def _rows() -> tuple[_Row, ...]:
    with Path(__file__).with_name("nvlink5_decode.csv").open(newline="") as file:
        return tuple(
            _Row(
                int(row["xid"]),
                frozenset(row["unit"].split("/")),
                tuple(re.compile(row[f"intrinfo_pattern_{v}"].replace("-", ".")) for v in ("v1", "v2")),
                int(row["error_status"], 16),
                row["immediate_action"],
                row["investigatory_action"],
            )
            for row in csv.DictReader(file)
        )


def resolve(xid: int, text: str) -> Resolution | None:
    """Look up what follows code and process; None when the table does not say, or says two things."""
    found = DETAIL.match(text)
    if found is None:
        return None
    bits, status = f"{int(found['info'], 16):032b}", int(found["status"], 16)
    matching = {(row.action, row.investigate) for row in _matching(xid, found["unit"], bits, status)}
    if len({action for action, _ in matching}) != 1:
        return None
    action, investigate = min(matching)
    return Resolution(found["unit"], int(found["link"]), action, investigate)


def _matching(xid: int, unit: str, bits: str, status: int) -> Iterator[_Row]:
    for row in _rows():
        named = (row.xid, row.status) == (xid, status) and not row.units.isdisjoint(unit.split("/"))
        if named and any(pattern.fullmatch(bits) for pattern in row.patterns):
            yield row
