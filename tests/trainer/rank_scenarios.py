"""What the rank processes are told to do; each runs on every rank of a group."""

import json
import math
import os
import resource
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist

from sentinel.gang.keeping import Keeper
from sentinel.gang.orders import Formed, FormOrder, WorkerSpec
from sentinel.gang.restore import restore
from sentinel.gang.snapshots import Slots, SnapshotHolder, encode, job_key, snapshots_of
from sentinel.heartbeat import HeartbeatWriter
from sentinel.model.trainable import SaveReport, StepResult
from sentinel.trainer.collectives import NoBeats
from sentinel.trainer.moe_trainer import MoeTrainer
from sentinel.trainer.saver import Saver
from sentinel.trainer.simulated_device import SimulatedDevice


def losses(trainer: MoeTrainer, steps: Sequence[int]) -> list[str]:
    return [trainer.step(step, vote=0).loss.hex() for step in steps]


def results(trainer: MoeTrainer, steps: Sequence[int], votes: Mapping[int, int]) -> list[StepResult]:
    return [trainer.step(step, vote=votes.get(trainer._place.rank, 0)) for step in steps]


def losses_then_state(trainer: MoeTrainer, steps: Sequence[int]) -> tuple[list[str], Mapping[str, Any]]:
    done = losses(trainer, steps)
    return done, {name: _plain(value) for name, value in trainer.state().items()}


def losses_from_state(
    trainer: MoeTrainer, states: Sequence[Mapping[str, Any]], steps: Sequence[int]
) -> list[str]:
    state = states[trainer._place.rank]
    trainer.load({name: torch.tensor(v) if isinstance(v, list) else v for name, v in state.items()})
    return losses(trainer, steps)


def losses_with_skips(trainer: MoeTrainer, steps: Sequence[int], skip: Sequence[int]) -> list[str]:
    trainer.skip(skip)
    return losses(trainer, steps)


def losses_with_saves(
    trainer: MoeTrainer, directory: Path, steps: Sequence[int], save_at: Sequence[int]
) -> tuple[list[str], str]:
    done = []
    for step in steps:
        done.append(trainer.step(step, vote=0).loss.hex())
        if step in save_at:
            trainer.save(directory, step)
            assert trainer.finish_save(30)
    return done, trainer.save_report().error


def stands_while_one_is_written(
    trainer: MoeTrainer, job: Path, steps: Sequence[int], slow_rank: int
) -> tuple[int, int]:
    """Stand after the last of these steps while the checkpoint of the one before is being written.

    Gives the newest step that is committed then, and that which the next generation would go on from. The
    write is held up on one rank, until all have trained that last step.
    """
    place, stands, write = trainer._place, threading.Event(), Saver._write
    spec = WorkerSpec("moe", "", "", "gloo", str(job), 1, 50, 60.0, 60.0, job_key(b"secret", "moe"))

    def held_up(self: Saver, *about: Any) -> None:
        if place.rank == slow_rank:
            stands.wait()
        write(self, *about)

    *before, last = steps
    losses(trainer, before)
    beats = HeartbeatWriter(job / "beats" / f"w{place.rank}.beat", job="moe", worker=f"w{place.rank}", gpu=0)
    with patch.object(Saver, "_write", held_up):
        trainer.save(job / "checkpoints", before[-1])
        losses(trainer, [last])
        threading.Timer(0.3, stands.set).start()
        Keeper(spec, job / f"memory-{place.rank}", trainer, beats).save_now(last, 30.0)
    beats.close()
    return trainer.save_report().committed, trainer.latest(job / "checkpoints")[0]


def losses_from_checkpoint(
    trainer: MoeTrainer, directory: Path, count: int
) -> tuple[int, Sequence[str], list[str]]:
    found, damaged = trainer.latest(directory)
    return found, damaged, losses(trainer, range(found + 1, found + 1 + count))


def losses_with_one_snapshot(
    trainer: MoeTrainer, job: Path, steps: Sequence[int], snapshot_at: int, save_at: Sequence[int]
) -> list[str]:
    """Train in nodes whose memory, here one folder, took a snapshot of one step only."""
    place, done = trainer._place, []
    for step in steps:
        done += losses(trainer, [step])
        if step == snapshot_at:
            slots = Slots(snapshots_of(job / "memory", "moe"), "owner", place.rank)
            slots.write(step, place.generation, place.world, encode(trainer.state()))
        if step in save_at:
            trainer.save(job / "checkpoints", step)
            assert trainer.finish_save(30)
    return done


def losses_after_resume(
    trainer: MoeTrainer, job: Path, done: int, count: int, failing: Mapping[int, str] = MappingProxyType({})
) -> tuple[Formed, list[str]]:
    """Resume as a gang does; `failing`: rank → the function that meets an input error there."""
    place = trainer._place
    spec = WorkerSpec("moe", "", "", "gloo", str(job), 1, 1, 60.0, 60.0, job_key(b"secret", "moe"))
    fails = failing.get(place.rank)
    broken = patch(fails, side_effect=OSError(5, "Input/output error")) if fails else nullcontext()
    with broken, SnapshotHolder(job / "memory", "127.0.0.1", key=b"secret") as holder:
        holders = (holder.address,)
        order = FormOrder(place.generation, place.rank, place.world, 0, ("127.0.0.1", 0), holders, None)
        formed = restore(trainer, spec, order, job / "memory", done)
    return formed, losses(trainer, range(formed.step + 1, formed.step + 1 + count))


