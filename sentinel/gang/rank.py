"""A worker's training thread: it waits for an order, joins the generation, steps until something ends it."""

import contextlib
import faulthandler
import gc
import importlib
import json
import math
import os
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from sentinel.gang import fence, notices, rendezvous, restore
from sentinel.gang.group import MEET_S, Group, Sockets, backend_for, sockets
from sentinel.gang.keeping import Keeper
from sentinel.gang.orders import Formed, FormOrder, Overtaken, WorkerSpec, WorkerStatus
from sentinel.gang.snapshot_keys import checkpoint_key
from sentinel.gang.telling import MiscomputedError, NotFiniteError, Teller, first_line, loss_log
from sentinel.heartbeat import HeartbeatWriter
from sentinel.model.report import LEASE_LAPSED_EXIT, STUCK_EXIT
from sentinel.model.trainable import Place, Trainable

FORM_TIMEOUT_S = 20.0
CONNECT_S = 2.0
OWNER = "sentinel/owner"
"""Key of the generation's store: who keeps the job's directory, if not this journal."""
ABORT_EVERY_S = 0.5
LEAVE_S = 1.5
"""A group is left within 40 ms of an abort, or else hardly ever."""
SAVE_S = 15.0
"""A gang that changes its size waits so long for a checkpoint, less than a pause may take."""
PAUSES, SAVES = 1, 2
"""Bits of a vote; the others say which step is kept."""
VOTES = 4
SLOWER_STEP = 2.0
"""A step may take this many times as long as the one before it and be no halt."""


@dataclass(frozen=True, slots=True)
class Served:
    """A rendezvous store that this process serves."""

    store: Any
    listener: rendezvous.Listener
    sockets: Sockets


def load_trainable(spec: str) -> Trainable:
    """Load `module:name` and make one."""
    module, _, name = spec.partition(":")
    made: Trainable = getattr(importlib.import_module(module), name)()
    return made


