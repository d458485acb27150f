"""The rows of a journal's file, each checked as it is read: what does not fit is an error, never content."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sentinel.adapters import journal_chain
from sentinel.adapters.journal_file import JournalError, damaged, sqlite_errors
from sentinel.adapters.journal_schema import LISTS
from sentinel.model.codec import CodecError
from sentinel.model.ids import Instant
from sentinel.model.journal import Line, from_body

_READ = 1_000
"""Lines read per query, so that no read transaction stays open while a caller thinks."""

_LINES = """SELECT seq, at, hashes, sum, body FROM line LEFT JOIN decided_by ON decided_by = id
WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3"""
_ALL = """SELECT seq, at, hashes, sum, body FROM (
SELECT * FROM copied WHERE seq > ?1 AND seq <= ?2 UNION ALL SELECT * FROM line WHERE seq > ?1 AND seq <= ?2
) LEFT JOIN decided_by ON decided_by = id ORDER BY seq LIMIT ?3"""
_SUMS = (
    "SELECT sum FROM chain WHERE what = 'tail' AND seq = ?",
    "SELECT sum FROM line WHERE seq = ?",
    "SELECT head FROM snapshot WHERE seq = ?",
)


class End(NamedTuple):
    """One end of the chain."""

    seq: int
    at: Instant
    sum: bytes


class Rows:
    """An open journal file. Calls may come from any thread, and each has its turn."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path, self._db = path, db
        self._turnstile, self._mutex = threading.Lock(), threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[sqlite3.Connection]:
        """Have the connection alone.

        A thread that waits for it holds the turnstile, so that who has just had it can't take it again first.
        """
        with self._turnstile:
            self._mutex.acquire()
        try:
            with sqlite_errors(self.path):
                yield self._db
        finally:
            self._mutex.release()

    @contextmanager
    def commit(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is on the disk when this returns, or none of it."""
        with self.turn() as db:
            try:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def query(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Fetch rows as they are, unchecked."""
        with self.turn() as db:
            return db.execute(query, values).fetchall()

    def lines(self, after: int, last: int, *, copied: bool = False) -> Iterator[tuple[Line, Instant]]:
        """Read every line `after < seq <= last` with the journal's time then; copied ones, too, if asked."""
        before = self.sum_at(after) if after < last else b""
        while after < last:
            rows = self.query(_ALL if copied else _LINES, (after, last, _READ))
            if not rows:
                raise self._missing(after + 1)
            for row in rows:
                yield self._line(row, after + 1, before), row[1]
                after, before = row[0], row[3]

    def _line(self, row: tuple[Any, ...], seq: int, before: bytes) -> Line:
        number, at, by, total, body = row
        if number != seq:
            raise self._missing(seq)
        whole = isinstance(at, float) and isinstance(by, bytes) and isinstance(body, bytes)
        if not whole or total != journal_chain.of_line(before, seq, at, by, body):
            raise self.damaged(f"line {seq} does not fit the one before it")
        try:
            policy, _, books = by.decode().partition(" ")
            fact, decisions, is_whole = from_body(body)
            return Line(seq, fact, decisions, policy, books, is_whole)
        except (CodecError, UnicodeError) as error:
            raise JournalError(f"{self.path}, line {seq}: {error}", permanent=True) from None

    def snapshot(self, seq: int) -> bytes | None:
        """Give the encoded state after a line; None if none was kept."""
        rows = self.query("SELECT at, head, sum, body FROM snapshot WHERE seq = ?", (seq,))
        if not rows:
            return None
        at, head, total, body = rows[0]
        whole = isinstance(head, bytes) and isinstance(body, bytes)
        if not whole or total != journal_chain.of_snapshot(head, seq, at, body):
            raise self.damaged(f"snapshot {seq} is not as it was written")
        return bytes(body)

    def sum_at(self, seq: int) -> bytes:
        """Return the checksum of a line, though the line itself may have been dropped."""
        for query in _SUMS:
            if rows := self.query(query, (seq,)):
                return bytes(rows[0][0])
        if seq == 0:
            return journal_chain.root(self.identity())
        raise self._missing(seq)

    def end(self, what: str) -> End:
        """Return the newest line (`head`) or the last one that was dropped (`tail`)."""
        with self.turn() as db:
            return self.end_in(db, what)

    def end_in(self, db: sqlite3.Connection, what: str) -> End:
        """Return an end in a turn that one has."""
        row = db.execute("SELECT seq, at, sum FROM chain WHERE what = ?", (what,)).fetchone()
        if not row or [type(value) for value in row] != [int, float, bytes]:
            raise self.damaged(f"the {what} of its chain is gone")
        return End(*row)

    def identity(self) -> str:
        """Return what no other journal has: it was drawn when the file was made."""
        return str(self.query(LISTS["identity"])[0][0], "ascii", "replace")

    def check(self) -> None:
        """Find at once what is missing at the ends and in the short lists; the rest where it is read."""
        for what, query in LISTS.items():
            rows = self.query(query)
            total = (len(rows), 0.0, journal_chain.of_list(rows))
            if self.query("SELECT seq, at, sum FROM chain WHERE what = ?", (what,)) != [total]:
                raise self.damaged(f"its list of {what} entries is not as it was written")
        head, tail = self.end("head"), self.end("tail")
        newest = self.query("SELECT seq, at, sum FROM line ORDER BY seq DESC LIMIT 1")
        if (newest[0] if newest else tail) != head:
            raise self.damaged(f"line {head.seq} is not the newest one")
        oldest = self.query("SELECT seq FROM line ORDER BY seq LIMIT 1")
        if oldest and oldest[0][0] != tail.seq + 1:
            raise self.damaged(f"line {tail.seq + 1} is not the oldest one")
        for _ in self.lines(tail.seq, min(tail.seq + 1, head.seq)):
            pass

    def damaged(self, what: str) -> JournalError:
        """Say what is not as it was written."""
        return damaged(self.path, what)

    def _missing(self, seq: int) -> JournalError:
        if seq <= self.end("tail").seq:
            return JournalError(f"{self.path}: line {seq} was dropped by compaction", permanent=True)
        return self.damaged(f"line {seq} is gone")
