"""Dropping the oldest lines of a journal, and copying out what recordings of open incidents need."""

import sqlite3
from collections.abc import Collection
from typing import NamedTuple

from sentinel.adapters.journal_schema import sum_up
from sentinel.model.ids import Instant

COPY_AT_MOST = 20_000
"""Lines that are copied out for one incident: one that stays open for weeks keeps how it began."""

_COPY = """INSERT OR IGNORE INTO copied SELECT * FROM line
WHERE seq > :base AND seq <= :until AND (at <= :end OR :end >= coalesce(
(SELECT at FROM line AS before WHERE before.seq = line.seq - 1),
(SELECT at FROM chain WHERE what = 'tail' AND chain.seq = line.seq - 1)))"""
"""With the first line after the end: it proves that no other is missing before."""
_NEWEST = "SELECT seq, at, sum FROM line WHERE seq <= ? ORDER BY seq DESC LIMIT 1"
_THIN = """DELETE FROM snapshot WHERE seq < (SELECT max(seq) FROM snapshot) AND (seq < :cut OR seq NOT IN
(SELECT min(seq) FROM snapshot WHERE seq >= :cut GROUP BY CAST(at / 86400 AS INTEGER)))"""


class Span(NamedTuple):
    """The lines that an incident's recording needs."""

    base: int
    """The line of the snapshot before it."""
    end: Instant
    """When it was over; infinite while it is not."""

    @property
    def copied_until(self) -> int:
        """The last line that is ever copied out for it."""
        return self.base + COPY_AT_MOST


def prune(db: sqlite3.Connection, cut: int, spans: Collection[Span]) -> int:
    """Drop the lines up to `cut` in the open transaction; gives how many there were."""
    for span in spans:
        if span.base < cut:
            about = {"base": span.base, "until": min(cut, span.copied_until), "end": span.end}
            db.execute(_COPY, about)
    if newest := db.execute(_NEWEST, (cut,)).fetchone():
        db.execute("UPDATE chain SET seq = ?, at = ?, sum = ? WHERE what = 'tail'", newest)
    return db.execute("DELETE FROM line WHERE seq <= ?", (cut,)).rowcount


def thin(db: sqlite3.Connection, cut: int, spans: Collection[Span]) -> None:
    """Let go of snapshots and copied lines in the open transaction.

    Of the snapshots the newest stays, one a day, so that the past can be told again from there, and those
    that recordings of `spans` begin with. What only incidents that are over needed goes: their recordings
    are written.
    """
    bases = ",".join(str(span.base) for span in spans)
    db.execute(f"{_THIN} AND seq NOT IN ({bases})", {"cut": cut})
    needed = "".join(f" OR seq > {base} AND seq <= {until}" for base, until in _merged(spans))
    db.execute(f"DELETE FROM copied WHERE NOT (0{needed})")  # noqa: S608 - numbers
    sum_up(db, "snapshot")


def _merged(spans: Collection[Span]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for base, until in sorted((span.base, span.copied_until) for span in spans):
        if merged and base <= merged[-1][1]:
            base, until = merged[-1][0], max(until, merged.pop()[1])
        merged.append((base, until))
    return merged
