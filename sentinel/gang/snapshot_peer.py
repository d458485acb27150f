"""A rank's sender of snapshots to the node that holds its second copy."""

import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from sentinel.gang.snapshot_codec import NoRoomError, Part, SnapshotError
from sentinel.gang.snapshot_messages import Push, Ready, Taken
from sentinel.gang.snapshot_wire import Address, Channel, answer_of, ask, connect, in_words, name_of
from sentinel.model.ids import Seconds

_log = structlog.get_logger(logger_name=__name__)


@dataclass(frozen=True, slots=True)
class _Parcel:
    step: int
    generation: int
    world: int
    word: bytes
    keep: int
    crc: int
    payload: bytes


class PeerSender:
    """Sends from a thread of its own and never blocks training: a newer snapshot replaces one that waits.

    When the peer is gone the snapshot is dropped, the worker's log says why, and the next one connects anew.
    """

    def __init__(self, job: str, rank: int, peer: Address, key: bytes, *, timeout_s: Seconds = 2.0) -> None:
        self._job, self._rank, self._key, self._timeout_s = job, rank, key, timeout_s
        self._peer = peer
        self._waiting: _Parcel | None = None
        self._sending = self._closed = False
        self._channel: Channel | None = None
        self._generation = -1
        self._changed = threading.Condition()
        self.acked_step = -1
        """Newest step of the present generation that the peer has acknowledged, -1 before."""
        self.error = ""
        """Why the last snapshot was dropped; empty once one is acknowledged."""
        self.full = ""
        """Why the peer's memory takes none; empty once one is acknowledged."""
        self._thread = threading.Thread(target=self._run, name="snapshot-sender", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a snapshot waits or is on its way: a further one now would replace one that waits."""
        with self._changed:
            return self._sending or self._waiting is not None

    def send(
        self,
        step: int,
        generation: int,
        world: int,
        parts: Sequence[Part],
        *,
        word: bytes,
        keep: int = -1,
        crc: int | None = None,
    ) -> None:
        """Copy the parts and send them soon; `keep` is the newest globally complete step.

        `word` is the controller's for this generation; `crc` is the parts' CRC-32, if it is known.
        """
        payload = b"".join(parts)
        crc = zlib.crc32(payload) if crc is None else crc
        parcel = _Parcel(step, generation, world, word, keep, crc, payload)
        with self._changed:
            if generation != self._generation:
                self._generation, self.acked_step = generation, -1
            self._waiting = parcel
            self._changed.notify_all()

    def wait(self, step: int, timeout_s: Seconds) -> bool:
        """Wait until this step or a later one is acknowledged or dropped; say whether it is acknowledged."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.acked_step >= step or not (self._sending or self._waiting), timeout_s
            )
            return self.acked_step >= step

    def close(self) -> None:
        """Stop sending; what still waits is dropped.

        Waits for nobody: a peer whose node is lost says nothing, and the next generation forms just then.
        """
        with self._changed:
            self._closed, self._waiting = True, None
            self._changed.notify_all()
            if self._channel:
                self._channel.cut()

    def _run(self) -> None:
        while parcel := self._next():
            error = self._deliver(parcel)
            if error and not (self.error or self._closed):
                _log.warning("peer-copy-failed", rank=self._rank, step=parcel.step, error=error)
            with self._changed:
                self.error = error
                self.full = self.full if error else ""
                if not error and self._generation == parcel.generation:
                    self.acked_step = parcel.step
                self._sending = False
                self._changed.notify_all()
        self._hang_up()

    def _next(self) -> _Parcel | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            parcel, self._waiting = self._waiting, None
            self._sending = parcel is not None
            return None if self._closed else parcel

    def _deliver(self, parcel: _Parcel) -> str:
        """Try once, and once more on a new connection if the old one had broken; give the error, if any."""
        for fresh in (self._channel is None, True):
            try:
                self._push(self._reach(), parcel)
            except SnapshotError as error:
                self.full = f"{name_of(self._peer)}: {error}" if isinstance(error, NoRoomError) else self.full
                return str(error)
            except (OSError, EOFError, ValueError) as error:
                self._hang_up()
                if fresh or self._closed:
                    return f"{name_of(self._peer)}: {in_words(error)}"
            else:
                return ""
        return ""

    def _reach(self) -> Channel:
        if self._channel:
            return self._channel
        within = self._timeout_s
        channel = connect(self._peer, self._job, self._key, within_s=within, idle_s=within)
        with self._changed:
            self._channel = channel
            if self._closed:
                channel.cut()
        return channel

    def _push(self, channel: Channel, parcel: _Parcel) -> None:
        push = Push(
            rank=self._rank,
            world=parcel.world,
            generation=parcel.generation,
            word=parcel.word,
            step=parcel.step,
            keep=parcel.keep,
            length=len(parcel.payload),
            crc=parcel.crc,
        )
        ask(channel, push, Ready)
        channel.send_payload([parcel.payload])
        answer_of(channel, Taken)

    def _hang_up(self) -> None:
        with self._changed:
            channel, self._channel = self._channel, None
        if channel:
            channel.close()
