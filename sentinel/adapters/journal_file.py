"""Opening the journal's file: the writer's lock, the version, SQLite's errors in our words."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from sentinel import private
from sentinel.adapters import journal_note, journal_schema, sqlite_file
from sentinel.model.journal import ACTIONS_ONLY, VERSION, NewerVersionError

_HEADER = b"SQLite format 3\0"
FRESH = ".fresh"
"""How the name of a file ends that is being made."""
HINT = "put a copy of the file back, or move it away: a new one goes on from the job's newest state"
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR, None}
_NOT_ALLOWED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_ANY = (sqlite3.Error, UnicodeError, OverflowError, MemoryError)
"""What Python's sqlite3 raises for a damaged file."""
_WORDS = 200


class JournalError(Exception):
    """The journal can't be read or written; `permanent` says that trying again won't help."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into JournalError. A full or failing disk may come back: not permanent."""
    try:
        yield
    except _ANY as error:
        code = getattr(error, "sqlite_errorcode", None)
        code = None if code is None else code & 0xFF
        if code == sqlite3.SQLITE_NOTADB:
            raise not_a_journal(path) from None
        message = f"journal {path}: {' '.join(str(error).split())[:_WORDS]}"
        if code in _NOT_ALLOWED:
            message += "; look at the permissions of the file and its folder, and at the disk"
        if code in _DAMAGE:
            message += f"; {HINT}"
        raise JournalError(message, permanent=code in _DAMAGE | _NOT_ALLOWED) from None


def not_a_journal(path: Path, why: str = "") -> JournalError:
    """Say that this file is none, or that nobody can see it any more."""
    message = f"not a journal: {path}{why and f' ({why})'}"
    return JournalError(f"{message}; if it was one, {HINT}; else name another file", permanent=True)


def damaged(path: Path, what: str, hint: str = HINT) -> JournalError:
    """Say what in a journal is not as it was written."""
    return JournalError(f"{path} is damaged: {what}; {hint}", permanent=True)


def lock_beside(path: Path) -> int:
    """Become the only writer until the descriptor is closed. Raises JournalError when there is one."""
    try:
        descriptor = private.open_file(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise JournalError(f"journal {path}: {_reason(error)}", permanent=True) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        writer = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise JournalError(f"journal {path} has a writer already (pid {writer})", permanent=True) from None
    with suppress(OSError):  # the lock counts, not the note; the disk may be full
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def see_to(path: Path) -> None:
    """See that nobody else had a hand in the files that its writer is about to open. Raises JournalError."""
    _check_header(path)
    try:
        sqlite_file.see_to(path)
    except OSError as error:
        raise JournalError(f"journal {path}: {_reason(error)}", permanent=True) from None


def _reason(error: OSError) -> str:
    return f"{error.strerror}: {error.filename}"


def connect(path: Path, max_bytes: int | None = None) -> sqlite3.Connection:
    """Open a file of this version, creating it where there is none. Raises JournalError."""
    if not version_of(path):
        _create(path)
    db = open_file(path)
    with sqlite_errors(path):
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # a commit is on the disk before its actions are performed
        if max_bytes is not None:
            db.execute(f"PRAGMA max_page_count = {max(1, max_bytes // journal_schema.PAGE_BYTES)}")
    return db


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a file of this version as it is now, beside its writer. Raises JournalError."""
    version = version_of(path)
    if not version:
        raise JournalError(f"{path}: no such journal", permanent=True)
    if version < ACTIONS_ONLY:
        message = "it is of an older release: a controller of this one rewrites it when it starts"
        raise JournalError(f"{path}: {message}", permanent=True)
    db = open_file(path, read_only=True)
    with sqlite_errors(path):
        db.execute("BEGIN")  # what its writer does from now on is not seen
    return db


def open_file(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a file that is there; text comes as bytes, for damaged text may be none. Raises JournalError."""
    name = f"file:{quote(str(path))}?mode={'ro' if read_only else 'rw'}"
    with sqlite_errors(path):
        db = sqlite3.connect(name, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0)
        db.text_factory = bytes
        db.execute("PRAGMA cell_size_check = ON")  # a damaged page is found where it is read
    return db


def version_of(path: Path) -> int:
    """Give the version of a journal file, 0 where there is none yet. Raises JournalError."""
    _check_header(path)
    if not path.exists() or not path.stat().st_size:
        return 0
    with sqlite_errors(path), closing(open_file(path, read_only=True)) as db:
        if db.execute("PRAGMA application_id").fetchone()[0] != journal_schema.APPLICATION_ID:
            raise not_a_journal(path)
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise JournalError(f"{path}: {NewerVersionError(version)}", permanent=True)
    if version < 1:
        raise damaged(path, "its version is gone")
    return version


def create(path: Path, identity: str = "") -> sqlite3.Connection:
    """Make an empty journal's tables in a new file. Raises JournalError.

    `identity` is an SQL expression, by default one that draws a new one.
    """
    with sqlite_errors(path):
        sqlite_file.remove(path)
        sqlite_file.make(path)
        db = sqlite3.connect(path, isolation_level=None)
        journal_schema.make(db, identity)
    return db


def _create(path: Path) -> None:
    """Make the file under another name first: one that is half made is never taken for a damaged one."""
    for rest in _left_of(path):
        message = f"{path} is gone, but {rest.name} is there: put the file back, or move that away, too"
        raise JournalError(message, permanent=True)
    fresh = path.with_name(path.name + FRESH)
    try:
        with closing(create(fresh)) as db:
            identity = db.execute("SELECT id FROM identity").fetchone()[0].decode()
        journal_note.begin(path, journal_note.Note(identity, 0, 0, 0))
        fresh.replace(path)
    except OSError as error:
        raise JournalError(f"journal {path}: {error}", permanent=False) from None


def _left_of(path: Path) -> Iterator[Path]:
    """Give what says that a journal was here: its log, which SQLite would take for a new one's; its note."""
    for end in sqlite_file.BESIDE:
        rest = path.with_name(path.name + end)
        if rest.exists() and rest.stat().st_size:
            yield rest
    noted = journal_note.read(path)
    if noted and any(noted[1:]):
        yield journal_note.beside(path)


def _check_header(path: Path) -> None:
    """SQLite would take an empty or missing file for a new journal, and read a foreign one's schema late."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # nothing waits for a FIFO
        with os.fdopen(descriptor, "rb") as file:
            head = file.read(len(_HEADER))
    except FileNotFoundError:
        return
    except OSError as error:
        raise not_a_journal(path, error.strerror or "") from None
    if head not in (b"", _HEADER):
        raise not_a_journal(path)


def copy(path: Path, target: Path) -> None:
    """Copy a journal as it is at this moment, beside its writer. Raises JournalError."""
    with (
        sqlite_errors(path),
        closing(connect_to_read(path)) as live,
        closing(sqlite3.connect(target)) as kept,
    ):
        live.backup(kept)
