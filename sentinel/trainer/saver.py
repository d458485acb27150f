"""Writes and reads checkpoints with torch.distributed.checkpoint, beside the training that goes on."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from sentinel.model.trainable import Place
from sentinel.trainer import checkpoint as store


class Saver:
    """One rank's hand in the checkpoints of one generation; all ranks call it at the same steps.

    Its collectives run on a gloo group of its own: those of a save in the background must not mix with
    the training's.
    """

    def __init__(self, place: Place, keep: int) -> None:
        self._place = place
        self._keep = keep
        self._group = dist.new_group(backend="gloo")
        self._thread: threading.Thread | None = None
        self.error = ""
        """Why the last save did not commit, in one line; empty when it did."""

    @property
    def busy(self) -> bool:
        """Whether a save is still being written."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, directory: Path, step: int, tensors: Mapping[str, Any]) -> None:
        """Write `tensors`, which nobody changes any more, as the checkpoint of `step`."""
        target = store.folder(directory, step, self._place.generation)
        self._thread = threading.Thread(
            target=self._save, args=(target, dict(tensors)), name="checkpoint", daemon=True
        )
        self._thread.start()

    def finish(self, seconds: float) -> bool:
        """Wait for the save that runs; false when it is still running after `seconds`."""
        if self._thread is not None:
            self._thread.join(seconds)
        return not self.busy

    def load_newest(self, directory: Path, tensors: dict[str, Any]) -> tuple[int, list[str]]:
        """Fill `tensors` from the newest checkpoint that verifies; (its step or -1, damage lines)."""
        found: list[Any] = [None, []]
        if self._place.rank == 0:
            store.claim(directory, self._place.generation)
            found = list(store.newest_verified(directory))
        dist.broadcast_object_list(found, src=0, group=self._group)
        newest, passed_over = found
        if newest is None:
            return -1, passed_over
        dcp.load(tensors, storage_reader=dcp.FileSystemReader(newest.path), process_group=self._group)
        return newest.step, passed_over

    def _save(self, target: store.Checkpoint, tensors: dict[str, Any]) -> None:
        """Training goes on whatever happens here; the reason is kept for the report."""
        try:
            self._write(target, tensors)
        except dcp.CheckpointException as error:
            causes = (f"rank {rank}: {cause[0]!r}" for rank, cause in sorted(error.failures.items()))
            self._failed(target, "; ".join(causes))
        except Exception as error:
            self._failed(target, f"{type(error).__name__}: {error}")
        else:
            self.error = ""

    def _write(self, target: store.Checkpoint, tensors: dict[str, Any]) -> None:
        rank, world = self._place.rank, self._place.world
        writer = dcp.FileSystemWriter(target.path, overwrite=False)
        dcp.save(tensors, storage_writer=writer, process_group=self._group)
        names = [path.name for path in target.path.glob(f"__{rank}_*")] + [".metadata"] * (rank == 0)
        everyone: list[Any] | None = [None] * world if rank == 0 else None
        dist.gather_object(_attempt(target.path, names), everyone, dst=0, group=self._group)
        if everyone is not None:
            hashes = _merge(everyone)
            store.commit(target, world, hashes)
            store.retain(target, self._keep)

    def _failed(self, target: store.Checkpoint, reason: str) -> None:
        self.error = f"checkpoint of step {target.step} failed: {reason}".replace("\n", " ")
        if self._place.rank == 0 and not target.committed:
            store.discard(target)


def _attempt(path: Path, names: list[str]) -> dict[str, str] | OSError:
    """The hashes, or the error as a value: a rank that raised before the gather would hang the others."""
    try:
        return store.hash_files(path, names)
    except OSError as error:
        return error


def _merge(answers: list[dict[str, str] | OSError]) -> dict[str, str]:
    hashes: dict[str, str] = {}
    for answer in answers:
        if isinstance(answer, OSError):
            raise answer
        hashes.update(answer)
    return hashes
