"""The tables of a journal's file."""

import sqlite3

from sentinel.adapters import journal_chain
from sentinel.model.journal import VERSION

APPLICATION_ID = 0x53454E54
"""`SENT`, in the SQLite header."""
PAGE_BYTES = 4096

_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE identity (id TEXT NOT NULL);
INSERT INTO identity VALUES ({identity});
CREATE TABLE rules (hash TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE decided_by (id INTEGER PRIMARY KEY, hashes TEXT NOT NULL);
CREATE TABLE line (
    seq INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    decided_by INTEGER NOT NULL,
    sum BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE copied (
    seq INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    decided_by INTEGER NOT NULL,
    sum BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE snapshot (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, head BLOB NOT NULL, sum BLOB NOT NULL, body BLOB NOT NULL
);
CREATE TABLE chain (what TEXT PRIMARY KEY, seq INTEGER NOT NULL, at REAL NOT NULL, sum BLOB NOT NULL);
PRAGMA application_id = {application_id};
PRAGMA user_version = {version};
COMMIT;
"""
"""`at` never falls from line to line. `rules`: what the hashes in `decided_by` stand for, as JSON. `copied`:
lines that were dropped and that the recordings of open incidents need. `chain`: the newest line (`head`) and
the last one that was dropped (`tail`), and for each short list its length and checksum. What is long stands
last in a row, so that the rest is read without it."""
LISTS = {
    "identity": "SELECT id FROM identity",
    "rules": "SELECT hash FROM rules ORDER BY hash",
    "snapshot": "SELECT seq, at, head, sum FROM snapshot ORDER BY seq",
}
"""What the chain of lines does not hold together: each has a checksum of its own in `chain`."""
_DRAWN = "lower(hex(randomblob(3)))"


def make(db: sqlite3.Connection, identity: str = "") -> None:
    """Make the tables in an empty file; `identity` is an SQL expression, by default one that draws one."""
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that compaction gives space back
    db.execute("PRAGMA synchronous = FULL")
    db.executescript(
        _TABLES.format(application_id=APPLICATION_ID, version=VERSION, identity=identity or _DRAWN)
    )
    (name,) = db.execute("SELECT id FROM identity").fetchone()
    db.text_factory = bytes
    ends = [(what, 0, 0.0, journal_chain.root(name)) for what in ("head", "tail")]
    db.executemany("INSERT INTO chain VALUES (?, ?, ?, ?)", ends)
    for each in LISTS:
        sum_up(db, each)


def sum_up(db: sqlite3.Connection, what: str) -> None:
    """Renew the checksum of a short list, whose text the connection gives as bytes."""
    rows = db.execute(LISTS[what]).fetchall()
    row = (what, len(rows), journal_chain.of_list(rows))
    db.execute("INSERT OR REPLACE INTO chain VALUES (?, ?, 0.0, ?)", row)
