"""The logbook's search: words in SQLite's full-text index, a file that can be made anew, and filters.

A query is words and filters: `xid 79 node:n17 cause:gpu-lost job:moe since:30d until:2026-12-01`.
"""

import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC
from hashlib import sha256
from pathlib import Path

from sentinel import private
from sentinel.logbook.row import Row
from sentinel.logbook.window import WindowError, moment
from sentinel.model.ids import Instant

NAME = "search.db"
FILTERS = ("node", "cause", "job", "since", "until")
MOST_CHARS = 256 * 1024
"""As much of an entry as is searched; the stacks of thousands of ranks are longer."""
_BUSY_S = 5.0
_FILTER = re.compile(rf"({'|'.join(FILTERS)}):(.*)")
_TABLES = """
CREATE TABLE IF NOT EXISTS known (
    id INTEGER PRIMARY KEY, incident TEXT UNIQUE NOT NULL, stamp BLOB NOT NULL
);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (text);
"""
"""`stamp` says what of an incident is in the index."""
_FIND = "SELECT incident FROM words JOIN known ON id = words.rowid WHERE words MATCH ?"


class QueryError(ValueError):
    """A filter makes no sense: one line says which."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for; an empty field asks for nothing."""

    words: tuple[str, ...] = ()
    """All of them have to be there; each may go on."""
    node: str = ""
    """Blamed, or evicted."""
    cause: str = ""
    job: str = ""
    since: Instant = float("-inf")
    until: Instant = float("inf")
    """Opened before."""

    def fits(self, row: Row) -> bool:
        """Say whether a row passes the filters."""
        nodes = {*row.evicted, *(node for node, _, _ in row.suspects)}
        causes = {row.cause, *(other.partition(":")[0].split(" ")[0] for other in row.others)}
        return (
            (not self.node or self.node in nodes)
            and (not self.cause or self.cause in causes)
            and (not self.job or self.job == row.job)
            and self.since <= row.opened < self.until
        )


def parse(text: str, now: Instant) -> Query:
    """Read what somebody typed. Raises QueryError."""
    words, given = list[str](), dict[str, str]()
    for word in text.split():
        found = _FILTER.fullmatch(word)
        if found is None:
            words.append(word)
        elif not found[2]:
            raise QueryError(f"{word}: expected something after it, such as {found[1]}:{_LIKE[found[1]]}")
        else:
            given[found[1]] = found[2]
    at = {name: _moment(name, given.pop(name), now) for name in ("since", "until") if name in given}
    return Query(tuple(words), **given, **at)  # type: ignore[arg-type]


_LIKE = {"node": "n17", "cause": "gpu-lost", "job": "moe", "since": "30d", "until": "2026-12-01"}


def _moment(name: str, text: str, now: Instant) -> Instant:
    try:
        return moment(text, now, UTC)
    except WindowError as error:
        raise QueryError(f"{name}:{text}: {error}") from None


class Index:
    """The words of all entries. Calls may come from any thread, and each has its turn."""

    def __init__(self, folder: Path) -> None:
        self._path, self._turn = folder / NAME, threading.Lock()
        self._memory: sqlite3.Connection | None = None
        """Where the disk takes no file."""

    def matching(
        self, words: Sequence[str], rows: Iterable[Row], entry: Callable[[str], str | None]
    ) -> set[str]:
        """Name the incidents whose entries have all words; what has changed is read anew first."""
        asked = " ".join(filter(None, map(_quoted, words)))
        if not asked:
            return {row.incident for row in rows}
        every = list(rows)
        with self._turn:
            try:
                return self._asked(asked, every, entry)
            except (OSError, sqlite3.Error) as error:
                import structlog  # takes as long as a search

                structlog.get_logger(logger_name="logbook").warning("search-made-anew", error=str(error))
                self._remove()
            try:
                return self._asked(asked, every, entry)
            except (OSError, sqlite3.Error):  # a full disk: it is made for this process alone
                self._memory = sqlite3.connect(":memory:", check_same_thread=False)
            try:
                return self._asked(asked, every, entry)
            except sqlite3.Error as error:  # a Python whose SQLite has no FTS5
                raise QueryError(f"no word can be searched for: {error}") from None

    def _asked(self, asked: str, rows: list[Row], entry: Callable[[str], str | None]) -> set[str]:
        if self._memory is not None:
            return _search(self._memory, asked, rows, entry)
        private.make_folder(self._path.parent)
        os.close(private.open_file(self._path, os.O_RDWR | os.O_CREAT))  # ours alone, and no link
        with closing(sqlite3.connect(self._path, timeout=_BUSY_S)) as db:
            return _search(db, asked, rows, entry)

    def _remove(self) -> None:
        for path in self._path.parent.glob(f"{NAME}*"):
            with suppress(OSError):
                path.unlink()


def _search(
    db: sqlite3.Connection, asked: str, rows: list[Row], entry: Callable[[str], str | None]
) -> set[str]:
    with db:
        db.executescript(_TABLES)
        _renew(db, rows, entry)
    found = db.execute(
        "SELECT incident FROM words JOIN known ON id = words.rowid WHERE words MATCH ?", [asked]
    )
    return {str(incident) for (incident,) in found}


def _renew(db: sqlite3.Connection, rows: list[Row], entry: Callable[[str], str | None]) -> None:
    """Bring the index to what the logbook has now."""
    known = {incident: (number, stamp) for number, incident, stamp in db.execute("SELECT * FROM known")}
    stamps = {row.incident: sha256(repr(row).encode(errors="replace")).digest()[:16] for row in rows}
    for incident in known.keys() - stamps.keys():
        _forget(db, known[incident][0])
    for row in rows:
        before = known.get(row.incident)
        if before is not None and before[1] == stamps[row.incident]:
            continue
        if before is not None:
            _forget(db, before[0])
        values = (row.incident, stamps[row.incident])
        number = db.execute("INSERT INTO known (incident, stamp) VALUES (?, ?)", values).lastrowid
        text = f"{_of_row(row)} {(entry(row.incident) or '')[:MOST_CHARS]}"
        text = text.encode(errors="replace").decode()
        db.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (number, text))


def _forget(db: sqlite3.Connection, number: int) -> None:
    db.execute("DELETE FROM words WHERE rowid = ?", (number,))
    db.execute("DELETE FROM known WHERE id = ?", (number,))


def _of_row(row: Row) -> str:
    parts = (row.incident, row.cause, row.title, row.where, row.job, row.stage, row.words)
    return " ".join((*parts, *row.evicted, *row.others, *row.judged))


def _quoted(word: str) -> str:
    """Give a word as FTS5 takes it, whatever is in it; nothing for one without a letter or a digit."""
    if not any(each.isalnum() for each in word):
        return ""
    return '"' + word.replace("\0", " ").replace('"', '""') + '"*'
