"""The connection between the holders of snapshots: sealed messages over TCP, and payloads in chunks.

Both ends prove that they know the job's key, over what each has drawn, the job, and the holder's address as
each sees it. From that come two keys, one for each direction; every message carries its HMAC-SHA256 over its
number, its length and itself. So what is relayed, replayed, reflected, reordered, cut short or changed on the
way ends the connection. Contents are not encrypted.
"""

import hmac
import os
import select
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias, TypeVar

import msgspec

from sentinel.gang.snapshot_codec import NoRoomError, Part, SnapshotError
from sentinel.gang.snapshot_keys import DIGEST, KEY_BYTES, derive
from sentinel.gang.snapshot_messages import Answer, Refused, Request
from sentinel.gang.snapshot_slots import CHUNK_BYTES
from sentinel.model.codec import decode
from sentinel.model.ids import Seconds

Address: TypeAlias = tuple[str, int]
M = TypeVar("M", bound=msgspec.Struct)

_MAGIC = b"SENTWIR2"
_NONCE_BYTES = 32
_HELLO = struct.Struct(f"<8s{_NONCE_BYTES}s96s")
"""What the caller says first: the protocol, what it has drawn, its job."""
_LENGTH = struct.Struct("<I")
_PLACE = struct.Struct("<QI")
"""A message's number and length, which its seal covers."""
_SEAL_BYTES = 16


class NotProvenError(ValueError):
    """The other end does not know the job's key, or is not the one that was called."""


class ForeignMessageError(ValueError):
    """A message is not the next one of the other end."""


