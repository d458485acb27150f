"""The node's holder of snapshots: takes peers' copies, lists and gives what this node has."""

import contextlib
import hmac
import inspect
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog

from sentinel.gang.snapshot_codec import NoRoomError, NotYetError, SnapshotError
from sentinel.gang.snapshot_keys import job_key, word_for
from sentinel.gang.snapshot_messages import (
    Fetch,
    Held,
    List,
    Listing,
    Push,
    Ready,
    Refused,
    Request,
    Sending,
    Taken,
)
from sentinel.gang.snapshot_slots import Slots, slots_in, snapshots_of
from sentinel.gang.snapshot_wire import Channel, NotProvenError
from sentinel.model.ids import Seconds

_log = structlog.get_logger(logger_name=__name__)
_IDLE_S = 5.0
"""A peer that stops in the middle of a push is given up after this."""
MOST_STRANGERS = 64
"""So many connections may be open whose other end has not proven the key; who knows it needs milliseconds."""
MOST_OF_A_JOB = 512
"""And so many of those who have proven a job's key: one for each rank that pushes or restores."""
_GREET_S = 5.0
_LOOK_EVERY_S = 1.0
_PAUSE_S = 0.1
"""Before the next try to accept, when nothing could be accepted."""


class SnapshotHolder:
    """A TCP server in the agent: one daemon thread per connection, no torch.

    `port` 0 takes a free one; `address` tells where it listens; `key` is the cluster's snapshot secret. Who
    knows a job's key asks for that job's copies. A copy is taken of a generation that the controller has
    ordered, and not of one older than the newest seen for its job: nothing of a generation that is over
    comes back. What was seen is remembered in the slots themselves.
    """

    def __init__(self, memory: Path, address: str, port: int = 0, *, key: bytes) -> None:
        self._memory, self._secret = memory, key
        self._server = socket.create_server((address, port), backlog=128)
        self._server.settimeout(_LOOK_EVERY_S)
        self.address: tuple[str, int] = self._server.getsockname()[:2]
        self._lock = threading.Lock()
        self._newest: dict[str, int] = {}
        self._pushing: dict[tuple[str, int], Channel] = {}
        self._writing: defaultdict[tuple[str, int], threading.Lock] = defaultdict(threading.Lock)
        self._channels: set[Channel] = set()
        self._strangers: dict[Channel, Seconds] = {}
        """Who has not proven a key yet, oldest first, and since when."""
        self._known: dict[str, dict[Channel, None]] = {}
        """By job who has, oldest first."""
        self._closed = False
        threading.Thread(target=self._accept, name="snapshot-holder", daemon=True).start()

    def close(self) -> None:
        """Stop listening and end all connections; the slots stay."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # close alone would not wake the accepting thread
        self._server.close()
        with self._lock:
            for channel in self._channels:
                channel.cut()

    def __enter__(self) -> "SnapshotHolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        trouble = False
        while True:
            try:
                self._take(*self._server.accept())
                trouble = False
            except TimeoutError:
                self._send_away(MOST_STRANGERS)
            except (OSError, RuntimeError) as error:  # no file or no thread is free: strangers may hold them
                if self._closed:
                    return
                if not trouble:
                    _log.warning("snapshot connections can't be accepted", error=str(error))
                trouble = True
                self._send_away(MOST_STRANGERS)
                time.sleep(_PAUSE_S)

    def _take(self, sock: socket.socket, peer: tuple[Any, ...]) -> None:
        """Serve a connection in a thread of its own. Raises OSError or RuntimeError when there is none."""
        self._send_away(MOST_STRANGERS - 1)
        try:
            channel = Channel(sock, _IDLE_S)
        except OSError:
            sock.close()
            raise
        with self._lock:
            self._channels.add(channel)
            self._strangers[channel] = time.monotonic()
        thread = threading.Thread(target=self._serve, args=(channel, peer), name=f"snapshots-{peer[0]}")
        thread.daemon = True
        try:
            thread.start()
        except RuntimeError:
            self._drop(channel)
            raise

    def _drop(self, channel: Channel) -> None:
        with self._lock:
            self._channels.discard(channel)
            self._strangers.pop(channel, None)
            for known in self._known.values():
                known.pop(channel, None)
        channel.close()

    def _send_away(self, most: int) -> None:
        """End the connections of strangers that take too long, and of the oldest that are too many."""
        late = time.monotonic() - _GREET_S
        with self._lock:
            many = list(self._strangers.items())
            over = len(many) - most
            for number, (channel, since) in enumerate(many):
                if number < over or since < late:
                    channel.cut()

    def _serve(self, channel: Channel, peer: tuple[Any, ...]) -> None:
        try:
            job = channel.greet(self._key_of)
            self._know(channel, job)
            while True:
                channel.wait()
                self._answer(channel, job, channel.hear(Request))
        except NotProvenError as error:
            _log.warning("snapshot connection refused", peer=peer[0], error=str(error))
        except (ValueError, SnapshotError) as error:
            _log.warning("snapshot connection ended", peer=peer[0], error=f"{error}"[:200])
        except (OSError, EOFError):
            pass  # the peer left, or was cut off; it says so itself when it matters
        finally:
            self._drop(channel)

    def _key_of(self, job: str) -> bytes:
        snapshots_of(self._memory, job)  # no name that could lead elsewhere
        return job_key(self._secret, job)

    def _know(self, channel: Channel, job: str) -> None:
        """Make room among the connections of a job: the one that has been known for longest goes."""
        with self._lock:
            self._strangers.pop(channel, None)
            known = self._known.setdefault(job, {})
            known[channel] = None
            if len(known) > MOST_OF_A_JOB:
                oldest = next(iter(known))
                del known[oldest]  # here, not in its thread: until that ends, the next one would cut it again
                oldest.cut()

    def _answer(self, channel: Channel, job: str, request: Request) -> None:
        try:
            match request:
                case Push():
                    self._push(channel, job, request)
                case List():
                    self._list(channel, job)
                case Fetch():
                    self._fetch(channel, job, request)
        except SnapshotError as error:
            full = isinstance(error, NoRoomError) and not isinstance(error, NotYetError)
            channel.say(Refused(str(error)[:1000], full))

    def _push(self, channel: Channel, job: str, push: Push) -> None:
        """Take a copy; nothing of it is read, or asked for, before there is room."""
        if not hmac.compare_digest(push.word, word_for(self._secret, job, push.generation)):
            raise SnapshotError(f"generation {push.generation} of {job}: the controller has not ordered it")
        arriving = _arriving(channel, push.length)
        self._admit(job, push.rank, push.generation, channel)
        try:
            with self._writing[job, push.rank]:
                Slots(snapshots_of(self._memory, job), "peer", push.rank).write(
                    push.step,
                    push.generation,
                    push.world,
                    arriving,
                    keep=push.keep,
                    length=push.length,
                    crc=push.crc,
                )
        except SnapshotError:
            if inspect.getgeneratorstate(arriving) == inspect.GEN_SUSPENDED:
                for _ in arriving:  # the rest is on its way and comes before the next request
                    pass
            raise
        finally:
            self._leave(job, push.rank, channel)
        channel.say(Taken())

    def _admit(self, job: str, rank: int, generation: int, channel: Channel) -> None:
        """Let one push at a time write a rank's slots; a later one cuts off an earlier that has got stuck."""
        with self._lock:
            newest = self._newest_of(job)
            if generation < newest:
                raise SnapshotError(f"generation {generation} of {job} is over, {newest} has begun")
            self._newest[job] = generation
            if stuck := self._pushing.get((job, rank)):
                stuck.cut()
            self._pushing[job, rank] = channel

    def _leave(self, job: str, rank: int, channel: Channel) -> None:
        with self._lock:
            if self._pushing.get((job, rank)) is channel:
                del self._pushing[job, rank]

    def _newest_of(self, job: str) -> int:
        if job not in self._newest:
            held = [info for slots in slots_in(snapshots_of(self._memory, job)) for info in slots.inventory()]
            self._newest[job] = max((info.generation for info in held), default=0)
        return self._newest[job]

    def _list(self, channel: Channel, job: str) -> None:
        """Tell by the headers what there is; whoever fetches a payload verifies it."""
        found = (
            Held(slots.kind, info.rank, info.world, info.generation, info.step)
            for slots in slots_in(snapshots_of(self._memory, job))
            for info in slots.inventory()
        )
        channel.say(Listing(tuple(found)))

    def _fetch(self, channel: Channel, job: str, fetch: Fetch) -> None:
        slots = Slots(snapshots_of(self._memory, job), fetch.kind, fetch.rank)
        info, pieces = slots.open_step(fetch.step, fetch.generation)
        channel.say(Sending(info.length, info.crc))
        channel.send_payload(pieces)


def _arriving(channel: Channel, length: int) -> Generator[memoryview]:
    """Ask for the payload when its first piece is, and receive it."""
    channel.say(Ready())
    yield from channel.payload(length)
