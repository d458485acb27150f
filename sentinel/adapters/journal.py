"""The journal on disk: facts, and the actions decided from them, committed together in SQLite."""

import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from sentinel.adapters import journal_chain, journal_note, journal_rules, journal_upgrade
from sentinel.adapters.journal_file import (
    JournalError,
    connect,
    connect_to_read,
    damaged,
    lock_beside,
    see_to,
)
from sentinel.adapters.journal_note import Note, Notebook
from sentinel.adapters.journal_prune import Span, prune, thin
from sentinel.adapters.journal_rows import End, Rows
from sentinel.adapters.journal_schema import sum_up
from sentinel.model.codec import Plain, decode
from sentinel.model.decision import Decision
from sentinel.model.fact import Fact
from sentinel.model.ids import Instant
from sentinel.model.incident import Incident
from sentinel.model.journal import Line, Recording, to_body

_BATCH = 5_000
"""Lines, or pages, that compaction frees per commit: an append waits for one batch at most."""

_INSERT = "INSERT INTO line (seq, at, decided_by, sum, body) VALUES (?, ?, ?, ?, ?)"
_SET_HEAD = "UPDATE chain SET seq = ?, at = ?, sum = ? WHERE what = 'head'"
_YOUNG = "SELECT seq FROM line WHERE seq > ? AND seq <= ? AND at >= ? ORDER BY seq LIMIT 1"


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

        `max_bytes` is the size beyond which appends fail as if the disk were full. `read_only` reads what is
        there now, beside the writer.
        """
        self.path = Path(path)
        self._decided_by: dict[str, int] = {}
        self.doubt = ""
        """Why it may not be all that was written, though it is whole in itself; or empty."""
        self._is_unsure = False
        """Whether it may have lines of which the last append did not learn."""
        self._lock = -1 if read_only else lock_beside(self.path)
        self._notebook: Notebook | None = None
        self._db: sqlite3.Connection | None = None
        try:
            if read_only:
                self._open(connect_to_read(self.path), journal_note.read(self.path))
            else:
                self._open_to_write(max_bytes)
        except BaseException:
            self.close()
            raise

    def _open_to_write(self, max_bytes: int | None) -> None:
        see_to(self.path)
        note = journal_note.beside(self.path)
        rewritten = journal_upgrade.finish(self.path)
        noted, was_here = journal_note.read(self.path), self.path.exists()
        if was_here:  # what is refused is left as it was found
            self._open(connect_to_read(self.path), noted)
            self._close_file()
        unknown = noted is None and (was_here or note.exists()) and not rewritten
        self._open(connect(self.path, max_bytes), noted)
        self._notebook = Notebook(self.path)
        if unknown:
            self.doubt = f"{note} is gone or damaged: what was written after line {self.last_seq} may be, too"
        else:
            self._note()

    def _open(self, db: sqlite3.Connection, noted: Note | None) -> None:
        self._db, self._rows = db, Rows(self.path, db)
        self._rows.check()
        self.id: str = self._rows.identity()
        """Drawn when the file was made: no other journal has it."""
        self._head, self._tail = self._rows.end("head"), self._rows.end("tail")
        self.snapshot_seq = max((seq for seq, _ in self.snapshots()), default=0)
        if self.snapshot_seq > self._head.seq or self.snapshot_seq < self._tail.seq:
            raise self._rows.damaged("its newest snapshot is gone")
        found = Note(self.id, self.last_seq, self.snapshot_seq, self._tail.seq)
        beside, lost = journal_note.beside(self.path), ""
        if noted and any(noted[1:]) and noted.identity != self.id:
            lost = f"it is another journal ({self.id}) than the one that was written here ({noted.identity})"
        elif noted and any(a > b for a, b in zip(noted[1:], found[1:], strict=True)):
            lost = f"what was written after line {found.last} (snapshot {found.snapshot}) is gone"
        if lost:
            hint = f"put the whole file back, or go on without that by removing {beside}"
            raise damaged(self.path, lost, hint)

    def close(self) -> None:
        """Release the file for another writer."""
        self._close_file()
        if self._notebook:
            self._notebook.close()
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def _close_file(self) -> None:
        if self._db:
            with suppress(sqlite3.Error):
                self._db.close()

    @property
    def last_seq(self) -> int:
        """The newest line; 0 before the first."""
        return self._head.seq

    @property
    def since_snapshot(self) -> int:
        """Lines after the newest snapshot: what a restart would have to fold."""
        return self.last_seq - self.snapshot_seq

    # --- writing ---------------------------------------------------------------------------------------

    def append(self, fact: Fact, decisions: Sequence[Decision], policy_hash: str, runbooks_hash: str) -> int:
        """Commit a fact with what was decided from it; gives its sequence number.

        Raises JournalError, and then nothing of it was written, and CodecError for what has no written form.
        """
        return self.append_many([(fact, decisions)], policy_hash, runbooks_hash)[0]

    def append_many(
        self,
        batch: Sequence[tuple[Fact, Sequence[Decision]]],
        policy_hash: str,
        runbooks_hash: str,
        contents: Mapping[str, Plain] | None = None,
    ) -> list[int]:
        """Commit several lines at once, all or none; gives their sequence numbers in order.

        `contents` says what the hashes stand for; it is written with the first line that they decided.
        """
        bodies = [(fact.at, to_body(fact, decisions)) for fact, decisions in batch]
        hashes, rows = f"{policy_hash} {runbooks_hash}", []
        by = hashes.encode()
        with self._rows.commit() as db:
            decided_by = self._decided_by_id(db, hashes, contents or {})
            # From memory, but of one that was interrupted: it did not learn of its commit.
            seq, at, total = self._rows.end_in(db, "head") if self._is_unsure else self._head
            self._is_unsure = True
            for stamp, body in bodies:
                seq, at = seq + 1, max(at, float(stamp))
                total = journal_chain.of_line(total, seq, at, by, body)
                rows.append((seq, at, decided_by, total, body))
            db.executemany(_INSERT, rows)
            db.execute(_SET_HEAD, (seq, at, total))
        self._head, self._is_unsure = End(seq, at, total), False
        self._decided_by[hashes] = decided_by
        self._note()
        return [row[0] for row in rows]

    def save_snapshot(self, seq: int, body: bytes) -> None:
        """Keep the encoded state after line `seq`; a restart folds only what comes later."""
        head, at = self._rows.sum_at(seq), self._at(seq)
        row = (seq, at, head, journal_chain.of_snapshot(head, seq, at, body), body)
        with self._rows.commit() as db:
            db.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?, ?)", row)
            sum_up(db, "snapshot")
        self.snapshot_seq = max(seq, self.snapshot_seq)
        self._note()

    def compact(
        self, keep: Iterable[Incident], *, older_than: Instant = 0.0, max_lines: int | None = None
    ) -> int:
        """Drop the oldest lines that a snapshot contains, as far as they are too old or too many.

        Gives how many. The recordings of the incidents in `keep` stay whole: what they need is copied out.
        """
        spans = [self._span(incident) for incident in keep]
        surplus = 0 if max_lines is None else self.last_seq - max_lines
        dropped, target = 0, self.snapshot_seq
        while (cut := self._cut(min(target, self._tail.seq + _BATCH), older_than, surplus)) > self._tail.seq:
            with self._rows.commit() as db:
                dropped += prune(db, cut, spans)
            self._tail = self._rows.end("tail")
            self._note()
        with self._rows.commit() as db:
            thin(db, self._tail.seq, spans)
        self._give_space_back()
        return dropped

    def _cut(self, until: int, older_than: Instant, surplus: int) -> int:
        """Give the last line up to `until` that is too old or one too many."""
        young = self._rows.query(_YOUNG, (max(self._tail.seq, surplus), until, older_than))
        return young[0][0] - 1 if young else until

    def _give_space_back(self) -> None:
        before = math.inf
        while 0 < (free := self._rows.query("PRAGMA freelist_count")[0][0]) < before:
            before = free
            with self._rows.turn() as db:
                db.executescript(f"PRAGMA incremental_vacuum({_BATCH})")  # execute() would free one page

    def _decided_by_id(self, db: sqlite3.Connection, hashes: str, contents: Mapping[str, Plain]) -> int:
        if hashes in self._decided_by:
            return self._decided_by[hashes]
        rules = [(name, journal_rules.to_text(plain)) for name, plain in contents.items()]
        db.executemany("INSERT OR IGNORE INTO rules VALUES (?, ?)", rules)
        sum_up(db, "rules")
        known = db.execute("SELECT id FROM decided_by WHERE hashes = ?", (hashes,)).fetchone()
        if known:
            return int(known[0])
        return int(db.execute("INSERT INTO decided_by (hashes) VALUES (?)", (hashes,)).lastrowid or 0)

    def _note(self) -> None:
        if self._notebook:
            self._notebook.write(Note(self.id, self.last_seq, self.snapshot_seq, self._tail.seq))

    # --- reading ---------------------------------------------------------------------------------------

    def load(self) -> Loaded:
        """Give the newest snapshot and the lines after it, oldest first. Raises JournalError for damage."""
        body = self.snapshot(self.snapshot_seq)
        return Loaded(body, self.snapshot_seq, self.lines(after=self.snapshot_seq))

    def content(self, rules_hash: str) -> Plain | None:
        """Give what a line's hash stands for; None where an older release wrote the line."""
        rows = self._rows.query("SELECT content FROM rules WHERE hash = ?", (rules_hash,))
        try:
            return journal_rules.read(rules_hash, rows[0][0]) if rows else None
        except (TypeError, ValueError) as error:
            raise self._rows.damaged(f"rules {rules_hash}: {error}") from None

    def lines(self, *, after: int = 0, last: int | None = None) -> Iterator[Line]:
        """Read the lines `after < seq <= last`, as far as they are still there.

        Each has to fit the one before it. Raises JournalError for one that does not.
        """
        last = self.last_seq if last is None else min(last, self.last_seq)
        for line, _ in self._rows.lines(max(after, self._rows.end("tail").seq), last):
            yield line

    def snapshot(self, seq: int) -> bytes | None:
        """Give the encoded state after a line; None if none was kept. Raises JournalError for damage."""
        return self._rows.snapshot(seq)

    def snapshots(self) -> list[tuple[int, Instant]]:
        """List (line, when) of every snapshot, oldest first."""
        return self._rows.query("SELECT seq, at FROM snapshot ORDER BY seq")

    def first_seq(self) -> int:
        """Return the oldest line that is still there."""
        return self._rows.end("tail").seq + 1

    def recording(self, incident: Incident, policy: Plain | None = None) -> Recording:
        """Cut out what replays this incident: the snapshot before it and every line until its end.

        One that was open for so long that not all was copied out ends earlier.
        """
        span, last, lines = self._span(incident), self.last_seq, []
        if span.copied_until < self._tail.seq:
            last = span.copied_until
        try:
            for line, at in self._rows.lines(span.base, last, copied=True):
                if at > span.end:
                    break
                lines.append(line)
        except JournalError as error:
            raise self._gone(incident, f": {error}") from None
        # Told by the time: what is in evidence may say more than the line, or follow from it.
        if not all(any(line.fact.at == fact.at for line in lines) for fact in incident.evidence[:1]):
            raise self._gone(incident)
        state = self.snapshot(span.base)
        return Recording(
            incident.id, span.base, None if state is None else decode(Any, state), policy, tuple(lines)
        )

    def _gone(self, incident: Incident, why: str = "") -> JournalError:
        return JournalError(
            f"{incident.id}: some of its lines are gone from {self.path}{why}", permanent=True
        )

    def _span(self, incident: Incident) -> Span:
        begin = min([incident.opened, *(fact.at for fact in incident.evidence), *incident.times.values()])
        base = max((seq for seq, at in self.snapshots() if at < begin), default=0)
        return Span(base, incident.times.get("resolved", math.inf))

    def _at(self, seq: int) -> Instant:
        for end in (self._head, self._tail):
            if end.seq == seq:
                return end.at
        return next((at for _, at in self._rows.lines(seq - 1, seq)), 0.0)
