"""Rows of a journal whose checksums fit: what a defect, or whoever owns the file, may have written."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from sentinel.adapters import journal_chain
from sentinel.adapters.journal import Journal
from sentinel.adapters.journal_schema import sum_up
from sentinel.model.codec import encode
from sentinel.model.journal import to_body
from tests.fuzz.targets.journal_files import begins
from tests.fuzz.targets.reports import RECORDING, STATE

WHAT = ("body", "at", "hashes", "snapshot", "rules")


def seeds() -> Iterator[bytes]:
    """Lines of a real incident, and a state."""
    yield from (to_body(line.fact, line.actions) for line in RECORDING.lines)
    yield STATE.to_bytes()
    yield encode({"gather_s": 0.3, "evict_share": 0.34})


def shaped(data: bytes, chance: random.Random) -> bytes:
    """Say in front what the bytes are put in the place of."""
    return chance.choice((b"\0", b"\0", b"\0", b"\1", b"\2", b"\3", b"\4")) + data


@contextmanager
def opened(folder: Path) -> Iterator[Callable[[bytes], bool]]:
    """Put one row after the other into a journal, seal it, and start with that."""
    path = folder / "journal.db"
    with closing(Journal(path)) as journal:
        journal.append_many([(line.fact, line.actions) for line in RECORDING.lines[:5]], "p", "r", {})
        journal.save_snapshot(2, STATE.to_bytes())
    kept = path.read_bytes()

    def take(data: bytes) -> bool:
        path.write_bytes(kept)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = OFF")
            db.text_factory = bytes
            put(db, WHAT[data[0] % len(WHAT)], data[1:])
        path.with_name("journal.db.head").unlink(missing_ok=True)
        return begins(path)

    yield take


def put(db: sqlite3.Connection, what: str, data: bytes) -> None:
    """Change one row, and renew every checksum after it."""
    match what:
        case "body":
            db.execute("UPDATE line SET body = ? WHERE seq = 4", (data,))
        case "at":
            db.execute("UPDATE line SET at = ? WHERE seq = 4", (_value(data),))
        case "hashes":
            db.execute("UPDATE decided_by SET hashes = CAST(? AS TEXT)", (data,))
        case "snapshot":
            db.execute("UPDATE snapshot SET body = ?", (data,))
        case _:
            db.execute("INSERT INTO rules VALUES (CAST(? AS TEXT), CAST(? AS TEXT))", (data[:16], data[16:]))
    seal(db)


def _value(data: bytes) -> object:
    """Give a value of any kind that a column may hold."""
    try:
        value = msgspec.msgpack.decode(data)
    except (ValueError, RecursionError):
        value = data
    if value != value:
        return data
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)
    return value if isinstance(value, int | float | str | bytes) else data


def seal(db: sqlite3.Connection) -> None:
    """Renew the chain from its beginning."""
    ((total,),) = db.execute("SELECT sum FROM chain WHERE what = 'tail'").fetchall()
    rows = "SELECT seq, at, hashes, body FROM line JOIN decided_by ON decided_by = id ORDER BY seq"
    end = (0, 0.0, total)
    for seq, at, by, body in db.execute(rows).fetchall():
        total = journal_chain.of_line(total, seq, at, by, body)
        db.execute("UPDATE line SET sum = ? WHERE seq = ?", (total, seq))
        end = (seq, at, total)
        for when, state in db.execute("SELECT at, body FROM snapshot WHERE seq = ?", (seq,)).fetchall():
            sums = (total, journal_chain.of_snapshot(total, seq, when, state), seq)
            db.execute("UPDATE snapshot SET head = ?, sum = ? WHERE seq = ?", sums)
    db.execute("UPDATE chain SET seq = ?, at = ?, sum = ? WHERE what = 'head'", end)
    for what in ("rules", "snapshot"):
        sum_up(db, what)
