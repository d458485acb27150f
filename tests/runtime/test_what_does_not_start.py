"""A controller that can't start says so in one line, and its watchdog pages whatever is in the way."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sentinel import config
from sentinel.adapters.journal import Journal
from sentinel.adapters.keys import ensure_keys
from sentinel.adapters.outbox_rows import Rows
from sentinel.demo.sandbox import wait
from sentinel.runtime.watchdog import DOES_NOT_START, Watchdog


def unreadable_token(state: Path) -> str:
    return f'[pages]\nslack_token_file = "{state}/missing"'


def broken_key(state: Path) -> str:
    ensure_keys(state / "keys")
    (state / "keys" / "controller.key").write_text("short")
    return ""


def newer_outbox(state: Path) -> str:
    Rows(state / "outbox.db").close()
    with sqlite3.connect(state / "outbox.db") as db:
        db.execute("PRAGMA user_version=99")
    return ""


def torn_snapshot(state: Path) -> str:
    journal = Journal(state / "journal.db")
    journal.save_snapshot(0, b"")
    journal._db.execute("UPDATE snapshot SET body = x'7b'")
    journal.close()
    return ""


def foreign_snapshot(state: Path) -> str:
    journal = Journal(state / "journal.db")
    journal.save_snapshot(0, b"something else")
    journal.close()
    return ""


def greedy_runbook(state: Path) -> str:
    (folder := state / "runbooks").mkdir(mode=0o700)
    front = "title: A\nmatches: [{log: '.'}]\nblames: node\nremedy: none\npage: never\nconfidence: 1.0\n"
    (folder / "mine.md").write_text(f"---\ncause: mine\n{front}---\n")
    return ""


def settings_in(state: Path, more: str) -> Path:
    with socket.socket() as free, socket.socket() as other:
        free.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        report, web = free.getsockname()[1], other.getsockname()[1]
    path = state / "sentinel.toml"
    path.write_text(f'[cluster]\nstate_dir = "{state}"\nreport_port = {report}\nweb_port = {web}\n{more}')
    return path


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(greedy_runbook, "mine.md: matches: log: '.' matches everything", id="own runbook"),
        pytest.param(unreadable_token, "pages.slack_token_file: No such file", id="token file"),
        pytest.param(broken_key, "controller.key: not a CURVE key", id="key file"),
        pytest.param(newer_outbox, "outbox version 99 is newer", id="outbox of a newer version"),
        pytest.param(
            torn_snapshot, "journal.db is damaged: snapshot 0 is not as it was written", id="torn snapshot"
        ),
        pytest.param(
            foreign_snapshot, "journal.db, snapshot 0: no StoredState: ", id="snapshot of something else"
        ),
    ],
)
def test_a_controller_that_can_t_start_says_why_in_one_line(
    tmp_path: Path, spoil: Callable[[Path], str], said: str
) -> None:
    path = settings_in(tmp_path, spoil(tmp_path))
    argv = [sys.executable, "-m", "sentinel.runtime.controller", "--config", str(path)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith("sentinel controller: ")
    assert said in line
    assert not list(tmp_path.glob("ray-link.log"))


@pytest.mark.parametrize("spoil", [unreadable_token, newer_outbox])
def test_the_watchdog_pages_whatever_keeps_the_controller_down(
    tmp_path: Path, spoil: Callable[[Path], str]
) -> None:
    path = settings_in(tmp_path, spoil(tmp_path))
    if (outbox := tmp_path / "outbox.db").exists():
        outbox.rename(tmp_path / "watchdog-outbox.db")
    Watchdog(config.load(path, env={}), path)._tell(*DOES_NOT_START)
    [page] = map(json.loads, (tmp_path / "pages.log").read_text().splitlines())
    assert "does not start" in page["title"]


def test_a_second_controller_touches_nothing_of_the_first_one_s(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    index = tmp_path / "logbook" / "index.jsonl"
    index.parent.mkdir()
    index.write_text("\n".join(["outdated"] * 20))
    path = settings_in(tmp_path, "")
    argv = [sys.executable, "-m", "sentinel.runtime.controller", "--config", str(path)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (
        ended.stderr
        == f"sentinel controller: journal {journal.path} has a writer already (pid {os.getpid()})\n"
    )
    assert index.read_text().startswith("outdated")
    journal.close()


@pytest.fixture
def ray() -> Iterator[socket.socket]:
    """What answers like a GCS, as far as `sentinel up` looks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_ctrl_c_while_sentinel_comes_up_leaves_nothing_started(tmp_path: Path, ray: socket.socket) -> None:
    path = settings_in(tmp_path, f'[ray]\naddress = "127.0.0.1:{ray.getsockname()[1]}"')
    (tmp_path / "uvicorn.py").write_text("import time; time.sleep(60)")  # a controller that takes long
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    argv = [sys.executable, "-m", "sentinel.cli", "--config", str(path), "up"]
    coming = subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True)
    wait("the controller is started", 30.0, (tmp_path / "controller.pid").exists)
    coming.send_signal(signal.SIGINT)
    coming.communicate(timeout=30)
    left = [each for each in psutil.process_iter() if str(path) in _command_of(each)]
    for process in left:
        process.kill()
    assert (coming.returncode, left) == (130, [])


def _command_of(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def test_up_says_why_ray_refuses_and_leaves_nothing_running(tmp_path: Path, ray: socket.socket) -> None:
    address = f"127.0.0.1:{ray.getsockname()[1]}"
    path = settings_in(tmp_path, f'[ray]\naddress = "{address}"\n[job]\nworld = 1\ntrainable = "m:t"')
    planted = (
        "import time, ray\n"
        "def refuses(*_, **__):\n"
        "    print('gcs_client.cc: InvalidAuthToken: the token is missing', flush=True)\n"
        "    time.sleep(60)\n"
        "ray.init = refuses\n"
    )
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant" / "sitecustomize.py").write_text(
        "import sys\nif '--endpoint' in sys.orig_argv:\n"
        + "".join(f"    {line}\n" for line in planted.splitlines())
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "plant"), *sys.path])}
    argv = [sys.executable, "-m", "sentinel.cli", "--config", str(path), "up"]
    ended = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)
    left = [each for each in psutil.process_iter() if str(path) in _command_of(each)]
    for process in left:
        process.kill()
    assert (ended.returncode, left) == (1, [])
    [line] = ended.stderr.splitlines()
    assert f"nothing is left running: {address} refuses the token" in line
    assert "InvalidAuthToken: the token is missing" in line
