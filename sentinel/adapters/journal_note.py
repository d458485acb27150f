"""A note beside the journal of how far it was written.

SQLite takes a damaged log (`-wal`) for one that a power cut tore, and silently goes on without its end. The
note is written after each commit and never waits for the disk, so it may be behind the journal, after a power
cut, but never ahead of it.
"""

import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

END = ".head"
"""How its name ends."""


class Note(NamedTuple):
    """How far a journal was written."""

    identity: str
    last: int
    """The newest line."""
    snapshot: int
    dropped: int
    """The last line that compaction dropped."""


class Notebook:
    """Where a journal's one writer takes the note down. A disk on which it can't costs the note alone."""

    def __init__(self, path: Path) -> None:
        self._descriptor = -1
        with suppress(OSError):
            self._descriptor = os.open(beside(path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, note: Note) -> None:
        """Put this note in the place of the one before."""
        text = "{} {} {} {}".format(*note).encode()
        with suppress(OSError):
            os.pwrite(self._descriptor, b"%-90b %b\n" % (text, _sum_of(text)), 0)

    def close(self) -> None:
        """Leave the note behind."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def beside(path: Path) -> Path:
    """Give the note's file."""
    return path.with_name(path.name + END)


def read(path: Path) -> Note | None:
    """Read what was noted last; None where nothing was, or nothing that can be trusted."""
    try:
        *text, total = beside(path).read_bytes().split()
        identity, last, snapshot, dropped = text
        if total == _sum_of(b" ".join(text)):
            return Note(identity.decode(), int(last), int(snapshot), int(dropped))
    except (OSError, ValueError):
        pass
    return None


def _sum_of(text: bytes) -> bytes:
    return blake2b(text, digest_size=4).hexdigest().encode()
