"""A ping of a node's port says what the port did; what fails on this machine is `unknown`."""

import asyncio
import contextlib
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel.adapters import ping as module
from sentinel.adapters.ping import ping
from sentinel.backends.ray import gcs


@contextlib.contextmanager
def no_file_free() -> Iterator[None]:
    """Let this process open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def test_an_open_port_and_a_closed_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert asyncio.run(ping("127.0.0.1", listener.getsockname()[1])) == "ok"
    assert asyncio.run(ping("127.0.0.1", free_port())) == "refused"


def test_no_file_left_is_no_closed_port() -> None:
    async def scenario() -> str:
        with no_file_free():
            return await ping("127.0.0.1", port)

    port = free_port()
    assert asyncio.run(scenario()) == "unknown"


def test_no_file_left_is_no_dead_gcs() -> None:
    port = free_port()
    with no_file_free():
        assert gcs.alive(f"127.0.0.1:{port}") == "unknown"
    assert gcs.alive(f"127.0.0.1:{port}") == "refused"


@pytest.mark.parametrize(
    ("address", "port"),
    [
        pytest.param("no-such-host.invalid", 1, id="a name that nobody knows"),
        pytest.param("127.0.0.1", 2**40, id="no port"),
        pytest.param("a\0b", 1, id="no address"),
        pytest.param("127.0.0.1", 0, id="none told"),
    ],
)
def test_what_can_not_be_asked_is_unknown(address: str, port: int) -> None:
    assert asyncio.run(ping(address, port, within=5.0)) == "unknown"


def test_a_deadline_that_passed_while_this_process_slept_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleeps(*_: object) -> None:
        time.sleep(0.05)
        await asyncio.sleep(1.0)

    monkeypatch.setattr(module.asyncio, "open_connection", sleeps)
    assert asyncio.run(ping("127.0.0.1", 1, within=0.01)) == "unknown"
