"""Reads a journal of version 1 and writes what it holds in the present form."""

import json
import math
import sqlite3
from collections.abc import Iterator
from typing import Any

from sentinel.adapters import journal_chain, journal_rules
from sentinel.adapters.journal_schema import sum_up
from sentinel.model.codec import CodecError, Plain, encode
from sentinel.model.fact import JournalBack
from sentinel.model.ids import Instant
from sentinel.model.journal import line_from_plain, to_body, upgraded

_BATCH = 10_000
_LINES = """SELECT seq, v, at, decided_by, fact, actions FROM line
WHERE seq > ? AND seq <= ? ORDER BY seq"""
_LAST_RUN = """SELECT max(seq) FROM line WHERE NOT EXISTS
(SELECT 1 FROM line AS before WHERE before.seq = line.seq - 1)"""


class Old:
    """The old file. Some of its releases had neither an identity nor the rules."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self._names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def identity(self) -> str:
        """Return what no other journal has; empty if none was drawn."""
        if "identity" not in self._names:
            return ""
        (name,) = self.db.execute("SELECT id FROM identity").fetchone()
        return "".join(each for each in str(name) if each.isalnum())

    def rules(self) -> Iterator[tuple[str, Plain]]:
        """Give what the hashes stand for, without the names that the new form does not write."""
        query = "SELECT hash, content FROM rules"
        for name, text in self.db.execute(query) if "rules" in self._names else ():
            yield name, _without_names(json.loads(text))

    def ends(self) -> tuple[int, int]:
        """Return (first line after the last gap, newest line ever)."""
        named = self.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'line'").fetchone()
        last = int(named[0]) if named else 0
        ((newest,),) = self.db.execute("SELECT max(seq) FROM line")
        if last != max(newest or 0, *self.snapshots(), 0):
            raise ValueError(f"line {last} is not the newest one")
        return self.db.execute(_LAST_RUN).fetchone()[0] or last + 1, last

    def kept(self, first: int) -> Iterator[tuple[int, int]]:
        """Give the spans before line `first` that recordings of incidents need."""
        for base, last in self.db.execute("SELECT base, last FROM kept"):
            yield base, min(last, first - 1)

    def snapshots(self) -> list[int]:
        """List the lines after which a state was kept."""
        return [seq for (seq,) in self.db.execute("SELECT seq FROM snapshot ORDER BY seq")]


def copy(old: Old, db: sqlite3.Connection) -> None:
    """Copy lines that lie without a gap, older ones that recordings need, snapshots and rules."""
    _Copying(old, db).all()


class _Copying:
    """What is carried from line to line: the time, and the chain's checksum."""

    def __init__(self, old: Old, db: sqlite3.Connection) -> None:
        self._old, self._db = old, db
        self._at: Instant = 0.0
        ((self._sum,),) = db.execute("SELECT sum FROM chain WHERE what = 'head'")
        self._first, self._last = old.ends()
        self._snapshots = old.snapshots()
        if max(self._snapshots, default=0) < self._first - 1:
            raise ValueError(f"line {self._first - 1} is gone")
        self._by = dict(self._decided_by())

    def all(self) -> None:
        """Copy everything, in the order of the lines."""
        tail = self._first - 1
        for begin, end in _merged(self._old.kept(self._first)):
            self._lines("copied", begin, end)
            if end < tail:
                self._gap(end + 1)
        self._states(tail)
        self._end("tail", tail)
        self._lines("line", tail, self._last)
        self._end("head", self._last)
        for what in ("rules", "snapshot"):
            sum_up(self._db, what)

    def _lines(self, table: str, begin: int, end: int) -> None:
        """Copy the lines `begin < seq <= end`, and every snapshot up to there."""
        self._states(begin)
        for at in range(begin, end, _BATCH):
            rows = [self._line(row) for row in self._read(at, min(end, at + _BATCH))]
            self._db.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?)", rows)  # noqa: S608 - ours

    def _gap(self, seq: int) -> None:
        """Close a piece with a line after every end: a recording stops there, or says what is gone."""
        decided_by, hashes = next(iter(self._by.values()))
        body = to_body(JournalBack(math.inf), ())
        self._sum = journal_chain.of_line(self._sum, seq, math.inf, hashes, body)
        row = (seq, math.inf, decided_by, self._sum, body)
        self._db.execute("INSERT INTO copied VALUES (?, ?, ?, ?, ?)", row)

    def _read(self, after: int, last: int) -> Iterator[tuple[Any, ...]]:
        expected = after + 1
        for row in self._old.db.execute(_LINES, (after, last)):
            if row[0] != expected:
                break
            yield row
            expected += 1
        if expected <= last:
            raise ValueError(f"line {expected} is gone")

    def _line(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        seq, version, at, number, fact, actions = row
        try:
            plain = {"fact": json.loads(fact), "actions": json.loads(actions)}
            noun, decisions, is_whole = line_from_plain(version, plain)
            body = to_body(noun, decisions, is_whole=is_whole)
            decided_by, hashes = self._by[number]
            self._at = max(self._at, float(at))
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise CodecError(f"line {seq}: {error}") from None
        self._sum = journal_chain.of_line(self._sum, seq, self._at, hashes, body)
        copied = (seq, self._at, decided_by, self._sum, body)
        self._states(seq)
        return copied

    def _states(self, until: int) -> None:
        """Copy the snapshots up to this line."""
        while self._snapshots and self._snapshots[0] <= until:
            seq = self._snapshots.pop(0)
            version, text = self._old.db.execute(
                "SELECT v, state FROM snapshot WHERE seq = ?", (seq,)
            ).fetchone()
            try:
                plain = upgraded(version, json.loads(text))
                self._at = max(self._at, float(plain.get("now", 0.0)))
                body = encode(plain)
            except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
                raise CodecError(f"snapshot {seq}: {error}") from None
            total = journal_chain.of_snapshot(self._sum, seq, self._at, body)
            self._db.execute(
                "INSERT INTO snapshot VALUES (?, ?, ?, ?, ?)", (seq, self._at, self._sum, total, body)
            )

    def _end(self, what: str, seq: int) -> None:
        values = (seq, self._at, self._sum, what)
        self._db.execute("UPDATE chain SET seq = ?, at = ?, sum = ? WHERE what = ?", values)

    def _decided_by(self) -> Iterator[tuple[int, tuple[int, bytes]]]:
        """Copy what decided; its hashes are those of the new form."""
        renamed = {}
        for name, plain in self._old.rules():
            renamed[name] = journal_rules.hash_of(plain)
            row = (renamed[name], journal_rules.to_text(plain))
            self._db.execute("INSERT OR IGNORE INTO rules VALUES (?, ?)", row)
        for number, policy, books in self._old.db.execute("SELECT id, policy, runbooks FROM decided_by"):
            hashes = f"{renamed.get(policy, policy)} {renamed.get(books, books)}"
            self._db.execute("INSERT INTO decided_by VALUES (?, ?)", (number, hashes))
            yield number, (number, hashes.encode())


def _merged(spans: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join spans that overlap, oldest first; empty ones vanish."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            begin, end = merged[-1][0], max(end, merged.pop()[1])
        if begin < end:
            merged.append((begin, end))
    return merged


def _without_names(plain: Any) -> Any:
    """Leave out the names of nouns that stand in no union: the new form does not write them."""
    match upgraded(1, plain):
        case {"is": _, **rest}:
            return {key: _without_names(value) for key, value in rest.items()}
        case dict() as table:
            return {key: _without_names(value) for key, value in table.items()}
        case list() as items:
            return [_without_names(item) for item in items]
        case value:
            return value
