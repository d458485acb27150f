"""The journal on disk: facts, and the actions decided from them, committed together in SQLite."""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from sentinel.adapters import journal_chain, journal_rules, journal_upgrade
from sentinel.adapters.journal_file import JournalError, connect, connect_to_read, lock_beside, sqlite_errors
from sentinel.adapters.journal_prune import Span, prune
from sentinel.model.action import Action
from sentinel.model.codec import CodecError, Plain, decode
from sentinel.model.fact import Fact
from sentinel.model.ids import Instant
from sentinel.model.incident import Incident
from sentinel.model.journal import Line, Recording, from_body, to_body

_BATCH = 10_000
"""Lines that compaction drops per commit."""
_READ = 1_000
"""Lines read per query, so that no read transaction stays open while a caller thinks."""

_INSERT = "INSERT INTO line (seq, at, decided_by, body, sum) VALUES (?, ?, ?, ?, ?)"
_SELECT = """SELECT seq, at, policy, runbooks, body, sum FROM line LEFT JOIN decided_by ON decided_by = id
WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"""
_COPIED = """SELECT seq, at, policy, runbooks, body, sum FROM copied
WHERE incident = ? AND policy IS NOT NULL ORDER BY seq"""
_LAST_UNTIL = """SELECT max(seq) FROM (SELECT max(seq) AS seq FROM line WHERE at <= ?
UNION ALL SELECT max(seq) FROM copied WHERE incident = ? AND policy IS NOT NULL AND at <= ?)"""


class Loaded(NamedTuple):
    """What a controller starts from."""

    snapshot: bytes | None
    snapshot_seq: int
    """0 without a snapshot."""
    tail: Iterator[Line]
    """The lines after it, oldest first."""


