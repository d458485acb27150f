"""Asks ranks what torch's flight recorder says of their collectives, through files beside their records."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from sentinel import private
from sentinel.heartbeat.flight import ASKED, SAID
from sentinel.model.flight import MOST_GROUPS, Flight
from sentinel.model.ids import Seconds

WAIT_S: Seconds = 0.7
"""A beat thread looks five times a second, and a dump takes milliseconds: who lives has answered by then."""
_LOOK_S: Seconds = 0.02
_LARGEST = 1 << 16
Said = list[tuple[str, str, int, bool]]


def ask(records: Mapping[int, Path]) -> None:
    """Ask each rank whose record lies here."""
    for record in records.values():
        with suppress(OSError):
            record.with_suffix(SAID).unlink(missing_ok=True)  # of somebody who was asked before
            private.write(record.with_suffix(ASKED), b"")


def take(records: Mapping[int, Path], until: Seconds) -> Iterator[Flight]:
    """Give what ranks say by then; one that gives no answer, or none that can be read, has said nothing."""
    missing = dict(records)
    while missing:
        for rank, record in list(missing.items()):
            if record.with_suffix(SAID).exists():
                del missing[rank]
                yield from _read(rank, record.with_suffix(SAID))
        if not missing or time.monotonic() >= until:
            break
        time.sleep(_LOOK_S)
    for record in records.values():
        for suffix in (ASKED, SAID):
            with suppress(OSError):
                record.with_suffix(suffix).unlink(missing_ok=True)


def _read(rank: int, path: Path) -> Iterator[Flight]:
    try:
        descriptor = private.open_file(path, os.O_RDONLY)
        with os.fdopen(descriptor, "rb") as file:
            said = msgspec.json.decode(file.read(_LARGEST), type=Said)
    except (OSError, msgspec.DecodeError, RecursionError):
        return
    for group, what, number, is_in in said[:MOST_GROUPS]:
        if 0 <= number < 1 << 53:
            yield Flight(rank, group, what, number, is_in)