def next_local_loss(trainer: MoeTrainer, directory: Path) -> float:
    found, _ = trainer.latest(directory)
    return trainer.step(found + 1, vote=0).local_losses[trainer._place.rank]


def losses_while_disk_is_full(trainer: MoeTrainer, directory: Path) -> tuple[list[str], str, str]:
    with largest_file(100_000):
        first, report = losses_with_saves(trainer, directory, range(3), save_at=[1])
    then, report_after = losses_with_saves(trainer, directory, range(3, 6), save_at=[4])
    return first + then, report, report_after


def losses_while_one_rank_can_t_save(
    trainer: MoeTrainer, directory: Path, rank: int, broken: str
) -> tuple[list[str], str, list[str], SaveReport]:
    """What is the matter with `rank` passes; also what is said, and left, of the save that it kept back."""
    with patch(broken, side_effect=RuntimeError("no room")) if dist.get_rank() == rank else nullcontext():
        first, said = losses_with_saves(trainer, directory, range(3), save_at=[1])
    left = sorted(path.name for path in directory.iterdir())
    dist.barrier()
    then, _ = losses_with_saves(trainer, directory, range(3, 6), save_at=[4])
    return first + then, said, left, trainer.save_report()


def unchanged_by_nan(trainer: MoeTrainer, steps: Sequence[int]) -> tuple[bool, list[StepResult]]:
    """The last of `steps` has a NaN; whether the state before it is the state after it."""
    for step in steps[:-1]:
        trainer.step(step, vote=0)
    before = trainer.state()
    result = trainer.step(steps[-1], vote=0)
    after = trainer.state()
    same = all(_plain(before[name]) == _plain(after[name]) for name in before)
    return same, [result]


def losses_skipping_what_is_nan(trainer: MoeTrainer, steps: Sequence[int]) -> list[str]:
    done = []
    for step in steps:
        result = trainer.step(step, vote=0)
        if math.isnan(result.loss):
            trainer.skip([step])
            result = trainer.step(step, vote=0)
        done.append(result.loss.hex())
    return done


def outside_on_device(trainer: MoeTrainer, device: str, step_seconds: float) -> float:
    """Median seconds outside collectives."""
    on_device(trainer, device, step_seconds)
    return median(trainer.step(step, vote=0).outside_s for step in range(5))


def steps_around_a_corrupt_one(trainer: MoeTrainer, device: Path) -> list[float]:
    on_device(trainer, str(device), 0.0)
    done = []
    for corrupt in (False, True, None):
        if corrupt is not None:
            draft = device.with_suffix(".draft")
            draft.write_text(json.dumps({"gpus": [{"index": 0, "corrupt_next": corrupt}]}))
            draft.rename(device)
        done.append(trainer.step(0, vote=0).loss)
    return done


def steps_with_a_bad_device(
    trainer: MoeTrainer, device: Path, bad: int, edits: Mapping[int, str], steps: Sequence[int]
) -> list[StepResult]:
    """Train; `edits`: what is set of the bad GPU from the n-th step that is trained on."""
    gpus = [{"index": rank} for rank in range(trainer._place.world)]
    _write(device, gpus)
    on_device(trainer, str(device), 0.0)
    done = []
    for turn, step in enumerate(steps):
        if turn in edits:
            if trainer._place.rank == 0:
                _write(device, [gpu | {edits[turn]: gpu["index"] == bad} for gpu in gpus])
            dist.barrier()
        done.append(trainer.step(step, vote=0))
    return done


def _write(device: Path, gpus: Sequence[Mapping[str, Any]]) -> None:
    draft = device.with_suffix(f".draft-{os.getpid()}")
    draft.write_text(json.dumps({"gpus": gpus}))
    draft.rename(device)


def on_device(trainer: MoeTrainer, device: str, step_seconds: float) -> None:
    trainer._device = SimulatedDevice(device)
    trainer.settings = replace(trainer.settings, step_seconds=step_seconds)


class Phases(NoBeats):
    """Beats that keep the phases entered."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def phase(self, phase: str) -> AbstractContextManager[None]:
        self.seen.append(phase)
        return super().phase(phase)


def phases_until_fed(trainer: MoeTrainer, shard: Path) -> list[str]:
    """Phases of a step whose shard is a FIFO, up to when a writer comes at last."""
    trainer._beats = beats = Phases()
    with ThreadPoolExecutor(1) as thread:
        step = thread.submit(trainer.step, 0, 0)
        os.close(open_for_a_waiting_reader(shard))  # which is there only while the step waits
        seen = list(beats.seen)
        assert isinstance(step.exception(10), OSError), "a FIFO can't be read by offset"
    return seen


def open_for_a_waiting_reader(fifo: Path) -> int:
    deadline = time.monotonic() + 10
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)  # fails while nobody waits to read
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.005)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writes beyond `size` bytes fail, as they do on a full disk, even for root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, torch.Tensor) else value
