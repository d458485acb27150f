"""Dropping the oldest lines of a journal, and copying out what open incidents still need of them."""

import sqlite3
from collections.abc import Mapping
from typing import TypeAlias

from sentinel.model.ids import IncidentId

Span: TypeAlias = tuple[int, int]
"""(line of the snapshot before an incident, its last line so far)"""
COPY_AT_MOST = 20_000
"""Lines that are copied out for one incident: one that stays open for weeks keeps how it began."""

_COPY_BASE = """INSERT OR IGNORE INTO copied
SELECT :incident, seq, at, NULL, NULL, body, head FROM snapshot WHERE seq = :base"""
_COPY_START = """INSERT OR IGNORE INTO copied
SELECT :incident, 0, 0.0, NULL, NULL, x'', sum FROM chain WHERE what = 'tail' AND seq = 0 AND :base = 0"""
_COPY_LINES = """INSERT OR IGNORE INTO copied
SELECT :incident, seq, at, policy, runbooks, body, sum FROM line JOIN decided_by ON decided_by = id
WHERE seq > :base AND seq <= min(:last, :cut) ORDER BY seq LIMIT :most"""
_THIN = """DELETE FROM snapshot WHERE seq < (SELECT max(seq) FROM snapshot) AND (seq < :cut OR seq NOT IN
(SELECT min(seq) FROM snapshot WHERE seq >= :cut GROUP BY CAST(at / 86400 AS INTEGER)))"""


def prune(db: sqlite3.Connection, cut: int, spans: Mapping[IncidentId, Span]) -> int:
    """Drop the lines up to `cut` in the open transaction; gives how many there were.

    Of the snapshots the newest stays, and one a day, so that the past can be told again from there. What
    only incidents that are over needed goes, too: their recordings are written.
    """
    for incident, (base, last) in spans.items():
        if base < cut:
            about = {"incident": incident, "base": base, "last": last, "cut": cut, "most": COPY_AT_MOST}
            for copy in (_COPY_BASE, _COPY_START, _COPY_LINES):
                db.execute(copy, about)
    names = ",".join("?" * len(spans))
    db.execute(f"DELETE FROM copied WHERE incident NOT IN ({names})", tuple(spans))  # noqa: S608
    newest = db.execute(
        "SELECT seq, sum FROM line WHERE seq <= ? ORDER BY seq DESC LIMIT 1", (cut,)
    ).fetchone()
    dropped = db.execute("DELETE FROM line WHERE seq <= ?", (cut,)).rowcount
    if newest:
        db.execute("UPDATE chain SET seq = ?, sum = ? WHERE what = 'tail'", newest)
    bases = ",".join(str(base) for base, _ in spans.values())
    db.execute(f"{_THIN} AND seq NOT IN ({bases})" if bases else _THIN, {"cut": cut})
    return dropped
