"""The journal on disk: facts, and the actions decided from them, committed together in SQLite."""

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from sentinel.adapters.journal_file import JournalError, connect, lock_beside, sqlite_errors
from sentinel.model.action import Action
from sentinel.model.fact import Fact
from sentinel.model.ids import Instant
from sentinel.model.incident import Incident
from sentinel.model.journal import VERSION, Line, NewerVersionError, Recording, line_from_plain, line_to_plain
from sentinel.model.wire import Plain, WireError

_BATCH = 5_000
"""Lines, or pages, that compaction frees per commit: an append waits for one batch at most."""
_READ = 1_000
"""Lines read per query, so that no read transaction stays open while a caller thinks."""

_INSERT = "INSERT INTO line (v, at, decided_by, fact, actions) VALUES (?, ?, ?, ?, ?)"
_SELECT = """SELECT seq, v, fact, actions, policy, runbooks FROM line JOIN decided_by ON decided_by = id
WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"""
_DELETE = """DELETE FROM line WHERE seq IN (SELECT seq FROM line WHERE seq <= ? AND (at < ? OR seq <= ?)
AND NOT EXISTS (SELECT 1 FROM kept WHERE line.seq > base AND line.seq <= last) LIMIT ?)"""
_DELETE_SNAPSHOTS = """DELETE FROM snapshot WHERE seq < (SELECT max(seq) FROM snapshot)
AND seq NOT IN (SELECT base FROM kept)"""


class Loaded(NamedTuple):
    """What a controller starts from."""

    snapshot: Plain | None
    snapshot_seq: int
    """0 without a snapshot."""
    tail: Iterator[Line]
    """The lines after it, oldest first."""


