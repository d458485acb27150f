"""Opening the journal's file: the writer's lock, the schema and its version, SQLite's errors in our words."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from sentinel.adapters import journal_chain
from sentinel.model.journal import VERSION, NewerVersionError

APPLICATION_ID = 0x53454E54
"""`SENT`, in the SQLite header."""

_PAGE_BYTES = 4096
_HEADER = b"SQLite format 3\0"
_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE identity (id TEXT NOT NULL);
INSERT INTO identity VALUES ({identity});
CREATE TABLE rules (hash TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE decided_by (id INTEGER PRIMARY KEY, policy TEXT, runbooks TEXT, UNIQUE (policy, runbooks));
CREATE TABLE line (
    seq INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    decided_by INTEGER NOT NULL REFERENCES decided_by,
    body BLOB NOT NULL,
    sum BLOB NOT NULL
);
CREATE INDEX line_at ON line (at);
CREATE TABLE snapshot (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, head BLOB NOT NULL, body BLOB NOT NULL, sum BLOB NOT NULL
);
CREATE TABLE chain (what TEXT PRIMARY KEY, seq INTEGER NOT NULL, sum BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE copied (
    incident TEXT NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL, policy TEXT, runbooks TEXT,
    body BLOB NOT NULL, sum BLOB NOT NULL, PRIMARY KEY (incident, seq)
) WITHOUT ROWID;
PRAGMA application_id = {application_id};
PRAGMA user_version = {version};
COMMIT;
"""
"""`rules`: what the hashes in `decided_by` stand for, as JSON. `chain`: the newest line (`head`) and the last
one that was dropped (`tail`) with their checksums. `copied`: what the recordings of open incidents need of
lines that were dropped; a row without policy is the state before the first of them."""
FRESH_IDENTITY = "lower(hex(randomblob(3)))"
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


def connect(path: Path, max_bytes: int | None = None) -> sqlite3.Connection:
    """Open a file of this version, creating it where there is none. Raises JournalError."""
    with sqlite_errors(path):
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            _prepare(db, max_bytes)
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


def _prepare(db: sqlite3.Connection, max_bytes: int | None) -> None:
    fresh = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that compaction gives space back
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # a commit is on the disk before its actions are performed
    if max_bytes is not None:
        db.execute(f"PRAGMA max_page_count = {max(1, max_bytes // _PAGE_BYTES)}")
    db.execute("PRAGMA cell_size_check = ON")  # a damaged page is found where it is read
    if fresh:
        create(db, FRESH_IDENTITY)


def create(db: sqlite3.Connection, identity: str) -> None:
    """Make the tables of an empty file; `identity` is an SQL expression."""
    db.executescript(_TABLES.format(application_id=APPLICATION_ID, version=VERSION, identity=identity))
    (name,) = db.execute("SELECT id FROM identity").fetchone()
    ends = [(what, 0, journal_chain.root(name)) for what in ("head", "tail")]
    db.executemany("INSERT INTO chain VALUES (?, ?, ?)", ends)


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a file of this version only to read it, beside its writer. Raises JournalError."""
    if version_of(path) != VERSION:
        told = "is of an older release: start this one on it once" if path.exists() else "no such journal"
        raise JournalError(f"{path}: {told}", permanent=True)
    with sqlite_errors(path):
        return sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )


def copy(path: Path, target: Path) -> None:
    """Copy a journal as it is at this moment, beside its writer. Raises JournalError."""
    with (
        sqlite_errors(path),
        closing(connect_to_read(path)) as live,
        closing(sqlite3.connect(target)) as kept,
    ):
        live.backup(kept)


def version_of(path: Path) -> int:
    """Give the version of a journal file, 0 where there is none yet. Raises JournalError."""
    _check_header(path)
    if not path.exists() or not path.stat().st_size:
        return 0
    with sqlite_errors(path), closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise JournalError(f"not a journal: {path}", permanent=True)
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise JournalError(f"{path}: {NewerVersionError(version)}", permanent=True)
    return version