class Journal:
    """A journal file, with its one writer. Calls may come from any thread; each is one commit or nothing."""

    def __init__(
        self, path: str | os.PathLike[str], *, max_bytes: int | None = None, read_only: bool = False
    ) -> None:
        """Open or create. Raises JournalError: not a journal, a newer or damaged one, or one with a writer.

        `max_bytes` is the size beyond which appends fail as if the disk were full. `read_only` reads beside
        the writer.
        """
        self.path = Path(path)
        self._mutex = threading.Lock()
        self._decided_by: dict[tuple[str, str], int] = {}
        self._lock = -1 if read_only else lock_beside(self.path)
        try:
            if not read_only:
                journal_upgrade.finish(self.path)
            self._db = connect_to_read(self.path) if read_only else connect(self.path, max_bytes)
            self.id: str = self._query("SELECT id FROM identity", ())[0][0]
            """Drawn when the file was made: no other journal has it."""
            self.snapshot_seq = self._scalar("SELECT max(seq) FROM snapshot", (), default=0)
            self.last_seq, self._head = self._end("head")
            self._check_ends()
        except BaseException:
            self._unlock()
            raise

    def close(self) -> None:
        """Release the file for another writer."""
        with suppress(sqlite3.Error):
            self._db.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    @property
    def since_snapshot(self) -> int:
        """Lines after the newest snapshot: what a restart would have to fold."""
        return self.last_seq - self.snapshot_seq

    # --- writing ---------------------------------------------------------------------------------------

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
        seq, head, rows = self.last_seq, self._head, []
        with self._commit() as db:
            by = self._decided_by_id(db, policy_hash, runbooks_hash, contents or {})
            for fact, actions in batch:
                seq, body = seq + 1, to_body(fact, actions)
                head = journal_chain.of_line(head, seq, fact.at, policy_hash, runbooks_hash, body)
                rows.append((seq, fact.at, by, body, head))
            db.executemany(_INSERT, rows)
            db.execute("UPDATE chain SET seq = ?, sum = ? WHERE what = 'head'", (seq, head))
        self.last_seq, self._head = seq, head
        return [row[0] for row in rows]

    def save_snapshot(self, seq: int, body: bytes, at: Instant = 0.0) -> None:
        """Keep the encoded state after line `seq`; a restart folds only what comes later."""
        head = self._sum_at(seq)
        row = (seq, at, head, body, journal_chain.of_snapshot(head, seq, at, body))
        with self._commit() as db:
            db.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?, ?)", row)
        self.snapshot_seq = max(seq, self.snapshot_seq)

    def compact(
        self, keep: Iterable[Incident], *, older_than: Instant = 0.0, max_lines: int | None = None
    ) -> int:
        """Drop the oldest lines that a snapshot contains, as far as they are too old or too many.

        Gives how many. The recordings of the incidents in `keep` stay whole: what they need is copied out.
        """
        spans = {incident.id: self._span(incident) for incident in keep}
        surplus = 0 if max_lines is None else self.last_seq - max_lines
        last = self._scalar("SELECT max(seq) FROM line WHERE at < ?", (older_than,), default=0)
        dropped, target, cut = 0, min(self.snapshot_seq, max(last, surplus)), self._end("tail")[0]
        while True:  # an append waits for one batch at most
            cut = min(target, cut + _BATCH)
            with self._commit() as db:
                dropped += prune(db, cut, spans)
            if cut >= target:
                break
        while self._scalar("PRAGMA freelist_count", (), default=0):
            with self._mutex, sqlite_errors(self.path):  # execute() would free one page
                self._db.executescript("PRAGMA incremental_vacuum(5000)")
        return dropped

    # --- reading ---------------------------------------------------------------------------------------

    def load(self) -> Loaded:
        """Give the newest snapshot and the lines after it, oldest first. Raises JournalError for damage."""
        body = self.snapshot(self.snapshot_seq)
        return Loaded(body, self.snapshot_seq, self.lines(after=self.snapshot_seq))

    def content(self, rules_hash: str) -> Plain | None:
        """Give what a line's hash stands for; None where an older release wrote the line."""
        rows = self._query("SELECT content FROM rules WHERE hash = ?", (rules_hash,))
        try:
            return journal_rules.read(rules_hash, rows[0][0]) if rows else None
        except ValueError as error:
            raise self._damaged(f"rules {rules_hash}", str(error)) from None

    def lines(self, *, after: int = 0, last: int | None = None) -> Iterator[Line]:
        """Read the lines `after < seq <= last`, as far as they are still there.

        Each has to fit the one before it. Raises JournalError for one that does not.
        """
        last = self.last_seq if last is None else min(last, self.last_seq)
        after = max(after, self._end("tail")[0])
        before = self._sum_at(after) if after < last else b""
        while after < last:
            rows = self._query(_SELECT, (after, last, _READ))
            if not rows:
                raise self._damaged(f"line {after + 1}", "is gone")
            for row in rows:
                yield self._line(row, after + 1, before)
                after, before = row[0], row[5]

    def snapshot(self, seq: int) -> bytes | None:
        """Give the encoded state after a line; None if none was kept. Raises JournalError for damage."""
        rows = self._query("SELECT at, head, body, sum FROM snapshot WHERE seq = ?", (seq,))
        if not rows:
            return None
        at, head, body, total = rows[0]
        if total != journal_chain.of_snapshot(head, seq, at, body):
            raise self._damaged(f"snapshot {seq}", "its checksum does not fit")
        return bytes(body)

    def snapshots(self) -> list[tuple[int, Instant]]:
        """List (line, when) of every snapshot, oldest first."""
        return [(seq, at) for seq, at in self._query("SELECT seq, at FROM snapshot ORDER BY seq", ())]

    def first_seq(self) -> int:
        """Return the oldest line that is still there."""
        return self._end("tail")[0] + 1

    def recording(self, incident: Incident, policy: Plain | None = None) -> Recording:
        """Cut out what replays this incident: the snapshot before it and every line until its end."""
        base, last = self._span(incident)
        copied = self._copied(incident, base)
        lines = (*copied, *self.lines(after=copied[-1].seq if copied else base, last=last))
        begun = all(any(_same(line.fact, fact) for line in lines) for fact in incident.evidence[:1])
        if [line.seq for line in lines] != list(range(base + 1, last + 1)) or not begun:
            raise JournalError(f"{incident.id}: some of its lines are gone from {self.path}", permanent=True)
        state = self._base_of(incident, base)
        return Recording(incident.id, base, None if state is None else decode(Any, state), policy, lines)

    def _copied(self, incident: Incident, base: int) -> tuple[Line, ...]:
        rows = self._query(_COPIED, (incident.id,))
        before = self._query("SELECT sum FROM copied WHERE incident = ? AND seq = ?", (incident.id, base))
        lines, total = [], before[0][0] if before else journal_chain.root(self.id)
        for row in rows:
            lines.append(self._line(row, row[0], total))
            total = row[5]
        return tuple(lines)

    def _base_of(self, incident: Incident, base: int) -> bytes | None:
        rows = self._query(
            "SELECT body FROM copied WHERE incident = ? AND seq = ? AND policy IS NULL", (incident.id, base)
        )
        return bytes(rows[0][0]) or None if rows else self.snapshot(base)

    def _span(self, incident: Incident) -> Span:
        """(newest snapshot before the incident's first line, its last line)."""
        begin = min([incident.opened, *(fact.at for fact in incident.evidence), *incident.times.values()])
        first = self._scalar("SELECT min(seq) FROM line WHERE at >= ?", (begin,), default=self.last_seq + 1)
        base = self._scalar("SELECT max(seq) FROM snapshot WHERE seq < ?", (first,), default=0)
        copied = self._scalar("SELECT min(seq) FROM copied WHERE incident = ?", (incident.id,), default=-1)
        last, end = self.last_seq, incident.times.get("resolved")
        if end is not None:
            last = self._scalar(_LAST_UNTIL, (end, incident.id, end), default=self.last_seq)
        return (base if copied < 0 else copied), last

    # --- the chain -------------------------------------------------------------------------------------

    def _line(self, row: tuple[Any, ...], seq: int, before: bytes) -> Line:
        number, at, policy, runbooks, body, total = row
        if number != seq:
            raise self._damaged(f"line {seq}", "is gone")
        if policy is None or total != journal_chain.of_line(before, seq, at, policy, runbooks, body):
            raise self._damaged(f"line {seq}", f"its checksum does not fit line {seq - 1}")
        try:
            return Line(seq, *from_body(body), policy, runbooks)
        except CodecError as error:
            raise JournalError(f"{self.path}, line {seq}: {error}", permanent=True) from None

    def _sum_at(self, seq: int) -> bytes:
        """Return the checksum of a line, though the line itself may have been dropped."""
        if seq == self.last_seq:
            return self._head
        tail, total = self._end("tail")
        if seq == tail:
            return total
        for table in ("SELECT sum FROM line WHERE seq = ?", "SELECT head FROM snapshot WHERE seq = ?"):
            if rows := self._query(table, (seq,)):
                return bytes(rows[0][0])
        raise self._damaged(f"line {seq}", "is gone")

    def _end(self, what: str) -> tuple[int, bytes]:
        rows = self._query("SELECT seq, sum FROM chain WHERE what = ?", (what,))
        if not rows:
            raise self._damaged(f"the {what} of its chain", "is gone")
        return rows[0][0], bytes(rows[0][1])

    def _check_ends(self) -> None:
        """Find at once what is missing at the end; the rest is checked where it is read."""
        newest = self._query("SELECT seq, sum FROM line ORDER BY seq DESC LIMIT 1", ())
        tail = self._end("tail")
        seq, total = (newest[0][0], bytes(newest[0][1])) if newest else tail
        if (seq, total) != (self.last_seq, self._head):
            raise self._damaged(f"line {self.last_seq}", "is not the newest one")
        if self.snapshot_seq > self.last_seq or (tail[0] and self.snapshot_seq < tail[0]):
            raise self._damaged("the newest snapshot", "is gone")

    def _damaged(self, what: str, how: str) -> JournalError:
        hint = "put a copy of the file back, or move it away: a new one goes on from the job's newest state"
        return JournalError(f"{self.path} is damaged: {what} {how}; {hint}", permanent=True)

    # --- SQLite ----------------------------------------------------------------------------------------

    def _decided_by_id(
        self, db: sqlite3.Connection, policy: str, runbooks: str, contents: Mapping[str, Plain]
    ) -> int:
        if (policy, runbooks) not in self._decided_by:
            rules = [(name, journal_rules.to_text(plain)) for name, plain in contents.items()]
            db.executemany("INSERT OR IGNORE INTO rules VALUES (?, ?)", rules)
            pair = (policy, runbooks)
            db.execute("INSERT OR IGNORE INTO decided_by (policy, runbooks) VALUES (?, ?)", pair)
            found = db.execute("SELECT id FROM decided_by WHERE policy = ? AND runbooks = ?", pair).fetchone()
            self._decided_by[pair] = found[0]
        return self._decided_by[policy, runbooks]

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
