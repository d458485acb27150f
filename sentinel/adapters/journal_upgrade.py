"""A journal of an older release is read once and rewritten; the old file stays beside the new one."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sentinel.adapters import journal_chain, journal_rules
from sentinel.adapters.journal_file import JournalError, connect, sqlite_errors, version_of
from sentinel.model.codec import CodecError, encode
from sentinel.model.journal import VERSION, line_from_plain, to_body, upgraded

OLD, NEW = ".v1", ".new"
"""How the names of the file that is kept, and of the one that is being written, end."""

_LAST_RUN = """SELECT max(seq) FROM line WHERE NOT EXISTS
(SELECT 1 FROM line AS before WHERE before.seq = line.seq - 1)"""


def finish(path: Path) -> None:
    """Rewrite an older journal, or end a rewriting that was broken off. Raises JournalError.

    The new file takes the place of the old one only when it is complete and on the disk.
    """
    new, old = path.with_name(path.name + NEW), path.with_name(path.name + OLD)
    try:
        if not path.exists() and new.exists() and old.exists():
            new.replace(path)
        for stale in (new, *_beside(new)):
            stale.unlink(missing_ok=True)
        if version_of(path) in (0, VERSION):
            return
        _rewrite(path, new)
        path.replace(old)
        new.replace(path)
    except OSError as error:
        raise JournalError(
            f"{path} is of an older release and can't be rewritten: {error}", permanent=False
        ) from None


def _rewrite(path: Path, new: Path) -> None:
    with sqlite_errors(path), closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode = DELETE")  # what lies in the log beside it moves in
        names = {name for (name,) in old.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        with closing(connect(new)) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                _copy(old, names, db)
            except (CodecError, ValueError, KeyError, TypeError) as error:
                told = f"{path} is of an older release and can't be rewritten: {error}"
                raise JournalError(
                    f"{told}; move it away: a new one goes on from the job's state", permanent=True
                ) from None
            db.execute("COMMIT")
            db.execute("PRAGMA journal_mode = DELETE")


def _copy(old: sqlite3.Connection, names: set[str], db: sqlite3.Connection) -> None:
    """Copy the newest lines that lie without a gap, and the snapshots among them."""
    if "identity" in names:
        db.execute("UPDATE identity SET id = ?", old.execute("SELECT id FROM identity").fetchone())
    (identity,) = db.execute("SELECT id FROM identity").fetchone()
    by = dict(_rules(old, names, db))
    newest = old.execute("SELECT seq FROM sqlite_sequence WHERE name = 'line'").fetchone()
    last = newest[0] if newest else 0
    first = old.execute(_LAST_RUN).fetchone()[0] or last + 1
    total = journal_chain.root(identity)
    db.execute("UPDATE chain SET seq = ?, sum = ? WHERE what = 'tail'", (first - 1, total))
    _snapshot(old, db, first - 1, 0.0, total)
    lines = old.execute(
        "SELECT seq, v, at, decided_by, fact, actions FROM line WHERE seq >= ? ORDER BY seq", (first,)
    )
    for seq, version, at, decided_by, fact, actions in lines:
        plain = {"fact": json.loads(fact), "actions": json.loads(actions)}
        body, (number, policy, runbooks) = to_body(*line_from_plain(version, plain)), by[decided_by]
        total = journal_chain.of_line(total, seq, at, policy, runbooks, body)
        db.execute("INSERT INTO line VALUES (?, ?, ?, ?, ?)", (seq, at, number, body, total))
        _snapshot(old, db, seq, at, total)
    db.execute("UPDATE chain SET seq = ?, sum = ? WHERE what = 'head'", (last, total))


def _rules(
    old: sqlite3.Connection, names: set[str], db: sqlite3.Connection
) -> Iterator[tuple[int, tuple[int, str, str]]]:
    """Copy what decided; its hashes are those of the new form."""
    renamed = {}
    for name, text in old.execute("SELECT hash, content FROM rules") if "rules" in names else ():
        plain = _without_names(json.loads(text))
        renamed[name] = journal_rules.hash_of(plain)
        db.execute("INSERT OR IGNORE INTO rules VALUES (?, ?)", (renamed[name], journal_rules.to_text(plain)))
    for number, policy, runbooks in old.execute("SELECT id, policy, runbooks FROM decided_by").fetchall():
        pair = (renamed.get(policy, policy), renamed.get(runbooks, runbooks))
        db.execute("INSERT OR IGNORE INTO decided_by (policy, runbooks) VALUES (?, ?)", pair)
        found = db.execute("SELECT id FROM decided_by WHERE policy = ? AND runbooks = ?", pair).fetchone()
        yield number, (found[0], *pair)


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


def _snapshot(old: sqlite3.Connection, db: sqlite3.Connection, seq: int, at: float, head: bytes) -> None:
    found = old.execute("SELECT v, state FROM snapshot WHERE seq = ?", (seq,)).fetchone()
    if found:
        body = encode(upgraded(found[0], json.loads(found[1])))
        total = journal_chain.of_snapshot(head, seq, at, body)
        db.execute("INSERT INTO snapshot VALUES (?, ?, ?, ?, ?)", (seq, at, head, body, total))


def _beside(path: Path) -> list[Path]:
    return [path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal")]
