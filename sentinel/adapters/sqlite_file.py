"""A database's files, seen to before SQLite opens them by their names."""

import os
from contextlib import suppress
from pathlib import Path

from sentinel import private

BESIDE = ("-wal", "-shm", "-journal")
"""How the names of what SQLite keeps beside a database end; it makes them with the database's own mode."""


def make(path: Path) -> None:
    """Make an empty database that only we can read, or see to the one that is there. Raises as `see_to`."""
    os.close(private.open_file(path, os.O_RDWR | os.O_CREAT))
    see_to(path)


def see_to(path: Path) -> None:
    """See that a database and what lies beside it are regular files of ours; others can't read them any more.

    Its folder is ours alone, so nobody exchanges them before SQLite opens them. Raises NotPrivateError for a
    link, a FIFO, another user's file or folder; OSError otherwise.
    """
    for end in ("", *BESIDE):
        with suppress(FileNotFoundError):
            os.close(private.open_file(path.with_name(path.name + end), os.O_RDONLY))


def remove(path: Path) -> None:
    """Remove a database with what SQLite keeps beside it."""
    for end in ("", *BESIDE):
        path.with_name(path.name + end).unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
