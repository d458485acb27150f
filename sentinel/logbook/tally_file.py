"""The tally on disk: a line of JSON for each entry, beside the logbook's index."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from sentinel import private
from sentinel.logbook.tally import Entry, merged
from sentinel.model.ids import Instant

NAME = "tally.jsonl"
_LONGEST = 1 << 20
"""Bytes of a line that are looked at."""
_TAIL = 1 << 16
"""Bytes at the end in which the newest spans stand: those of a hundred jobs."""
_DECODER = msgspec.json.Decoder(Entry)


def append(folder: Path, entries: Iterable[Entry]) -> None:
    """Add entries at the end. Raises OSError when the disk won't take them."""
    text = b"".join(msgspec.json.encode(each) + b"\n" for each in entries)
    if not text:
        return
    with os.fdopen(private.open_file(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            text = text if file.read(1) == b"\n" else b"\n" + text  # after a torn line
        file.write(text)


def read(folder: Path) -> list[Entry]:
    """Give all entries, spans that go on joined; what is torn or of another release is left out.

    Raises NotPrivateError for what is no file of ours.
    """
    return merged(_entries(folder, 0))


def end_of(folder: Path) -> Instant:
    """Say until when they tell; 0 for none. Raises NotPrivateError for what is no file of ours."""
    return max((getattr(each, "end", 0.0) for each in _entries(folder, _TAIL)), default=0.0)


def _entries(folder: Path, tail: int) -> Iterator[Entry]:
    """Give the entries that can be read, or those among the last bytes."""
    try:
        descriptor = private.open_file(folder / NAME, os.O_RDONLY)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "rb") as file:
        if tail:
            file.seek(max(0, file.seek(0, os.SEEK_END) - tail))
        while line := file.readline(_LONGEST):
            with suppress(ValueError, RecursionError):
                yield _DECODER.decode(line)
