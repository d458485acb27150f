"""A journal of an older release is read once and rewritten; the old file stays beside the new one."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sentinel.adapters.journal_file import JournalError, create, open_file, sqlite_errors, version_of
from sentinel.adapters.journal_v1 import Old, copy
from sentinel.adapters.sqlite_file import remove, sync
from sentinel.model.journal import ACTIONS_ONLY, VERSION

OLD, NEW = ".v1", ".new"
"""How the names of the file that is kept, and of the one that is being written, end."""


def finish(path: Path) -> bool:
    """Rewrite an older journal, or end a rewriting that was broken off; says whether. Raises JournalError.

    The new file takes the place of the old one only when it is complete and on the disk.
    """
    new, old = path.with_name(path.name + NEW), path.with_name(path.name + OLD)
    try:
        broken_off = not path.exists() and new.exists() and old.exists()
        if broken_off:
            new.replace(path)
        remove(new)
        version = version_of(path)
        if version == ACTIONS_ONLY:  # its lines are read as they are, and others follow
            _mark(path)
        if version in (0, ACTIONS_ONLY, VERSION):
            return broken_off
        _rewrite(path, new)
        path.replace(old)
        new.replace(path)
        sync(path.parent)
    except OSError as error:
        remove(new)
        raise JournalError(_refused(path, error.strerror or str(error)), permanent=False) from None
    return True


def _mark(path: Path) -> None:
    """Keep releases away that can't read what will be written."""
    with sqlite_errors(path), closing(open_file(path)) as db:
        db.execute(f"PRAGMA user_version = {VERSION}")


def _rewrite(path: Path, new: Path) -> None:
    try:
        with sqlite_errors(path), closing(sqlite3.connect(path, isolation_level=None)) as old:
            old.execute("PRAGMA journal_mode = DELETE")  # what lies in the log beside it moves in
            _fill(path, Old(old), new)
        sync(new)
        sync(new.parent)
    except BaseException:
        remove(new)
        raise


def _fill(path: Path, old: Old, new: Path) -> None:
    """Write the new file without a log of its own: one that is not complete is made again."""
    with closing(create(new, f"'{old.identity()}'" if old.identity() else "")) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN")
        try:
            copy(old, db)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            hint = "move it away: a new one goes on from the job's newest state"
            raise JournalError(f"{_refused(path, reason)}; {hint}", permanent=True) from None
        db.execute("COMMIT")


def _refused(path: Path, why: str) -> str:
    return f"{path} is of an older release and can't be rewritten: {why}"