class Channel:
    """One connection; its calls end with OSError, EOFError or ValueError, and it is of no more use then."""

    def __init__(self, sock: socket.socket, idle_s: Seconds) -> None:
        self._socket = sock
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3)):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        self.expect_within(idle_s)
        self._said = self._heard = 0
        self._mine = self._theirs = hmac.new(b"", digestmod=DIGEST)
        self._chunk = memoryview(b"")

    def expect_within(self, idle_s: Seconds) -> None:
        """Take a longer pause than this, in the middle of an exchange, for the other end's death."""
        limit = struct.pack("ll", int(idle_s), int(idle_s % 1 * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def call(self, job: str, key: bytes) -> None:
        """Greet a holder in a job's name, and prove its key to each other. Raises NotProvenError."""
        nonce = os.urandom(_NONCE_BYTES)
        self._send(_HELLO.pack(_MAGIC, nonce, job.encode()))
        answer = self._read(_NONCE_BYTES + KEY_BYTES)
        theirs, proof = answer[:_NONCE_BYTES], answer[_NONCE_BYTES:]
        session = _session(key, nonce, theirs, job, self._socket.getpeername())
        if not hmac.compare_digest(proof, derive(session, "the holder")):
            raise NotProvenError("the key is refused")
        self._send(derive(session, "the caller"))
        self._agree(session, "caller to holder", "holder to caller")

    def greet(self, key_of: Callable[[str], bytes]) -> str:
        """Take a caller's greeting, prove the key of its job to each other; gives the job.

        Raises NotProvenError; what `key_of` raises for a name that is none.
        """
        magic, theirs, name = _HELLO.unpack(self._read(_HELLO.size))
        if magic != _MAGIC:
            raise NotProvenError("speaks another protocol")
        job: str = name.rstrip(b"\0").decode()
        key, nonce = key_of(job), os.urandom(_NONCE_BYTES)
        session = _session(key, theirs, nonce, job, self._socket.getsockname())
        self._send(nonce + derive(session, "the holder"))
        if not hmac.compare_digest(self._read(KEY_BYTES), derive(session, "the caller")):
            raise NotProvenError("wrong key")
        self._agree(session, "holder to caller", "caller to holder")
        return job

    def _agree(self, session: bytes, mine: str, theirs: str) -> None:
        self._mine = hmac.new(derive(session, mine), digestmod=DIGEST)
        self._theirs = hmac.new(derive(session, theirs), digestmod=DIGEST)

    def wait(self) -> None:
        """Wait, for as long as it takes, until the other end says something or leaves."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.poll()

    def say(self, message: Request | Answer) -> None:
        """Send one message."""
        self._send_sealed(msgspec.msgpack.encode(message))

    def hear(self, noun: Any) -> Any:
        """Receive one message, of this type or union of types. Raises ValueError when it is none."""
        return decode(noun, bytes(self._read_sealed(CHUNK_BYTES)))

    def send_payload(self, parts: Iterable[Part]) -> None:
        """Send a payload whose length the message before it told."""
        for part in parts:
            view = memoryview(part)
            for at in range(0, len(view), CHUNK_BYTES):
                self._send_sealed(view[at : at + CHUNK_BYTES])

    def payload(self, length: int) -> Iterator[memoryview]:
        """Receive a payload of so many bytes, piece by piece; each is gone when the next is asked for."""
        while length:
            piece = self._read_sealed(min(length, CHUNK_BYTES))
            if not piece:
                raise ForeignMessageError("a payload without an end")
            length -= len(piece)
            yield piece

    def _send_sealed(self, body: bytes | memoryview) -> None:
        seal = _seal(self._mine, self._said, body)
        self._said += 1
        self._send(_LENGTH.pack(len(body)), body, seal)

    def _read_sealed(self, most: int) -> memoryview:
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        if length > most:
            raise ForeignMessageError(f"a message of {length} bytes, where {most} are the most")
        if len(self._chunk) < length + _SEAL_BYTES:
            self._chunk = memoryview(bytearray(length + _SEAL_BYTES))
        self._fill(self._chunk[: length + _SEAL_BYTES])
        body, seal = self._chunk[:length], self._chunk[length : length + _SEAL_BYTES]
        if not hmac.compare_digest(seal, _seal(self._theirs, self._heard, body)):
            raise ForeignMessageError("a message that the other end did not send, or not now")
        self._heard += 1
        return body

    def _send(self, *parts: bytes | memoryview) -> None:
        left = [memoryview(part) for part in parts if len(part)]
        while left:
            sent = self._socket.sendmsg(left)
            while left and sent >= len(left[0]):
                sent -= len(left.pop(0))
            if left:
                left[0] = left[0][sent:]

    def _read(self, count: int) -> bytes:
        buffer = bytearray(count)
        self._fill(memoryview(buffer))
        return bytes(buffer)

    def _fill(self, view: memoryview) -> None:
        while view:
            if not (count := self._socket.recv_into(view)):
                raise EOFError("closed the connection")
            view = view[count:]

    def cut(self) -> None:
        """End the connection under whoever waits on it, in any thread."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended already

    def close(self) -> None:
        """Give the connection back."""
        self._socket.close()


def _session(key: bytes, caller: bytes, holder: bytes, job: str, address: tuple[Any, ...]) -> bytes:
    return derive(key, "session", _MAGIC, caller, holder, job, *address[:2])


def _seal(keyed: hmac.HMAC, number: int, body: bytes | memoryview) -> bytes:
    seal = keyed.copy()
    seal.update(_PLACE.pack(number, len(body)))
    seal.update(body)
    return seal.digest()[:_SEAL_BYTES]


def connect(address: Address, job: str, key: bytes, *, within_s: Seconds, idle_s: Seconds) -> Channel:
    """Reach a holder in a job's name and prove its key. Raises SnapshotError that names the holder."""
    name = name_of(address)
    try:
        channel = Channel(socket.create_connection(address, timeout=within_s), within_s)
    except OSError as error:
        raise SnapshotError(f"{name}: {in_words(error)}") from error
    try:
        channel.call(job, key)
        channel.expect_within(idle_s)
    except (OSError, EOFError, ValueError) as error:
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
        case NotProvenError() | ForeignMessageError():
            return str(error)
        case _:
            return f"an answer that makes no sense: {error}"


def ask(channel: Channel, request: Request, answer: type[M]) -> M:
    """Send a request and give its answer. Raises SnapshotError with the holder's reason for a refusal."""
    channel.say(request)
    return answer_of(channel, answer)


def answer_of(channel: Channel, noun: type[M]) -> M:
    """Receive the answer to a request that was sent."""
    answer: M | Refused = channel.hear(noun | Refused)
    if isinstance(answer, Refused):
        raise (NoRoomError if answer.full else SnapshotError)(f"refused: {answer.reason}")
    return answer
