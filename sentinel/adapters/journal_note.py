"""A note beside the journal of how far it was written.

SQLite takes a damaged log (`-wal`) for one that a power cut tore, and silently goes on without its end. The
note is written after each commit and never waits for the disk, so it may be behind the journal, after a power
cut, but never ahead of it. It is there before the journal is: where it is gone, somebody took it away.
"""

import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sentinel import private
from sentinel.adapters.sqlite_file import sync

END = ".head"
"""How its name ends."""
_LONGEST = 4096
"""Bytes of it that are looked at."""


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
        self._path, self._descriptor = path, -1

    def write(self, note: Note) -> None:
        """Put this note in the place of the one before; the first one is on the disk when this returns."""
        with suppress(OSError):
            if self._descriptor < 0:
                begin(self._path, note)
                self._descriptor = private.open_file(beside(self._path), os.O_WRONLY)
            else:
                os.pwrite(self._descriptor, _text_of(note), 0)

    def close(self) -> None:
        """Leave the note behind."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def begin(path: Path, note: Note) -> None:
    """Write the note to a file of its own, so that from here on there is always one. Raises OSError."""
    private.write(beside(path), _text_of(note), durable=True)
    sync(path.parent)


def beside(path: Path) -> Path:
    """Give the note's file."""
    return path.with_name(path.name + END)


def read(path: Path) -> Note | None:
    """Read what was noted last; None where nothing was, or nothing that can be trusted."""
    with suppress(OSError, ValueError), _opened(beside(path)) as file:
        *text, total = file.read(_LONGEST).split()
        identity, last, snapshot, dropped = text
        if total == _sum_of(b" ".join(text)):
            return Note(identity.decode(), int(last), int(snapshot), int(dropped))
    return None


def _opened(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def _text_of(note: Note) -> bytes:
    text = "{} {} {} {}".format(*note).encode()
    return b"%-90b %b\n" % (text, _sum_of(text))


def _sum_of(text: bytes) -> bytes:
    return blake2b(text, digest_size=4).hexdigest().encode()
