"""A controller that does not answer is killed before another one is started, and paged if that is no help."""

import os
import signal
import socket
import sys
import threading
from pathlib import Path

import httpx
import psutil
import pytest
from local_http import LOCAL

from sentinel import config
from sentinel.demo.sandbox import wait
from sentinel.runtime import health as health_module
from sentinel.runtime import running
from sentinel.runtime import watchdog as module
from sentinel.runtime.health import Health
from sentinel.runtime.running import Running
from sentinel.runtime.watchdog import Life, Watchdog

ANSWERS = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[2])); self.end_headers()
    log_message = lambda *_: None
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
SOON = 60.0


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "HUNG_AFTER_S", 0.5)
    monkeypatch.setattr(health_module, "ANSWERS_WITHIN_S", 0.2)


class Stand:
    """A watchdog of controllers that only answer, whose pages are kept."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, status: int = 200) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        cluster = config.Cluster(state_dir=root, web_port=self.port)
        self.watchdog = Watchdog(config.Settings(cluster=cluster), None)
        self.watchdog._argv = [sys.executable, "-c", ANSWERS, str(self.port), str(status)]
        self.pages: list[str] = []
        self.healths: list[Health] = []
        monkeypatch.setattr(module, "Health", self._watched)
        monkeypatch.setattr(self.watchdog, "_tell", lambda title, why: self.pages.append(f"{title}: {why}"))

    def _watched(self, url: str, age: float) -> Health:
        self.healths.append(Health(url, age))
        return self.healths[-1]

    def watch_one(self, number: signal.Signals) -> tuple[Life, int]:
        """Watch a controller that gets this signal once it has answered; what became of it, and its pid."""
        found: list[Life] = []
        watching = threading.Thread(target=lambda: found.append(self.watchdog._watch_one()))
        watching.start()
        wait("its answer is seen", SOON, lambda: self.healths and self.healths[0]._patience < 1.0)
        child = self.watchdog._child
        assert child is not None
        os.kill(child.pid, number)
        watching.join(SOON)
        return found[0], child.pid


def test_a_controller_that_is_stopped_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand = Stand(tmp_path, monkeypatch)
    life, pid = stand.watch_one(signal.SIGSTOP)
    assert (life.hung, psutil.pid_exists(pid), stand.pages) == (True, False, [])


def test_a_controller_that_ends_has_not_hung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Stand(tmp_path, monkeypatch).watch_one(signal.SIGKILL)[0].hung is False


def test_one_that_hangs_in_the_place_of_another_one_is_paged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(tmp_path, monkeypatch)
    for _ in range(4):
        stand.watchdog._count(Life(60.0, hung=True))
    assert stand.pages == ["Sentinel's controller hangs again: 2 in a row did not answer and were killed."]
    for _ in range(3):
        stand.watchdog._count(Life(2 * module.RELAPSE_S, hung=True))
    assert len(stand.pages) == 1


def test_beside_one_that_can_t_be_killed_no_other_is_started_and_people_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENDS_WITHIN_S", 0.01)
    stand = Stand(tmp_path, monkeypatch)
    reader, writer = os.pipe()  # a handle that shows no end
    stand.watchdog._kill(Running(2**22 + 1, 1), reader)
    os.close(reader)
    os.close(writer)
    assert len(stand.pages) == 1
    assert "can't be killed" in stand.pages[0]


def asked(url: str, times: int, age: float = 1e6) -> Health:
    health = Health(url, age)
    health._answered -= 100.0
    for _ in range(times):
        health.ask()
    return health


def test_misses_are_counted_for_the_asker_may_have_stood_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(tmp_path, monkeypatch)
    url = f"http://127.0.0.1:{stand.port}/healthz"
    assert not asked(url, health_module.MISSES - 1).hangs
    assert asked(url, health_module.MISSES).hangs


def test_one_that_starts_has_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "STARTS_WITHIN_S", 1e4)
    stand = Stand(tmp_path, monkeypatch)
    assert not asked(f"http://127.0.0.1:{stand.port}/healthz", 100, age=0.0).hangs


def test_what_only_keeps_us_from_asking_is_no_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_descriptor(*_: object, **__: object) -> None:
        raise httpx.ConnectError("x") from OSError(24, "Too many open files")

    monkeypatch.setattr(httpx.Client, "get", no_descriptor)
    assert not asked("http://127.0.0.1:1/healthz", 100).hangs


def test_one_that_says_that_its_loop_does_not_turn_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(tmp_path, monkeypatch, status=503)
    started = stand.watchdog._start()
    url = f"http://127.0.0.1:{stand.port}/healthz"
    try:
        wait("it serves", SOON, lambda: _status(url) == 503)
        assert asked(url, health_module.MISSES).hangs
    finally:
        started.send(signal.SIGKILL)
        os.waitpid(started.pid, 0)


def _status(url: str) -> int:
    try:
        return LOCAL.get(url, timeout=1.0).status_code
    except httpx.HTTPError:
        return 0


def test_a_process_knows_its_age() -> None:
    assert 0.0 <= running.child(os.getpid()).age < 1e6
