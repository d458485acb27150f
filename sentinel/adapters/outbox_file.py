"""Opening an outbox's file: rows that can't be read are dropped, and keep nobody from sending pages.

A page that is lost with it and was not delivered comes back: its action has no outcome in the journal.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any

import msgspec
import structlog

from sentinel import private
from sentinel.adapters import sqlite_file
from sentinel.adapters.outbox_schema import SCHEMA, VERSION
from sentinel.model.action import Page
from sentinel.model.codec import from_plain

MEMORY = ":memory:"
_DAMAGE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR}
"""The last: tables or columns are not there."""
_DAMAGE_RAISES = (sqlite3.DatabaseError, UnicodeError, OverflowError, MemoryError)
_LONGEST_WAIT_S = 86_400.0
"""No channel asks for more patience: a later moment is damage, and would keep a page from people."""

_Count = Annotated[int, msgspec.Meta(ge=-1, le=2**31)]
_When = Annotated[float, msgspec.Meta(ge=0.0, le=1e11)]
_FORMS: dict[str, Any] = {
    "pages": tuple[_Count, str, str, _Count, str, _Count, _Count, _When, str, str],
    "messages": tuple[str, str, str, _Count, _Count, _Count, str, _When],
    "deliveries": tuple[str, str, _Count, _Count],
    "channels": tuple[str, _When | None, _Count, _When, str],
    "primaries": tuple[str],
}
"""What the columns of each table hold."""
_NOT_BEFORE = {"messages": 7, "channels": 3}
"""In which column it stands until when a channel is left alone."""

log = structlog.get_logger(logger_name="outbox")


class OutboxError(Exception):
    """The outbox's file cannot be used; one line says which and why. `damaged`: nor ever again."""

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged


def connect(path: str | PathLike[str]) -> sqlite3.Connection:
    """Open or create a file whose rows are all readable. Raises OutboxError."""
    try:
        return _open(path)
    except _DAMAGE_RAISES as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        raise OutboxError(f"{path}: {error}", damaged=code & 0xFF in _DAMAGE) from error


def read_page(text: str) -> Page:
    """Read a page as it is kept. Raises OutboxError."""
    try:
        page: Page = from_plain(Page, json.loads(text))
    except (ValueError, RecursionError) as error:
        raise OutboxError(f"a page that can't be read: {error}") from None
    return page


def _open(path: str | PathLike[str]) -> sqlite3.Connection:
    if path != MEMORY:
        try:
            sqlite_file.make(Path(path))
        except OSError as error:
            raise OutboxError(str(error)) from None
    db = sqlite3.connect(path, timeout=5, check_same_thread=False)  # whoever has it, one at a time
    try:
        _prepare(path, db)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(path: str | PathLike[str], db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")  # a page must survive a power cut, not only a crash
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise OutboxError(f"{path}: outbox version {version} is newer than {VERSION}")
    if version < VERSION:  # a full disk takes no write, not even of what is there
        db.executescript(f"{SCHEMA} PRAGMA user_version={VERSION};")
    if (found := db.execute("PRAGMA integrity_check(1)").fetchone()) != ("ok",):
        raise sqlite3.DatabaseError(*found)
    db.text_factory = lambda text: text.decode(errors="surrogateescape")
    for table in _FORMS:
        _drop_unreadable(db, table)
    db.text_factory = str


def _drop_unreadable(db: sqlite3.Connection, table: str) -> None:
    if gone := list(_unreadable(db, table)):
        with db:
            db.executemany(f"DELETE FROM {table} WHERE rowid = ?", [row[:1] for row in gone])  # noqa: S608  own names
        log.error("outbox-rows-dropped", table=table, rows=len(gone), first=repr(gone[0][1:])[:500])


def _unreadable(db: sqlite3.Connection, table: str) -> Iterator[Sequence[Any]]:
    latest = time.time() + _LONGEST_WAIT_S
    for row in db.execute(f"SELECT rowid, * FROM {table}"):  # noqa: S608  own names
        try:
            values = msgspec.convert(row[1:], _FORMS[table])
            "".join(value for value in values if isinstance(value, str)).encode()
            late = table in _NOT_BEFORE and values[_NOT_BEFORE[table]] > latest
            if late or (table == "pages" and not _is_itself(values)):
                yield row
        except (ValueError, OutboxError):
            yield row


def _is_itself(row: Sequence[Any]) -> bool:
    """One that tells of another incident than its row would be sent again and again."""
    page = read_page(row[4])
    return (page.id, page.incident, page.revision) == (row[1], row[2], row[3])


def set_aside(path: Path) -> Path:
    """Make room for a new file in the place of a damaged one; gives where that lies."""
    for end in sqlite_file.BESIDE:  # SQLite would take them for the new file's
        path.with_name(path.name + end).unlink(missing_ok=True)
    return private.set_aside(path)
