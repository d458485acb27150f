"""What is made of NCCL's RAS port: its answer stands as text, and nobody waits for it for long."""

import socket
import threading
import time
from collections.abc import Callable

import pytest

from sentinel.model.flight import Flight, read
from sentinel.runtime.agent import ras

PATIENT_S = 20.0
STATUS = b"""Job summary
===========

Group     Comms     Nodes     Ranks    Status  Errors
    0         1         4        32   RUNNING  INCOMPLETE
"""
"""As the manual of NCCL 2.28 shows it, shortened."""
Answer = Callable[[socket.socket], None]


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    server = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("NCCL_RAS_ADDR", f"127.0.0.1:{server.getsockname()[1]}")
    return server


def said(server: socket.socket, answer: Answer, within_s: float = PATIENT_S) -> str:
    def serve() -> None:
        with server, server.accept()[0] as client:
            assert client.recv(99) == ras.QUESTION
            answer(client)

    thread = threading.Thread(target=serve)
    thread.start()
    asked = ras.begin()
    assert asked is not None
    found = ras.finish(asked, time.monotonic() + within_s)
    thread.join()
    return found


def test_its_answer_stands_set_in_below_its_name(port: socket.socket) -> None:
    lines = said(port, lambda client: client.sendall(STATUS)).splitlines()
    assert lines[0] == "NCCL's RAS:"
    assert "INCOMPLETE" in lines[-1]
    assert all(line.startswith("  ") for line in lines[1:])


def test_an_answer_that_does_not_end_stands_as_far_as_it_came(port: socket.socket) -> None:
    def stalls(client: socket.socket) -> None:
        client.sendall(STATUS)
        client.recv(1)  # until we hang up

    assert "RUNNING" in said(port, stalls, 1.0)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda client: None, id="nothing"),
        pytest.param(lambda client: client.sendall(b"\n\n  \n"), id="no words"),
    ],
)
def test_no_answer_is_none(port: socket.socket, answer: Answer) -> None:
    assert said(port, answer) == ""


def test_what_looks_like_a_line_of_ours_is_none(port: socket.socket) -> None:
    line = f"{Flight(1, 'g', 'x', 3, True)}\n".encode()
    assert list(read([said(port, lambda client: client.sendall(line + b"\x1b[2J\x00\xff" + line))])) == []


def test_a_flood_is_cut_off(port: socket.socket) -> None:
    def floods(client: socket.socket) -> None:
        try:
            for _ in range(64):
                client.sendall(b"x" * 9999 + b"\n")
        except OSError:
            pass

    assert len(said(port, floods)) < 2 * ras._LARGEST


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "h:99999999", ":"])
def test_where_nobody_listens_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NCCL_RAS_ADDR", address)
    assert ras.begin() is None