class RankRunner:
    """One worker. Control calls come from other threads and are answered while a collective blocks."""

    def __init__(self, spec: WorkerSpec, worker: str, memory: Path, gpu: int = 0) -> None:
        self._spec, self._worker, self._memory = spec, worker, memory
        self._beats = HeartbeatWriter(
            memory / "beats" / f"{worker}.beat", job=spec.job, worker=worker, gpu=-1
        )
        os.environ["SENTINEL_JOB_DIR"] = spec.job_dir
        if spec.trainer_config:
            os.environ["SENTINEL_TRAINER"] = spec.trainer_config
        self._teller = Teller(spec, worker, memory)
        try:
            self._trainable = load_trainable(spec.trainable)
            self._trainable.warm(gpu)
        except Exception as error:
            self._teller.not_started(gpu, error)
            raise
        gc.collect()
        gc.freeze()  # torch's 300,000 objects stay, and would make each later collection 0.3 s long
        self._lock = threading.Condition()
        self._order: FormOrder | None = None
        self._pause = 0
        self._joining = False
        self._met = -1
        """The generation all of whose members this rank has met."""
        self._group: Group | None = None
        self._served: dict[int, Served] = {}
        self._formed: dict[int, Formed | Overtaken | str] = {}
        self._idle = True
        self._step = -1
        self._step_s = 0.0
        self._keeper = Keeper(spec, memory, self._trainable, self._beats)
        for name, target in (("training", self._train_forever), ("lease", self._watch_lease)):
            threading.Thread(target=target, name=name, daemon=True).start()

    # --- control calls ---------------------------------------------------------------------------------

    def status(self) -> WorkerStatus:
        """Say who this is and how far it is."""
        generation = self._group.generation if self._group else -1
        return WorkerStatus(os.getpid(), self._step, generation)

    def serve_store(self, generation: int, world: int, host: str) -> int:
        """Open the rendezvous store of a generation; returns its port. Asking again gives the same."""
        with self._lock:
            if generation not in self._served:
                before = sockets()
                store, listener = rendezvous.serve(host, world, FORM_TIMEOUT_S)
                kept = sorted(self._served.items())[-1:]  # the training thread may be about to join that one
                self._served = {**dict(kept), generation: Served(store, listener, sockets() - before)}
            return self._served[generation].listener.port

    def pause(self, generation: int, saves: bool = False) -> bool:  # Ray passes it on
        """Stop at the next step boundary, all ranks together; true once this rank stands.

        `saves` has a checkpoint made there: a gang of another size can't use memory snapshots.
        """
        with self._lock:
            if self._group is None or self._group.generation != generation:
                return True
            self._pause = PAUSES | (SAVES if saves else 0)
            return self._lock.wait_for(lambda: self._idle, timeout=FORM_TIMEOUT_S)

    def form(self, order: FormOrder) -> Formed | Overtaken:
        """Join a generation and take over its state; returns when this rank is ready to step, or may not.

        An order for a generation that is formed already answers at once; an older one is refused.
        """
        with self._lock:
            current = self._order.generation if self._order else -1
            if order.generation < current:
                raise RuntimeError(f"generation {order.generation} is over: {current} is ordered")
            if order.generation > current:
                self._order = order
                self._lock.notify_all()
            ordered = time.monotonic()
            while not self._settled(order.generation) and time.monotonic() < ordered + self._patience(order):
                self._leave_older(order.generation, ordered)
                self._lock.wait_for(lambda: self._settled(order.generation), timeout=ABORT_EVERY_S)
            formed = self._formed.get(order.generation, "did not form in time")
        if isinstance(formed, str):
            raise RuntimeError(f"rank {order.rank} ({self._worker}): {formed}")
        return formed

    def _leave_older(self, generation: int, ordered: float) -> None:
        """Free the training thread from an older group; repeated, for it may still open connections.

        A thread that waits for a dead peer to connect can't be freed at all: gloo waits a minute there, in
        the default group and in others that set-up makes. One in a collective is not always: in one of 100
        abortions gloo waited on, all its sockets closed (measured). Then this process ends, and a standby
        takes its place in a fraction of that. A trainable may hide its collectives: then the time in which
        it should have come to the next one decides.
        """
        if self._idle or self._group is None or self._group.generation >= generation:
            return
        self._group.abort(s.listener.port for g, s in self._served.items() if g >= generation)
        waits = self._joining or self._beats.in_collective
        computes = 0.0 if waits else min(FORM_TIMEOUT_S, SLOWER_STEP * self._step_s or FORM_TIMEOUT_S)
        if time.monotonic() > ordered + LEAVE_S + computes:
            self._end_stuck()

    def _patience(self, order: FormOrder) -> float:
        """How long forming may take: the members meet within seconds or never, and load for minutes."""
        return order.within_s if self._met == order.generation else FORM_TIMEOUT_S + 5

    def _loading_s(self) -> float:
        """How long this rank may load, if it does."""
        order = self._order
        return order.within_s if order and self._joining and self._met == order.generation else 0.0

    def _settled(self, generation: int) -> bool:
        newer = self._order is not None and self._order.generation > generation
        return newer or generation in self._formed

    # --- the training thread ---------------------------------------------------------------------------

    def _train_forever(self) -> None:
        done = -1
        while True:
            with self._lock:
                self._idle = True
                self._lock.notify_all()
                while (order := self._order) is None or order.generation <= done:
                    self._lock.wait()
                self._idle, self._pause = False, 0
            done = order.generation
            self._run_generation(order)

    def _run_generation(self, order: FormOrder) -> None:
        self._beats.place(order.rank, order.generation, order.gpu)
        self._beats.phase("setup")
        failed = True
        try:
            formed = self._join(order)
            self._answer(order, formed)
            self._steps(order, formed.step + 1)
            failed = False
        except fence.OvertakenError as error:
            self._answer(order, Overtaken(order.generation, *error.owner))
        except Exception as error:  # the controller must hear of whatever ends a generation
            self._answer(order, first_line(error))
            if self._group is None or not self._group.aborted:
                self._beats.fail(first_line(error))
                self._teller.raised(order, self._step + 1, error)
        finally:
            self._joining = False
            self._leave(failed)

    def _leave(self, failed: bool) -> None:
        group = self._group
        if group is not None and not group.leave(failed):
            self._end_stuck()
        with contextlib.suppress(Exception):
            self._trainable.teardown()
        gc.collect()  # a group lies in cycles: its sockets and threads would stay until somebody collects
        if group is not None:
            group.let_go()

    def _end_stuck(self) -> None:
        self._beats.fail(f"exit {STUCK_EXIT}: can't leave a group that will not let go")
        faulthandler.dump_traceback(2)
        os._exit(STUCK_EXIT)

    def _answer(self, order: FormOrder, formed: Formed | Overtaken | str) -> None:
        with self._lock:
            self._formed.setdefault(order.generation, formed)
            self._lock.notify_all()

    def _join(self, order: FormOrder) -> Formed:
        backend = backend_for(self._spec.backend)
        group = Group(backend, order.rank, order.world, order.generation, self._spec.collective_timeout_s)
        with self._lock:
            served = self._served.get(order.generation) if order.rank == 0 else None
            if served:
                group.include(served.sockets)
            self._group = group
        key = rendezvous.store_key(self._spec.secret, self._spec.journal, order.generation)
        store = rendezvous.SealedStore(served.store if served else self._find_store(order), key)
        self._joining = True
        self._claim(order, store)
        group.form(store)
        rendezvous.meet(store, order.rank, order.world, MEET_S)
        if served:
            served.listener.shut()
        self._met = order.generation
        key = checkpoint_key(self._spec.secret)
        place = Place(order.rank, order.world, order.gpu, order.generation, backend, key)
        self._beats.phase("load")
        self._trainable.skip(order.skip)
        self._trainable.setup(place, self._beats)
        formed = restore.restore(self._trainable, self._spec, order, self._memory, self._step)
        self._teller.restored(order, self._step, formed.damaged)
        self._step = formed.step
        self._keeper.aim(order, formed.step)
        self._joining = False
        return formed

    def _claim(self, order: FormOrder, store: Any) -> None:
        """Learn from rank 0, before anything is set up, whose the directory is. Raises OvertakenError."""
        if order.rank == 0:
            directory, journal = Path(self._spec.job_dir), self._spec.journal
            found = fence.claim(directory, journal, order.generation, takes_over=order.takes_over)
            store.set(OWNER, json.dumps(found))
        if owner := json.loads(store.get(OWNER)):
            raise fence.OvertakenError(fence.Owner(*owner))

    def _find_store(self, order: FormOrder) -> Any:
        """Join the generation's store; a dead one is given up as soon as another generation is ordered."""
        give_up = time.monotonic() + FORM_TIMEOUT_S
        while True:
            try:
                store = rendezvous.join(*order.store, order.world, CONNECT_S)
            except dist.DistError:
                if self._order is not order or time.monotonic() > give_up:
                    raise
            else:
                store.set_timeout(timedelta(seconds=FORM_TIMEOUT_S))
                return store

    def _steps(self, order: FormOrder, first: int) -> None:
        step, complete = first, -1
        losses = loss_log(self._spec, order)
        while True:
            vote = (self._keeper.acked() + 1) * VOTES + self._pause
            began = time.monotonic()
            result = self._trainable.step(step, vote)
            if result.replayed is not None:
                self._teller.replayed(order, step, result.replayed)
                if result.replayed.ranks:
                    raise MiscomputedError(step, result.replayed, order.world)
            if not math.isfinite(result.loss) and step not in order.skip:
                raise NotFiniteError(step, result)
            self._step, self._step_s = step, time.monotonic() - began
            self._beats.step_done(step, result.loss, result.outside_s, result.arrival)
            losses(step, result)
            complete = max(complete, min(vote // VOTES for vote in result.votes) - 1)
            self._keeper.keep(order, step, complete)
            self._teller.snapshots(order, step, self._keeper.full())
            saved = self._trainable.save_report()
            self._beats.checkpoint_done(saved.committed)
            self._teller.saves(order, step, saved)
            if result.last:
                self._end(order, step)
            if any(vote & PAUSES for vote in result.votes):
                if any(vote & SAVES for vote in result.votes):
                    self._keeper.save_now(step, SAVE_S)
                self._beats.phase("pause")
                return
            if self._group is None or self._group.aborted:
                return  # a single rank runs no collective that would show it
            step += 1

    def _end(self, order: FormOrder, step: int) -> None:
        """Leave with 0: the work is done. The last word says so where the kernel does not."""
        self._keeper.save_now(step, order.within_s)
        self._beats.phase("done")
        os._exit(0)

    # --- the lease -------------------------------------------------------------------------------------

    def _watch_lease(self) -> None:
        """Stop this process when nobody controls it any more AND it makes no progress.

        A long step is progress: its collectives come and go, or it takes no longer than the one before. So is
        loading, which shows no motion: a controller that is away meanwhile must not cost the whole gang.
        """
        seen: tuple[int, ...] = ()
        moved_at = time.monotonic()
        while True:
            time.sleep(0.5)
            now, motion = time.monotonic(), (self._step, *self._beats.motion())
            if self._idle or motion != seen:
                seen, moved_at = motion, now
            patience = max(self._spec.lease_s, SLOWER_STEP * self._step_s, self._loading_s())
            if now - moved_at > patience and notices.lease_age(self._memory) > self._spec.lease_s:
                self._beats.fail(f"exit {LEASE_LAPSED_EXIT}: lease lapsed and no progress")
                os._exit(LEASE_LAPSED_EXIT)
