"""Requests to a node's holder of snapshots: of strangers, and of whoever knows the job's key."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from sentinel.gang.snapshot_codec import SnapshotError
from sentinel.gang.snapshot_holder import SnapshotHolder
from sentinel.gang.snapshot_keys import job_key, word_for
from sentinel.gang.snapshot_messages import Answer, Fetch, List, Push
from sentinel.gang.snapshot_slots import Slots, snapshots_of
from sentinel.gang.snapshot_wire import Channel, connect

SECRET, JOB = b"k" * 32, "train"
_PUSH = Push(1, 4, 1, word_for(SECRET, JOB, 1), 3, -1, 0, 0)
_ANSWER_S = 2.0


def seeds() -> Iterator[bytes]:
    """What a rank asks: to keep, to list, to give."""
    for request in (_PUSH, List(), Fetch("owner", 0, 3), Fetch("peer", 0, 3, 1)):
        yield msgspec.msgpack.encode(request)


@contextmanager
def opened(folder: Path) -> Iterator[Callable[[bytes], bool]]:
    """Ask one thing after the other; accepted is what is answered at all, even by a refusal."""
    Slots(snapshots_of(folder, JOB), "owner", 0).write(3, 1, 4, [b"x" * 3_000], length=3_000)
    defects: list[BaseException | None] = []
    hook, threading.excepthook = threading.excepthook, lambda args: defects.append(args.exc_value)
    with SnapshotHolder(folder, "127.0.0.1", key=SECRET) as holder:

        def take(data: bytes) -> bool:
            answered = _knows_the_key(holder.address, data)
            _stranger(holder.address, data)
            assert not defects, repr(defects[0])
            return answered

        try:
            yield take
        finally:
            threading.excepthook = hook


def _knows_the_key(address: tuple[str, int], data: bytes) -> bool:
    try:
        channel = connect(address, JOB, job_key(SECRET, JOB), within_s=_ANSWER_S, idle_s=_ANSWER_S)
    except SnapshotError:
        return False
    with closing(channel):
        return _asks(channel, data)


def _asks(channel: Channel, data: bytes) -> bool:
    """Say one thing and leave: an announced payload never comes."""
    try:
        channel._send_sealed(data[: 1 << 20])
        channel._socket.shutdown(socket.SHUT_WR)
        return bool(channel.hear(Answer))
    except (OSError, EOFError, ValueError):
        return False


def _stranger(address: tuple[str, int], data: bytes) -> None:
    with socket.create_connection(address, timeout=_ANSWER_S) as stranger:
        try:
            stranger.sendall(data)
            stranger.shutdown(socket.SHUT_WR)
            while stranger.recv(65_536):
                pass
        except OSError:
            return  # sent away
