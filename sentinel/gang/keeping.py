"""Keeping a rank's state: memory snapshots, here and at a peer, and checkpoints when they are due."""

import threading
import time
from pathlib import Path

from sentinel.gang.group import job_path
from sentinel.gang.orders import FormOrder, WorkerSpec
from sentinel.gang.snapshots import (
    NoRoomError,
    NotYetError,
    PeerSender,
    Slots,
    encode,
    forget,
    snapshots_of,
)
from sentinel.heartbeat import HeartbeatWriter
from sentinel.model.ids import Seconds
from sentinel.model.trainable import Trainable

LOOK_EVERY_S = 0.02


class Keeper:
    """Keeps one worker's state, in each generation under its rank of then."""

    _slots: Slots

    def __init__(self, spec: WorkerSpec, memory: Path, trainable: Trainable, beats: HeartbeatWriter) -> None:
        self._spec, self._memory, self._trainable, self._beats = spec, memory, trainable, beats
        self._sender: PeerSender | None = None
        self._kept = self._restored = -1
        self._full = ""
        self._tidy = True
        """Nothing is left to remove of older generations, or another rank of the node does it."""

    def aim(self, order: FormOrder, restored: int) -> None:
        """Keep for this generation: its rank's slots, its peer, and the step that it was restored from."""
        self._kept, self._restored, self._full = -1, restored, ""
        self._tidy = order.rank != min(order.hosted, default=-1)
        self._slots = Slots(snapshots_of(self._memory, self._spec.job), "owner", order.rank)
        if self._sender is not None:
            self._sender.close()
            self._sender = None
        if order.peer is not None:
            spec = self._spec
            self._sender = PeerSender(spec.job, order.rank, order.peer, spec.secret)

    def acked(self) -> int:
        """Give the newest step of which this node and the peer, if there is one, have copies; -1 before."""
        return self._sender.acked_step if self._sender else self._kept

    def full(self) -> str | None:
        """Say why memory, here or at the peer, takes no more snapshots: "" if it does, None if unknown."""
        full = self._full or (self._sender.full if self._sender else "")
        return full or (None if self.acked() < 0 else "")

    def keep(self, order: FormOrder, step: int, complete: int) -> None:
        """Take a memory snapshot, and start a checkpoint when one is due; `complete` is -1 at first.

        Until a step of this generation is complete, everyone may have to go back to the one it began from.
        """
        if step % self._spec.snapshot_every == 0:
            self._snapshot(order, step, max(complete, self._restored))
            self._beats.snapshot_done(max(complete, -1))
        if complete >= 0 and not self._tidy:
            self._tidy = True
            threading.Thread(target=self._forget, args=(order,), name="forget", daemon=True).start()
        if self._spec.checkpoint_every and (step + 1) % self._spec.checkpoint_every == 0:
            self._save(step)

    def save_now(self, step: int, within_s: Seconds) -> None:
        """Have a checkpoint of this step committed within this time.

        One of an earlier step that is still being written comes first: no other begins beside it.
        """
        if not self._spec.checkpoint_every:
            return
        give_up = time.monotonic() + within_s
        self._beats.phase("save")
        ended = self._trainable.finish_save(within_s)
        before = self._trainable.save_report()
        if not ended or before.committed >= step:
            return
        self._save(step)
        while self._trainable.save_report() == before and time.monotonic() < give_up:
            time.sleep(LOOK_EVERY_S)

    def _save(self, step: int) -> None:
        self._beats.phase("save")
        self._trainable.save(job_path(self._spec.job_dir, "checkpoints", "."), step)

    def _snapshot(self, order: FormOrder, step: int, keep: int) -> None:
        """Write this rank's own copy, and then have one sent to its peer."""
        parts = encode(self._trainable.state())
        size = sum(memoryview(part).nbytes for part in parts)
        place = step, order.generation, order.world
        try:
            kept = self._slots.write(*place, parts, keep=keep, length=size, forsaken=self._forsaken())
        except NotYetError:
            return
        except NoRoomError as error:
            self._full = str(error)
            return
        self._kept, self._full = step, ""
        if self._sender is not None:
            self._sender.send(*place, parts, word=order.word, keep=keep, crc=kept.crc)

    def _forget(self, order: FormOrder) -> None:
        """Give back the memory of ranks that this node has no more, now that nobody goes back to them."""
        wanted = {*(("owner", rank) for rank in order.hosted), *(("peer", rank) for rank in order.held)}
        forget(snapshots_of(self._memory, self._spec.job), wanted, order.generation)

    def _forsaken(self) -> bool:
        """Say whether the newest snapshot can't become complete: its peer's copy was dropped."""
        sender = self._sender
        return sender is not None and not sender.busy and sender.acked_step < self._kept
