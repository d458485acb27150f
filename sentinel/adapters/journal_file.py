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
CREATE TABLE decided_by (id INTEGER PRIMARY KEY, hashes TEXT NOT NULL);
CREATE TABLE line (
    seq INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    decided_by INTEGER NOT NULL,
    sum BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE copied (
    seq INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    decided_by INTEGER NOT NULL,
    sum BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE snapshot (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, head BLOB NOT NULL, sum BLOB NOT NULL, body BLOB NOT NULL
);
CREATE TABLE chain (what TEXT PRIMARY KEY, seq INTEGER NOT NULL, at REAL NOT NULL, sum BLOB NOT NULL);
PRAGMA application_id = {application_id};
PRAGMA user_version = {version};
COMMIT;
"""
"""`at` never falls from line to line. `rules`: what the hashes in `decided_by` stand for, as JSON. `copied`:
lines that were dropped and that the recordings of open incidents need. `chain`: the newest line (`head`) and
the last one that was dropped (`tail`), and for each short list its length and checksum. What is long stands
last in a row, so that the rest is read without it."""
LISTS = {
    "identity": "SELECT id FROM identity",
    "rules": "SELECT hash FROM rules ORDER BY hash",
    "snapshot": "SELECT seq, at, head, sum FROM snapshot ORDER BY seq",
}
"""What the chain of lines does not hold together: each has a checksum of its own in `chain`."""
_DRAWN = "lower(hex(randomblob(3)))"
FRESH = ".fresh"
"""How the name of a file ends that is being made."""
HINT = "put a copy of the file back, or move it away: a new one goes on from the job's newest state"
_PERMANENT = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_ERROR,
}
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
    except (
        sqlite3.Error,
        UnicodeError,
        OverflowError,
        MemoryError,
    ) as error:  # of a damaged file: any of them
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF == sqlite3.SQLITE_NOTADB:
            raise not_a_journal(path) from None
        told = f"journal {path}: {' '.join(str(error).split())[:_WORDS]}"
        if code is None or code & 0xFF in _PERMANENT:
            raise JournalError(f"{told}; {HINT}", permanent=True) from None
        raise JournalError(told, permanent=False) from None


def not_a_journal(path: Path, why: str = "") -> JournalError:
    """Say that this file is none, or that nobody can see it any more."""
    told = f"not a journal: {path}{why and f' ({why})'}"
    return JournalError(f"{told}; if it was one, {HINT}; else name another file", permanent=True)


def damaged(path: Path, what: str, hint: str = HINT) -> JournalError:
    """Say what in a journal is not as it was written."""
    return JournalError(f"{path} is damaged: {what}; {hint}", permanent=True)


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
    if not version_of(path):
        _create(path)
    db = open_file(path)
    with sqlite_errors(path):
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # a commit is on the disk before its actions are performed
        if max_bytes is not None:
            db.execute(f"PRAGMA max_page_count = {max(1, max_bytes // _PAGE_BYTES)}")
    return db


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a file of this version as it is now, beside its writer. Raises JournalError."""
    version = version_of(path)
    if not version:
        raise JournalError(f"{path}: no such journal", permanent=True)
    if version < VERSION:
        told = "it is of an older release: a controller of this one rewrites it when it starts"
        raise JournalError(f"{path}: {told}", permanent=True)
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
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
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
    remove(path)
    with sqlite_errors(path):
        db = sqlite3.connect(path, isolation_level=None)
        db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that compaction gives space back
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(
            _TABLES.format(application_id=APPLICATION_ID, version=VERSION, identity=identity or _DRAWN)
        )
        (name,) = db.execute("SELECT id FROM identity").fetchone()
        db.text_factory = bytes
        ends = [(what, 0, 0.0, journal_chain.root(name)) for what in ("head", "tail")]
        db.executemany("INSERT INTO chain VALUES (?, ?, ?, ?)", ends)
        for each in LISTS:
            sum_up(db, each)
    return db


def sum_up(db: sqlite3.Connection, what: str) -> None:
    """Renew the checksum of a short list."""
    rows = db.execute(LISTS[what]).fetchall()
    db.execute(
        "INSERT OR REPLACE INTO chain VALUES (?, ?, 0.0, ?)", (what, len(rows), journal_chain.of_list(rows))
    )


def remove(path: Path) -> None:
    """Remove a file that was being made, with what SQLite keeps beside it."""
    for end in ("", *_BESIDE):
        path.with_name(path.name + end).unlink(missing_ok=True)


_BESIDE = ("-wal", "-shm", "-journal")


def _create(path: Path) -> None:
    """Make the file under another name first: one that is half made is never taken for a damaged one."""
    for end in _BESIDE:  # SQLite would take them for the new file's
        rest = path.with_name(path.name + end)
        if rest.exists() and rest.stat().st_size:
            told = f"{path} is gone, but {rest.name} is there: put the file back, or move that away, too"
            raise JournalError(told, permanent=True)
    fresh = path.with_name(path.name + FRESH)
    try:
        create(fresh).close()
        fresh.replace(path)
    except OSError as error:
        raise JournalError(f"journal {path}: {error}", permanent=False) from None


def _check_header(path: Path) -> None:
    """SQLite would take an empty or missing file for a new journal, and read a foreign one's schema late."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_HEADER))
    except FileNotFoundError:
        return
    except OSError as error:
        raise not_a_journal(path, error.strerror or "") from None
    if head not in (b"", _HEADER):
        raise not_a_journal(path)