class Journal:
    """The one writer of a journal file. Calls may come from any thread; each is one commit or nothing."""

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int | None = None) -> None:
        """Open or create. Raises JournalError: not a journal, a newer one, or another writer has it.

        `max_bytes` is the size beyond which appends fail as if the disk were full.
        """
        self.path = Path(path)
        self._mutex = threading.Lock()
        self._decided_by: dict[tuple[str, str], int] = {}
        self._lock = lock_beside(self.path)
        try:
            self._db = connect(self.path, max_bytes)
            self.snapshot_seq = self._newest_snapshot()
            self.last_seq = self._newest_line()
            self.id: str = self._query("SELECT id FROM identity", ())[0][0]
            """Drawn when the file was made: no other journal has it."""
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Release the file for another writer."""
        with suppress(sqlite3.Error):
            self._db.close()
        os.close(self._lock)

    @property
    def since_snapshot(self) -> int:
        """Lines after the newest snapshot: what a restart would have to fold."""
        return self.last_seq - self.snapshot_seq

    def append(self, fact: Fact, actions: Sequence[Action], policy_hash: str, runbooks_hash: str) -> int:
        """Commit a fact with the actions decided from it; gives its sequence number.

        Raises JournalError, and then nothing of it was written.
        """
        return self.append_many([(fact, actions)], policy_hash, runbooks_hash)[0]

    def append_many(
        self,
        batch: Sequence[tuple[Fact, Sequence[Action]]],
        policy_hash: str,
        runbooks_hash: str,
        contents: Mapping[str, Plain] | None = None,
    ) -> list[int]:
        """Commit several lines at once, all or none; gives their sequence numbers in order.

        `contents` says what the hashes stand for; it is written with the first line that they decided.
        """
        rows = [_row(fact, tuple(actions)) for fact, actions in batch]
        seqs: list[int] = []
        with self._commit() as db:
            by = self._decided_by_id(db, policy_hash, runbooks_hash, contents or {})
            for at, fact_text, actions_text in rows:
                cursor = db.execute(_INSERT, (VERSION, at, by, fact_text, actions_text))
                seqs.append(cursor.lastrowid or 0)
        self.last_seq = seqs[-1] if seqs else self.last_seq
        return seqs

    def save_snapshot(self, seq: int, state: Plain) -> None:
        """Keep the state's plain form after line `seq`; a restart folds only what comes later."""
        row = (seq, VERSION, _text(state))
        with self._commit() as db:
            db.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?)", row)
        self.snapshot_seq = max(seq, self.snapshot_seq)

    def load(self) -> Loaded:
        """Give the newest snapshot and the lines after it, oldest first."""
        snapshot = self._snapshot(self.snapshot_seq)
        return Loaded(snapshot, self.snapshot_seq, self.lines(after=self.snapshot_seq))

    def content(self, rules_hash: str) -> Plain | None:
        """Give what a line's hash stands for; None where an older release wrote the line."""
        rows = self._query("SELECT content FROM rules WHERE hash = ?", (rules_hash,))
        try:
            return json.loads(rows[0][0]) if rows else None
        except ValueError as error:
            raise self._unreadable(f"rules {rules_hash}", error) from None

    def lines(self, *, after: int = 0, last: int | None = None) -> Iterator[Line]:
        """Read the lines `after < seq <= last`, as far as they are still there."""
        last = self.last_seq if last is None else last
        while rows := self._query(_SELECT, (after, last, _READ)):
            yield from (self._line(row) for row in rows)
            after = rows[-1][0]

    def recording(self, incident: Incident, policy: Plain | None = None) -> Recording:
        """Cut out what replays this incident: the snapshot before it and every line until its end."""
        base, last = self._span(incident)
        lines = tuple(self.lines(after=base, last=last))
        begun = all(any(_same(line.fact, fact) for line in lines) for fact in incident.evidence[:1])
        if len(lines) != last - base or not begun:
            raise JournalError(f"{incident.id}: some of its lines are gone from {self.path}", permanent=True)
        return Recording(incident.id, base, self._snapshot(base), policy, lines)

    def compact(
        self, keep: Iterable[Incident], *, older_than: Instant = 0.0, max_lines: int | None = None
    ) -> int:
        """Delete lines that a snapshot contains and that are too old or too many; gives how many.

        The recordings of the incidents in `keep`, now or in an earlier call, stay whole.
        """
        spans = [(incident.id, *self._span(incident)) for incident in keep]
        with self._commit() as db:
            db.executemany(
                "INSERT INTO kept VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET last = max(last, excluded.last)",
                spans,
            )
        surplus = 0 if max_lines is None else self.last_seq - max_lines
        deleted = 0
        while count := self._delete_batch(older_than, surplus):
            deleted += count
        with self._commit() as db:
            db.execute(_DELETE_SNAPSHOTS)
        self._give_space_back()
        return deleted

    def _delete_batch(self, older_than: Instant, surplus: int) -> int:
        with self._commit() as db:
            return db.execute(_DELETE, (self.snapshot_seq, older_than, surplus, _BATCH)).rowcount

    def _give_space_back(self) -> None:
        while self._scalar("PRAGMA freelist_count", (), default=0):
            with self._mutex, sqlite_errors(self.path):
                self._db.executescript(f"PRAGMA incremental_vacuum({_BATCH})")  # execute() frees one page

    def _span(self, incident: Incident) -> tuple[int, int]:
        """(newest snapshot before the incident's first line, its last line)."""
        kept = self._query("SELECT base, last FROM kept WHERE incident = ?", (incident.id,))
        begin = min([incident.opened, *(fact.at for fact in incident.evidence), *incident.times.values()])
        first = self._scalar("SELECT min(seq) FROM line WHERE at >= ?", (begin,), default=self.last_seq + 1)
        base = self._scalar("SELECT max(seq) FROM snapshot WHERE seq < ?", (first,), default=0)
        end = incident.times.get("resolved")
        last = self.last_seq
        if end is not None:
            last = self._scalar("SELECT max(seq) FROM line WHERE at <= ?", (end,), default=self.last_seq)
        if kept:
            base, last = kept[0][0], max(last, kept[0][1])
        return base, last

    def _decided_by_id(
        self, db: sqlite3.Connection, policy: str, runbooks: str, contents: Mapping[str, Plain]
    ) -> int:
        if (policy, runbooks) not in self._decided_by:
            db.executemany(
                "INSERT OR IGNORE INTO rules VALUES (?, ?)",
                [(name, _text(plain)) for name, plain in contents.items()],
            )
            db.execute(
                "INSERT OR IGNORE INTO decided_by (policy, runbooks) VALUES (?, ?)", (policy, runbooks)
            )
            found = db.execute(
                "SELECT id FROM decided_by WHERE policy = ? AND runbooks = ?", (policy, runbooks)
            ).fetchone()
            self._decided_by[policy, runbooks] = found[0]
        return self._decided_by[policy, runbooks]

    def _newest_snapshot(self) -> int:
        return self._scalar("SELECT max(seq) FROM snapshot", (), default=0)

    def _newest_line(self) -> int:
        return self._scalar("SELECT seq FROM sqlite_sequence WHERE name = 'line'", (), default=0)

    def _snapshot(self, seq: int) -> Plain | None:
        rows = self._query("SELECT v, state FROM snapshot WHERE seq = ?", (seq,))
        if not rows:
            return None
        version, text = rows[0]
        if version > VERSION:
            raise self._unreadable(f"snapshot {seq}", NewerVersionError(version))
        try:
            return json.loads(text)
        except ValueError as error:
            raise self._unreadable(f"snapshot {seq}", error) from None

    def _line(self, row: tuple[Any, ...]) -> Line:
        seq, version, fact, actions, policy, runbooks = row
        try:
            plain = {"fact": json.loads(fact), "actions": json.loads(actions)}
            return Line(seq, *line_from_plain(version, plain), policy, runbooks)
        except (ValueError, WireError) as error:
            raise self._unreadable(f"line {seq}", error) from None

    def _unreadable(self, what: str, error: Exception) -> JournalError:
        return JournalError(f"{self.path}, {what}: {error}", permanent=True)

    def _scalar(self, query: str, values: tuple[object, ...], *, default: int) -> int:
        rows = self._query(query, values)
        return default if not rows or rows[0][0] is None else int(rows[0][0])

    def _query(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._mutex, sqlite_errors(self.path):
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _commit(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is on the disk when this returns, or none of it."""
        with self._mutex, sqlite_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                self._decided_by.clear()  # an id may have been rolled back
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def _same(one: Fact, other: Fact) -> bool:
    """Say whether two facts are one, also where a loss in them is not a number and so equals nothing."""
    return one.at == other.at and repr(one) == repr(other)


def _row(fact: Fact, actions: tuple[Action, ...]) -> tuple[float, str, str]:
    plain = line_to_plain(fact, actions)
    return fact.at, _text(plain["fact"]), _text(plain["actions"])


def _text(plain: Plain) -> str:
    return json.dumps(plain, separators=(",", ":"))
