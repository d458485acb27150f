"""Whatever bytes lie beside the journal, controller and watchdog start, and say what they left out."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from local_http import LOCAL
from test_controller_process import free_port, settings, until

from sentinel.adapters.console_pages import ConsolePages
from sentinel.adapters.outbox import Outbox
from sentinel.adapters.page_channel import ChannelError
from sentinel.logbook.book import Logbook
from sentinel.model.action import Page, action_id
from sentinel.model.ids import IncidentId
from sentinel.model.incident import Incident

BYTES = {
    "no text": b"\xff\xfe\x80\x00" * 50,
    "nested": b"[" * 100_000 + b"\n",
    "big numbers": b'{"incident": "I-1", "revision": 1e999, "opened": 1e999}\n' + b"9" * 10_000,
    "one long line": b"x" * 2_000_000,
    "nothing": b"",
}
FILES = (
    "logbook/index.jsonl",
    "logbook/I-0001.md",
    "recordings/I-0001.jsonl",
    "pages.log",
    "controller.pid",
    "watchdog.lock",
    "gcs.json",
    "outbox.db",
    "watchdog-outbox.db",
    "controller.log",
    "ray-link.log",
    "failpoint",
    "journal.db.lock",
)


@pytest.mark.parametrize("content", BYTES)
def test_a_controller_starts_and_serves_whatever_lies_beside_its_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    state, port = tmp_path / "state", free_port()
    for name in FILES:
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_bytes(BYTES[content])
    monkeypatch.setenv("SENTINEL_FAILPOINT", str(state / "failpoint"))
    argv = [sys.executable, "-m", "sentinel.runtime.watchdog", *settings(tmp_path, state, port)[3:]]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as watchdog:
        try:
            until(lambda: answers(port, "/logbook") and answers(port, "/logbook/I-0001"))
            assert watchdog.poll() is None
        finally:
            watchdog.send_signal(signal.SIGTERM)
            watchdog.wait(60)


def answers(port: int, path: str) -> bool:
    try:
        return LOCAL.get(f"http://127.0.0.1:{port}{path}", timeout=5).is_success
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("content", BYTES)
def test_rows_that_can_t_be_read_cost_no_other(tmp_path: Path, content: str) -> None:
    book = Logbook(tmp_path)
    book.write(Incident(IncidentId("I-1"), 1e9))
    with (tmp_path / "index.jsonl").open("ab") as index:
        index.write(BYTES[content])
    book.write(Incident(IncidentId("I-2"), 2e9))
    assert [row.incident for row in Logbook(tmp_path).rows()] == ["I-2", "I-1"]


@pytest.mark.parametrize("opened", ["1e300", "-1e300", "1e12", '"x"', "null", "true", "[]"])
def test_a_row_of_no_possible_time_is_no_row(tmp_path: Path, opened: str) -> None:
    book = Logbook(tmp_path)
    book.write(Incident(IncidentId("I-1"), 1e9))
    index = tmp_path / "index.jsonl"
    index.write_text(index.read_text() + index.read_text().replace("1000000000.0", opened))
    assert [row.opened for row in Logbook(tmp_path).rows()] == [1e9]


def put_folder(path: Path) -> None:
    path.mkdir()
    (path / "something").touch()


@pytest.mark.parametrize("make", [put_folder, os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
def test_an_index_that_is_no_file_of_ours_is_set_aside(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "index.jsonl")
    book = Logbook(tmp_path)
    assert len([*tmp_path.glob("index.jsonl.damaged-*")]) == 1
    book.write(Incident(IncidentId("I-1"), 1e9))
    assert [row.incident for row in book.rows()] == ["I-1"]


def test_an_entry_s_name_of_many_digits_is_no_number(tmp_path: Path) -> None:
    (tmp_path / f"I-{'9' * 200}.md").touch()
    (tmp_path / "I-٣٣٣.md").touch()
    assert Logbook(tmp_path).highest() == 0


def test_an_entry_that_is_no_text_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    book = Logbook(tmp_path)
    (tmp_path / "I-0001.md").write_bytes(b"# I-0001 \xff")
    assert book.entry("I-0001") == "# I-0001 \ufffd"


@pytest.mark.parametrize("content", BYTES)
def test_pages_that_can_t_be_read_keep_no_page_from_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "pages.log").write_bytes(BYTES[content])
    name = IncidentId("I-1")
    page = Page(action_id(name, "page", "on-call", 1), name, 1, "title \ud800", "body", "open")
    asyncio.run(ConsolePages(tmp_path / "pages.log", out=io.StringIO()).open(page))
    last = (tmp_path / "pages.log").read_bytes().splitlines()[-1]
    assert json.loads(last)["incident"] == "I-1"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_pages_that_are_no_file_keep_nobody_from_starting(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "pages.log")
    channel = ConsolePages(tmp_path / "pages.log", out=io.StringIO())
    name = IncidentId("I-1")
    page = Page(action_id(name, "page", "on-call", 1), name, 1, "title", "body", "open")
    with pytest.raises(ChannelError, match=r"pages\.log"):
        asyncio.run(channel.open(page))


def test_the_watchdog_s_own_outbox_may_hold_anything(tmp_path: Path) -> None:
    from sentinel import config
    from sentinel.runtime.watchdog_pages import WatchdogPages

    pages = WatchdogPages(config.Settings(cluster=config.Cluster(state_dir=tmp_path)))
    (tmp_path / "watchdog-outbox.db").write_bytes(b"\xff" * 5000)
    assert isinstance(pages.outbox(tmp_path / "watchdog-outbox.db"), Outbox)
