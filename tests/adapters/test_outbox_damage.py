"""Whatever lies in an outbox's file, pages go out: what can't be read is dropped or set aside."""

import asyncio
import io
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from slack_process import page

from sentinel.adapters.console_pages import ConsolePages
from sentinel.adapters.outbox import Outbox
from sentinel.adapters.outbox_rows import OutboxError, Rows
from sentinel.adapters.outboxes import Outboxes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An outbox with two incidents, one of which a channel shows."""
    rows = Rows(tmp_path / "outbox.db")
    for name in ("I-1", "I-2"):
        rows.add(page(name, 1), 1e9)
    rows.shown("file:pages.log", page("I-1", 1), "I-1", 1)
    rows.close()
    return tmp_path / "outbox.db"


def delivered(path: Path) -> list[str]:
    """Name the incidents that are shown once a page about I-3 is, too."""
    reported: list[str] = []
    outboxes = Outboxes(path, lambda action, *_: reported.append(action))
    outboxes.keep(page("I-3", 1))
    channel = ConsolePages(path.with_name("pages.log"), out=io.StringIO())

    async def run() -> None:
        running = asyncio.create_task(outboxes.run([channel]))
        async with asyncio.timeout(20):
            while page("I-3", 1).id not in reported:
                assert not running.done(), running
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())
    lines = path.with_name("pages.log").read_text().splitlines()
    return [json.loads(line)["incident"] for line in lines]


CHANGES = [
    pytest.param("UPDATE pages SET page = 'x' WHERE incident = 'I-2'", id="a page that is no JSON"),
    pytest.param("UPDATE pages SET page = printf('%.*c', 100000, '[') WHERE incident = 'I-2'", id="nested"),
    pytest.param("UPDATE pages SET page = x'fffe' WHERE incident = 'I-2'", id="bytes as page"),
    pytest.param("UPDATE pages SET page = CAST(x'fffe' AS TEXT) WHERE incident = 'I-2'", id="no UTF-8"),
    pytest.param("UPDATE pages SET incident = CAST(x'ff' AS TEXT) WHERE incident = 'I-2'", id="name"),
    pytest.param(
        "UPDATE pages SET page = (SELECT page FROM pages WHERE incident = 'I-1') WHERE incident = 'I-2'",
        id="another incident's page",
    ),
    pytest.param("UPDATE pages SET revision = 'x' WHERE incident = 'I-2'", id="a word as revision"),
    pytest.param("UPDATE pages SET at = 9e999 WHERE incident = 'I-2'", id="endless time"),
    pytest.param("INSERT INTO channels VALUES ('file:pages.log', 'x', 'y', 'z', x'ff')", id="health"),
    pytest.param("INSERT INTO channels VALUES ('file:pages.log', 1, 2, 9e15, '')", id="wait for ever"),
    pytest.param(
        "INSERT INTO messages VALUES ('file:pages.log', 'I-3', '', -1, 0, 0, '', 9e15)",
        id="I-3 waits",
    ),
    pytest.param("UPDATE messages SET ref = x'ff', revision = 1e300", id="a number of a message"),
    pytest.param("DROP TABLE messages", id="a table gone"),
    pytest.param("ALTER TABLE pages RENAME COLUMN place TO elsewhere", id="a column renamed"),
    pytest.param("PRAGMA user_version = -5", id="a version before the first"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_row_that_can_t_be_read_costs_no_other_page(path: Path, change: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(change)
    db.close()
    assert "I-3" in delivered(path)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 2 : 4096 * 4] = b"\xa5" * 8192
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"not a database, by any means" * 100),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        flipped,
        lambda path: path.with_name("outbox.db-wal").write_bytes(b"\xff" * 5000),
    ],
    ids=["garbage", "torn", "pages gone", "log"],
)
def test_a_damaged_file_is_set_aside_and_keeps_no_page_from_people(
    path: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(path)
    assert "I-3" in delivered(path)


def test_what_is_set_aside_is_still_there_for_people(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)
    delivered(path)
    [aside] = path.parent.glob("outbox.db.damaged-*")
    assert aside.read_bytes() == b"not a database" * 100


def test_a_damaged_outbox_says_so(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(OutboxError) as refused:
        Outbox(path, lambda *_: None)
    assert refused.value.damaged
