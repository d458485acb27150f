"""Who is let in to the report port, as ZeroMQ asks it (its RFC 27), and by which name a connection goes.

A ROUTER knows a connection by what its other end calls itself, or by a number that it counts up; where these
meet, the process aborts. So the gate gives each connection a name that nobody can choose or guess.
"""

import ctypes
import os
import struct
import threading
import time
from collections.abc import Callable

import zmq
from zmq.utils import z85

from sentinel.model.ids import Seconds

_ENDPOINT = "inproc://zeromq.zap.01"
_NAME_BYTES = 16
_FRAMES = 9
"""Of a question by CURVE: who asks, nothing, version, number, domain, address, identity, mechanism, key."""
_PAUSE_S: Seconds = 0.002
"""ZeroMQ reads what the other end calls itself just after it has asked: the later answer counts."""


def shuffle_numbers() -> None:
    """Have the next ROUTER count from a number that nobody knows: ZeroMQ takes it from C's `rand`."""
    ctypes.CDLL(None).srand(ctypes.c_uint(int.from_bytes(os.urandom(4), "little")))


class Gate:
    """Answers on a thread of its own; `lets_in` is asked there about a CURVE public key in Z85."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", lets_in: Callable[[str], bool]) -> None:
        self._context, self._lets_in = context, lets_in
        self._socket = context.socket(zmq.ROUTER)
        self._thread = threading.Thread(target=self._run, name="report-gate", daemon=True)

    def open(self) -> None:
        """Begin to answer; before this, ZeroMQ lets nobody in."""
        self._socket.bind(_ENDPOINT)
        self._thread.start()

    def close(self) -> None:
        """Answer nobody any more."""
        if self._thread.is_alive():
            with self._context.socket(zmq.REQ) as last:
                last.linger = 1000
                last.connect(_ENDPOINT)
                last.send(b"")  # an empty request, which ZeroMQ never makes, ends the thread
                self._thread.join()
        self._socket.close(linger=0)

    def _run(self) -> None:
        while True:
            asked = [self._socket.recv_multipart()]
            time.sleep(_PAUSE_S)
            while self._socket.poll(0):
                asked.append(self._socket.recv_multipart())
            for question in asked:
                if len(question) < _FRAMES - 1:
                    return
                self._socket.send_multipart(self._answer(question))

    def _answer(self, question: list[bytes]) -> list[bytes]:
        head = question[:4]
        if len(question) != _FRAMES or question[-2] != b"CURVE":
            return [*head, b"400", b"no key", b"", b""]
        key = z85.encode(question[-1])
        if not self._lets_in(key.decode()):
            return [*head, b"400", b"unknown key", b"", b""]
        return [*head, b"200", b"OK", key, _property(b"Identity", os.urandom(_NAME_BYTES))]


def _property(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
