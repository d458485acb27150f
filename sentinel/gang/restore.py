"""Taking the newest complete and verified state: a memory snapshot, or a checkpoint that is newer."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.distributed as dist

from sentinel.gang import agree
from sentinel.gang.group import job_path
from sentinel.gang.orders import Formed, FormOrder, WorkerSpec
from sentinel.gang.snapshot_keys import derive
from sentinel.gang.snapshots import Copies, Copy, Slots, SnapshotError, decode, find, snapshots_of
from sentinel.model import codec
from sentinel.model.trainable import Trainable


def restore(trainable: Trainable, spec: WorkerSpec, order: FormOrder, memory: Path, done: int) -> Formed:
    """Agree with all ranks on the newest state that everyone can restore, and restore it.

    `done` is the newest step that this process completed.
    """
    copies = _found(spec, order, memory)
    step, source, damaged = _load_newest(trainable, spec, order, memory, copies)
    return Formed(order.generation, step, source, max(0, done - step), damaged)


def _load_newest(
    trainable: Trainable, spec: WorkerSpec, order: FormOrder, memory: Path, copies: Copies
) -> tuple[int, str, tuple[str, ...]]:
    """Load a snapshot or a checkpoint on all ranks alike; (its step, where from, what was passed over).

    A checkpoint of a later step than a snapshot's is newer, unless an earlier generation wrote it: the
    snapshot's own generation looked at it when it began, and passed it over as damaged (decision 0013).
    """
    checkpoints = job_path(spec.job_dir, "checkpoints", ".")
    damaged: dict[str, None] = {}
    below = None
    while True:
        step = copies.newest_common(below)
        newer, lines = trainable.latest(checkpoints, above=step, since=copies.generation(step))
        damaged.update(dict.fromkeys(map(_text, lines)))
        if newer >= 0:
            return newer, "checkpoint", tuple(damaged)
        if step < 0:
            return -1, "start", tuple(damaged)
        state = _fetch(copies, order.rank, step, memory)
        if agree.all_of(state is not None):
            assert state is not None
            trainable.load(state)
            return step, "memory", tuple(damaged)
        below = step  # damaged on the way or on a node: all ranks take the next best


def _text(line: str) -> str:
    """Spell out what no message could carry: a path may be any bytes."""
    return line.encode(errors="backslashreplace").decode()


def _fetch(copies: Copies, rank: int, step: int, memory: Path) -> Mapping[str, Any] | None:
    """Read this rank's copy; None when none verifies. This node's own memory costs no network."""
    slots = Slots(snapshots_of(memory, copies.job), "owner", rank)
    with contextlib.suppress(SnapshotError):
        return decode(slots.read(step))
    try:
        return decode(copies.fetch(rank, step))
    except SnapshotError:
        return None


def _found(spec: WorkerSpec, order: FormOrder, memory: Path) -> Copies:
    """Have all ranks know what rank 0 finds: one question per holder, not one per rank and holder."""

    def look() -> bytes:
        own = order.holders[0]
        found = find(spec.job, order.world, order.holders, memory, spec.secret).all()
        return codec.encode([replace(copy, holder=copy.holder or own) for copy in found])

    key = derive(spec.secret, "restore", spec.journal, order.generation)
    try:
        copies = codec.decode(list[Copy], agree.broadcast(key, look, order.rank))
    except codec.CodecError as error:
        raise dist.DistError(f"what rank 0 found: {error}") from None
    return Copies.of(spec.job, order.world, memory, spec.secret, copies)
