"""Opening the journal's file: the writer's lock, the schema and its version, SQLite's errors in our words."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sentinel.model.journal import VERSION, NewerVersionError

APPLICATION_ID = 0x53454E54
"""`SENT`, in the SQLite header."""

_PAGE_BYTES = 4096
_HEADER = b"SQLite format 3\0"
_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE decided_by (id INTEGER PRIMARY KEY, policy TEXT, runbooks TEXT, UNIQUE (policy, runbooks));
CREATE TABLE line (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    v INTEGER NOT NULL,
    at REAL NOT NULL,
    decided_by INTEGER NOT NULL REFERENCES decided_by,
    fact TEXT NOT NULL,
    actions TEXT NOT NULL
);
CREATE INDEX line_at ON line (at);
CREATE TABLE snapshot (seq INTEGER PRIMARY KEY, v INTEGER NOT NULL, state TEXT NOT NULL);
CREATE TABLE kept (incident TEXT PRIMARY KEY, base INTEGER NOT NULL, last INTEGER NOT NULL);
PRAGMA application_id = {application_id};
PRAGMA user_version = {version};
COMMIT;
"""
_IDENTITY = """
BEGIN IMMEDIATE;
CREATE TABLE identity (id TEXT NOT NULL);
INSERT INTO identity VALUES (lower(hex(randomblob(3))));
COMMIT;
"""
_RULES = "CREATE TABLE rules (hash TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID"
"""What the hashes in `decided_by` stand for, as JSON."""
_PERMANENT = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
}


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
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF == sqlite3.SQLITE_NOTADB:
            raise JournalError(f"not a journal: {path}", permanent=True) from None
        permanent = code is None or code & 0xFF in _PERMANENT
        raise JournalError(f"journal {path}: {error}", permanent=permanent) from None


def lock_beside(path: Path) -> int:
    """Become the only writer until the descriptor is closed. Raises JournalError when there is one."""
    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise JournalError(f"journal {path}: {error.strerror}: {lock}", permanent=True) from None
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


def connect(path: Path, max_bytes: int | None) -> sqlite3.Connection:
    """Open the file as a journal of this version, creating it where there is none.

    Raises JournalError: not a journal, of a newer version, or unreadable.
    """
    _check_header(path)
    with sqlite_errors(path):
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            _prepare(db, path, max_bytes)
        except BaseException:
            db.close()
            raise
    return db


def _check_header(path: Path) -> None:
    """SQLite would take an empty or missing file for a new journal, and read a foreign one's schema late."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_HEADER))
    except FileNotFoundError:
        return
    except OSError as error:
        raise JournalError(f"not a journal: {path} ({error.strerror})", permanent=True) from None
    if head not in (b"", _HEADER):
        raise JournalError(f"not a journal: {path}", permanent=True)


def _prepare(db: sqlite3.Connection, path: Path, max_bytes: int | None) -> None:
    fresh = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not fresh:
        _check_version(db, path)
    db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that compaction gives space back
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # a commit is on the disk before its actions are performed
    if max_bytes is not None:
        db.execute(f"PRAGMA max_page_count = {max(1, max_bytes // _PAGE_BYTES)}")
    if fresh:
        db.executescript(_TABLES.format(application_id=APPLICATION_ID, version=VERSION))
    for table, creation in (("identity", _IDENTITY), ("rules", _RULES)):  # older journals have neither
        if not db.execute("SELECT count(*) FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]:
            db.executescript(creation)


def _check_version(db: sqlite3.Connection, path: Path) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise JournalError(f"not a journal: {path}", permanent=True)
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise JournalError(f"{path}: {NewerVersionError(version)}", permanent=True)
    if version < VERSION:
        db.execute(f"PRAGMA user_version = {VERSION}")
