"""A controller as a process: what keeps it from starting is one line, and a full disk does not end it."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from sentinel.adapters.keys import Keys

DEADLINE_S = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port: int = door.getsockname()[1]
    return port


def settings(root: Path, state_dir: Path, web_port: int) -> list[str]:
    file = root / "sentinel.toml"
    ports = f"report_port = {free_port()}\nweb_port = {web_port}\n"
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
    controller = subprocess.Popen(settings(tmp_path, tmp_path, port), stdout=full, stderr=full)
    try:
        url, keys = f"http://127.0.0.1:{port}/api", Keys(tmp_path / "keys")
        until(lambda: controller.poll() is not None or (tmp_path / "keys" / "api.token").exists())
        with httpx.Client(trust_env=False, timeout=10.0) as web:
            until(lambda: controller.poll() is not None or answers(web, f"{url}/status"))
            assert controller.poll() is None
            token = {"Authorization": f"Bearer {keys.api_token}"}
            assert web.post(f"{url}/stop-actions", json={"reason": "a test"}, headers=token).is_success
        assert controller.poll() is None
    finally:
        controller.terminate()
        controller.wait()


def answers(web: httpx.Client, url: str) -> bool:
    try:
        return web.get(url).is_success
    except httpx.TransportError:
        return False
