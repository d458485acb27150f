"""A controller as a process: what keeps it from starting, a full disk under its log, and who misses it."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
from local_http import LOCAL

from sentinel import config
from sentinel.adapters.journal import Journal
from sentinel.adapters.keys import Keys
from sentinel.runtime.watchdog import Watchdog

DEADLINE_S = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def settings(root: Path, state_dir: Path, web_port: int, more: str = "") -> list[str]:
    file = root / "sentinel.toml"
    ports = f"report_port = {free_port()}\nweb_port = {web_port}\n{more}\n"
    file.write_text(f"[cluster]\nstate_dir = '{state_dir}'\n{ports}[ray]\naddress = '127.0.0.1:1'\n")
    return [sys.executable, "-m", "sentinel.runtime.controller", "--config", str(file)]


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def why_it_ends(argv: list[str]) -> str:
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    return line


def test_a_web_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        line = why_it_ends(settings(tmp_path, tmp_path / "state", port))
    assert line.startswith(f"sentinel controller: cluster.web_port {port}: Address already in use")


def test_a_state_directory_too_deep_for_a_socket_is_named(tmp_path: Path) -> None:
    line = why_it_ends(settings(tmp_path, tmp_path / ("deep" * 20), free_port()))
    assert line.startswith(f"sentinel controller: {tmp_path}")
    assert line.endswith("a socket's path may have 107 bytes")


@pytest.fixture
def full() -> IO[str]:
    """A log on a disk that is full."""
    return Path("/dev/full").open("w")


def test_a_log_on_a_full_disk_does_not_end_the_controller(tmp_path: Path, full: IO[str]) -> None:
    port = free_port()
    with running(settings(tmp_path, tmp_path, port), port, full) as controller:
        token = {"Authorization": f"Bearer {Keys(tmp_path / 'keys').api_token}"}
        url = f"http://127.0.0.1:{port}/api/stop-actions"
        assert LOCAL.post(url, json={"reason": "a test"}, headers=token).is_success
        assert controller.poll() is None


@pytest.mark.parametrize(("world", "jobs"), [(0, []), (1, ["train"])])
def test_a_job_of_no_ranks_is_no_job(tmp_path: Path, full: IO[str], world: int, jobs: list[str]) -> None:
    port = free_port()
    argv = settings(tmp_path, tmp_path, port)
    with Path(argv[-1]).open("a") as file:
        file.write(f"[job]\nworld = {world}\n")
    with running(argv, port, full):
        status = LOCAL.get(f"http://127.0.0.1:{port}/api/status").json()
    assert [job["job"] for job in status["jobs"]] == jobs


def test_a_controller_that_is_stopped_leaves_nothing_to_be_decided_again(
    tmp_path: Path, full: IO[str]
) -> None:
    port = free_port()
    with running(settings(tmp_path, tmp_path, port), port, full):
        pass
    with closing(Journal(tmp_path / "journal.db")) as journal:
        assert journal.last_seq
        assert journal.since_snapshot == 0


def test_a_controller_that_hangs_is_missed_by_the_dead_man_s_switch(tmp_path: Path, full: IO[str]) -> None:
    port, fed = free_port(), threading.Semaphore(0)

    class Switch(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            fed.release()
            self.send_response(200)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Switch) as switch:
        threading.Thread(target=switch.serve_forever, daemon=True).start()
        more = f"dead_man_switch = 'http://127.0.0.1:{switch.server_port}/'"
        argv = settings(tmp_path, tmp_path, port, more)
        watchdog = Watchdog(config.load(Path(argv[-1]), {}), None)
        with running(argv, port, full) as controller:
            controller.send_signal(signal.SIGSTOP)
            watchdog._feed()
            assert not fed.acquire(blocking=False)
            controller.send_signal(signal.SIGCONT)
            watchdog._feed()
            assert fed.acquire(blocking=False)
        switch.shutdown()


def test_a_new_journal_s_doubt_is_resolved_when_actions_are_resumed(tmp_path: Path, full: IO[str]) -> None:
    (tmp_path / "logbook").mkdir(mode=0o700)
    (tmp_path / "logbook" / "I-0007.md").write_text("# told from a journal that is gone\n")
    port = free_port()
    argv = settings(tmp_path, tmp_path, port)

    def stages() -> list[str]:
        file = tmp_path / "pages.log"
        return [json.loads(line)["stage"] for line in file.read_text().splitlines()] if file.exists() else []

    with running(argv, port, full):
        until(lambda: stages() == ["open"])
    with running(argv, port, full):  # the doubt outlives a restart, and is told once
        headers = {"Authorization": f"Bearer {Keys(tmp_path / 'keys').api_token}"}
        url = f"http://127.0.0.1:{port}/api/resume-actions"
        assert stages() == ["open"]
        assert LOCAL.post(url, json={"who": "ada"}, headers=headers).is_success
        until(lambda: stages() == ["open", "resolved"])


@contextmanager
def running(argv: list[str], port: int, log: IO[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A controller that answers."""
    controller = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        until(lambda: controller.poll() is not None or answers(port))
        assert controller.poll() is None
        yield controller
    finally:
        controller.send_signal(signal.SIGCONT)
        controller.terminate()
        controller.wait()


def answers(port: int) -> bool:
    try:
        return LOCAL.get(f"http://127.0.0.1:{port}/healthz").is_success
    except httpx.TransportError:
        return False
