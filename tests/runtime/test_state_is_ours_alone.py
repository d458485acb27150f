"""A state directory in which others have a hand is refused, what is in it is nobody else's to read."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from local_http import LOCAL
from test_controller_process import free_port, settings, until

from sentinel.adapters.journal import Journal
from sentinel.adapters.journal_file import JournalError
from sentinel.adapters.outbox import Outbox
from sentinel.adapters.outbox_file import OutboxError
from sentinel.demo import leftovers
from sentinel.runtime import failpoints

NOBODY = 65534
root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


def open_to_all(state: Path) -> None:
    state.mkdir()
    state.chmod(0o777)


def another_user_s(state: Path) -> None:
    state.mkdir()
    os.chown(state, NOBODY, NOBODY)


def a_link(state: Path) -> None:
    state.with_name("elsewhere").mkdir()
    state.symlink_to("elsewhere")


COMMANDS = {
    "up": ["sentinel.cli", "--config", "{config}", "up"],
    "watchdog": ["sentinel.runtime.watchdog", "--config", "{config}"],
    "controller": ["sentinel.runtime.controller", "--config", "{config}"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        pytest.param(open_to_all, "others can write to it", id="others can write"),
        pytest.param(another_user_s, "is another user's", marks=root, id="another user made it"),
        pytest.param(a_link, "is a link", id="a link"),
    ],
)
def test_a_state_directory_in_which_others_have_a_hand_is_refused_in_one_line(
    tmp_path: Path, command: str, spoil: Callable[[Path], None], why: str
) -> None:
    state = tmp_path / "state"
    spoil(state)
    config = settings(tmp_path, state, free_port())[-1]
    argv = [sys.executable, "-m", *(each.format(config=config) for each in COMMANDS[command])]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert str(state) in line
    assert why in line
    assert [*state.iterdir()] == []


def test_all_that_a_controller_writes_is_for_its_user_alone_also_what_an_older_release_left(
    tmp_path: Path,
) -> None:
    state, port = tmp_path / "state", free_port()
    old = [state / "journal.db", state / "outbox.db", state / "pages.log", state / "logbook" / "index.jsonl"]
    Journal(private_folder(state) / "journal.db").close()
    Outbox(state / "outbox.db", lambda *_: None).close()
    (state / "logbook").mkdir(0o755)
    for path in old:
        path.touch()
        path.chmod(0o644)
    state.chmod(0o755)
    argv = [sys.executable, "-m", "sentinel.runtime.watchdog", *settings(tmp_path, state, port)[3:]]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, umask=0) as watchdog:
        try:
            until(lambda: answers(port))
            until(lambda: (state / "ray-link.log").exists())
            found = {path: stat.S_IMODE(path.lstat().st_mode) for path in [state, *state.rglob("*")]}
        finally:
            watchdog.send_signal(signal.SIGTERM)
            watchdog.wait(60)
    assert {state / "journal.db-wal", state / "outbox.db-wal", state / "journal.db.head"} <= found.keys()
    assert {path: oct(mode) for path, mode in found.items() if mode & 0o077} == {}


def private_folder(path: Path) -> Path:
    path.mkdir(0o700)
    return path


def answers(port: int) -> bool:
    try:
        return LOCAL.get(f"http://127.0.0.1:{port}/healthz", timeout=2).is_success
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("end", ["", "-wal", "-shm", ".lock"])
@pytest.mark.parametrize("make", ["link", "fifo", pytest.param("theirs", marks=root), "open"])
def test_a_database_is_not_opened_through_what_somebody_else_put_in_its_place(
    tmp_path: Path, end: str, make: str
) -> None:
    Journal(tmp_path / "journal.db").close()
    precious, path = tmp_path / "precious", tmp_path / f"journal.db{end}"
    precious.write_text("precious")
    path.unlink(missing_ok=True)
    match make:
        case "link":
            path.symlink_to(precious)
        case "fifo":
            os.mkfifo(path)
        case "theirs":
            path.touch()
            os.chown(path, NOBODY, NOBODY)
        case _:
            path.touch()
            path.chmod(0o666)
    with pytest.raises(JournalError) as refused:
        Journal(tmp_path / "journal.db")
    assert "\n" not in str(refused.value)
    if end != ".lock":
        (tmp_path / f"outbox.db{end}").symlink_to(precious)
        with pytest.raises(OutboxError, match="a link, a FIFO"):
            Outbox(tmp_path / "outbox.db", lambda *_: None)
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"after-commit " * 50_000, b""])
def test_a_failpoint_that_is_no_word_is_no_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / "failpoint").write_bytes(content)
    monkeypatch.setattr(failpoints, "FILE", str(tmp_path / "failpoint"))
    failpoints.failpoint("after-commit")
    assert (tmp_path / "failpoint").read_bytes() == content, "whoever reaches its moment takes it away"


@root
def test_a_demo_s_note_in_somebody_else_s_folder_takes_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever links to a dead demo's note could else have any cluster's memory of that name removed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead = tmp_path / "kept"
    dead.mkdir(0o700)
    leftovers.sign(tmp_path / "sentinel-real")
    note = (tmp_path / "sentinel-real" / "owner.json").rename(dead / "owner.json")
    note.write_text(note.read_text().replace(str(os.getpid()), "1"))
    (tmp_path / "sentinel-real").rmdir()
    theirs = tmp_path / "sentinel-blue"
    theirs.mkdir()
    (theirs / "owner.json").symlink_to(note)
    os.chown(theirs, NOBODY, NOBODY)
    removed: list[Path] = []
    monkeypatch.setattr(leftovers, "remove", removed.append)
    assert leftovers.sweep() == []
    assert removed == []
