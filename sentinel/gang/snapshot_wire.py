"""The connection between the holders of snapshots: authenticated messages over TCP, and payloads in chunks.

A request and its answer are msgpack maps; a payload follows as messages of at most CHUNK_BYTES. Both ends
prove by HMAC that they know the key (multiprocessing's challenge); contents are not encrypted.
"""

import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Any, TypeAlias

import msgpack

from sentinel.gang.snapshot_codec import NoRoomError, Part, SnapshotError
from sentinel.gang.snapshot_slots import CHUNK_BYTES
from sentinel.model.ids import Seconds

Address: TypeAlias = tuple[str, int]


class Channel:
    """One connection; its calls end with OSError or EOFError when the other end is gone or silent."""

    def __init__(self, sock: socket.socket, silence_s: Seconds) -> None:
        self._socket = sock
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3)):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        self.expect_within(silence_s)
        self._connection = Connection(os.dup(sock.fileno()))

    def expect_within(self, silence_s: Seconds) -> None:
        """Take a longer silence than this, in the middle of an exchange, for the other end's death."""
        limit = struct.pack("ll", int(silence_s), int(silence_s % 1 * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def greet(self, key: bytes, *, server: bool) -> None:
        """Prove the key to each other. Raises AuthenticationError."""
        first, second = (
            (deliver_challenge, answer_challenge) if server else (answer_challenge, deliver_challenge)
        )
        first(self._connection, key)
        second(self._connection, key)

    def wait(self) -> None:
        """Wait, for as long as it takes, until the other end says something or leaves."""
        self._connection.poll(None)

    def say(self, message: Mapping[str, Any]) -> None:
        """Send one message."""
        self._connection.send_bytes(msgpack.packb(message))

    def hear(self) -> dict[str, Any]:
        """Receive one message. Raises ValueError when it is none."""
        message = msgpack.unpackb(self._connection.recv_bytes(CHUNK_BYTES))
        if not isinstance(message, dict):
            raise ValueError(f"expected a message, got {message!r:.80}")
        return message

    def send_payload(self, parts: Iterable[Part]) -> None:
        """Send a payload whose length the message before it told."""
        for part in parts:
            for at in range(0, len(part), CHUNK_BYTES):
                self._connection.send_bytes(memoryview(part)[at : at + CHUNK_BYTES])

    def payload(self, length: int) -> Iterator[bytes]:
        """Receive a payload of this many bytes, piece by piece."""
        while length > 0:
            piece = self._connection.recv_bytes(CHUNK_BYTES)
            length -= len(piece)
            yield piece

    def cut(self) -> None:
        """End the connection under whoever waits on it, in any thread."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended already

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()
        self._socket.close()


def connect(address: Address, key: bytes, *, within_s: Seconds, silence_s: Seconds) -> Channel:
    """Reach a holder and prove the key. Raises SnapshotError that names the holder."""
    name = name_of(address)
    try:
        channel = Channel(socket.create_connection(address, timeout=within_s), within_s)
    except OSError as error:
        raise SnapshotError(f"{name}: {in_words(error)}") from error
    try:
        channel.greet(key, server=False)
        channel.expect_within(silence_s)
    except AuthenticationError as error:
        channel.close()
        raise SnapshotError(f"{name}: the key is refused") from error
    except (OSError, EOFError) as error:
        channel.close()
        raise SnapshotError(f"{name}: {in_words(error)}") from error
    return channel


def name_of(holder: Address) -> str:
    """Name a holder in an error."""
    return f"snapshot holder {holder[0]}:{holder[1]}"


def in_words(error: Exception) -> str:
    """Say in a few words how a connection ended."""
    match error:
        case BlockingIOError() | TimeoutError():  # the former is what a socket's own time limit raises
            return "no answer in time"
        case EOFError() | ConnectionResetError() | BrokenPipeError():
            return "closed the connection"
        case OSError():
            return error.strerror or str(error)
        case _:
            return f"an answer that makes no sense: {error}"


def ask(channel: Channel, **request: Any) -> dict[str, Any]:
    """Send a request and give its answer. Raises SnapshotError with the holder's reason for a refusal."""
    channel.say(request)
    return answer(channel)


def answer(channel: Channel) -> dict[str, Any]:
    """Receive the answer to a request that was sent."""
    reply = channel.hear()
    if not reply.get("ok"):
        error = NoRoomError if reply.get("full") else SnapshotError
        raise error(f"refused: {reply.get('reason', 'no reason given')}")
    return reply
