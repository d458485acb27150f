"""SIGKILL of the delivering process between a post and its record."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from slack_process import SlackProcess, details, ids, opened, page, until

from sentinel.adapters.outbox import Outbox

SCRIPT = Path(__file__).with_name("deliver.py")


@contextmanager
def delivering(slack: SlackProcess, folder: Path) -> Iterator[None]:
    command = [sys.executable, str(SCRIPT), str(folder / "outbox"), slack.api, str(folder / "outcomes")]
    process = subprocess.Popen(command)
    try:
        yield
        assert process.poll() is None, "it ended by itself"
    finally:
        process.kill()
        process.wait()


def outcomes(folder: Path) -> list[str]:
    path = folder / "outcomes"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(
    "applied",
    [pytest.param(0, id="message"), pytest.param(1, id="first detail"), pytest.param(2, id="second detail")],
)
def test_a_kill_between_post_and_record_leaves_exactly_one_message(
    slack: SlackProcess, tmp_path: Path, applied: int
) -> None:
    pages = [page("INC-1", 1, thread="one"), page("INC-1", 2, thread="two")]
    box = Outbox(tmp_path / "outbox", print)
    for each in pages:
        box.enqueue(each)
    box.close()
    passed = [{"mode": "ok", "times": applied}] if applied else []
    slack.control(*passed, {"mode": "hold-reply"})
    with delivering(slack, tmp_path):
        until(lambda: len(slack.messages()) == applied + 1)
    slack.control({"mode": "ok"})
    with delivering(slack, tmp_path):
        until(lambda: {line.split()[0] for line in outcomes(tmp_path)} == {each.id for each in pages})
    assert opened(slack.messages()) == ["INC-1"]
    assert details(slack.messages()) == [("INC-1", 1), ("INC-1", 2)]


def test_a_kill_between_edit_and_record_loses_no_edit(slack: SlackProcess, tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox", print)
    box.enqueue(page("INC-1", 1))
    with delivering(slack, tmp_path):
        until(lambda: len(outcomes(tmp_path)) == 1)
        slack.control({"mode": "hold-reply"})
    box.enqueue(page("INC-1", 2))
    box.close()
    with delivering(slack, tmp_path):
        until(lambda: bool(slack.messages()[0]["edits"]))
    slack.control({"mode": "ok"})
    with delivering(slack, tmp_path):
        until(lambda: len(outcomes(tmp_path)) == 2)
    (message,) = slack.messages()
    assert ids(message) == ("INC-1", 2)
