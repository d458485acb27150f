"""Writes and reads checkpoints with torch.distributed.checkpoint, beside the training that goes on."""

import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from sentinel import private
from sentinel.model.trainable import Place, SaveReport
from sentinel.trainer import checkpoint as store
from sentinel.trainer.plain_pickle import refuse_programs
from sentinel.trainer.sealed_reader import METADATA, SealedReader

MEET = timedelta(seconds=6)
SAVE = timedelta(minutes=30)


class _NotDoneError(RuntimeError):
    """What a rank has said that keeps a checkpoint from being written."""


class Saver:
    """One rank's hand in the checkpoints of one generation; all ranks call it at the same steps.

    Its collectives run on a gloo group of its own: those of a save in the background must not mix with
    the training's.
    """

    def __init__(self, place: Place, device: torch.device, keep: int) -> None:
        self._place = place
        self._device = device
        self._keep = keep
        refuse_programs()
        self._group = dist.new_group(backend="gloo", timeout=MEET)  # a member may die before it connects
        dist.distributed_c10d._set_pg_timeout(SAVE, self._group)
        self._thread: threading.Thread | None = None
        self.report = SaveReport()

    @property
    def busy(self) -> bool:
        """Whether a save is still being written."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, directory: Path, step: int, copy: Callable[[], Mapping[str, Any]]) -> None:
        """Write what `copy` gives, and nobody changes any more, as the checkpoint of `step`.

        A rank that can't copy, or gets no thread, takes part all the same: the others wait for its word.
        """
        target, tensors, trouble = store.folder(directory, step, self._place.generation), {}, ""
        try:
            tensors = dict(copy())
        except Exception as error:
            trouble = _told(error)
        save = threading.Thread(
            target=self._save, args=(target, tensors, trouble), name="checkpoint", daemon=True
        )
        try:
            save.start()
        except RuntimeError as error:  # this machine has no thread for us
            self._save(target, {}, trouble or _told(error))
        else:
            self._thread = save

    def finish(self, seconds: float) -> bool:
        """Wait for the save that runs; false when it is still running after `seconds`."""
        if self._thread is not None:
            self._thread.join(seconds)
        return not self.busy

    def load_newest(
        self, directory: Path, tensors: dict[str, Any], above: int = -1, since: int = -1
    ) -> tuple[int, list[str]]:
        """Fill `tensors` from the newest checkpoint that verifies; (its step or -1, damage lines).

        With `above` -1 it raises OSError, StaleGenerationError or RuntimeError, on all ranks alike. Else the
        ranks have a snapshot to go back to, and what can't be read is passed over for it.
        """
        answer = [self._look(directory, above, since) if self._place.rank == 0 else None]
        dist.broadcast_object_list(answer, src=0, group=self._group)
        assert answer[0] is not None
        found, passed_over, error = answer[0]
        if error:
            raise _ERRORS[error[0]](error[1])
        if found is None:
            return -1, passed_over
        newest = store.folder(directory, *found)
        try:
            reader = SealedReader(newest, self._place.key)
            dcp.load(tensors, storage_reader=reader, process_group=self._group)
        except dcp.CheckpointException as error:  # a BaseException
            message = f"{newest.path}: {_causes(error)}"
            if above < 0:
                raise RuntimeError(message) from None
            return -1, [*passed_over, message]
        return newest.step, passed_over

    def _look(
        self, directory: Path, above: int, since: int
    ) -> tuple[tuple[int, int] | None, list[str], tuple[str, str] | None]:
        """What is there, or the error as a value: rank 0 that raised here would leave the others waiting.

        ((step, generation) or None, damage lines, (class and text of the error) or None).
        """
        try:
            if above >= 0 and not store.committed(directory, above, since):
                return None, [], None  # the usual case: nothing is read or written
            with suppress(OSError):  # a full disk; the commit claims again
                store.claim(directory, self._place.generation, self._place.key)
            newest, passed_over = store.newest_verified(directory, self._place.key, above, since)
            return (newest.step, newest.generation) if newest else None, passed_over, None
        except OSError as error:
            line = f"{directory}: {error}"
            return (None, [], (OSError.__name__, line)) if above < 0 else (None, [line], None)
        except (store.StaleGenerationError, store.UnsealedError) as error:
            return None, [], (type(error).__name__, str(error))

    def _save(self, target: store.Checkpoint, tensors: dict[str, Any], trouble: str) -> None:
        """Training goes on whatever happens here; the reason is kept for the report."""
        ours = False
        try:
            trouble = trouble or self._prepare(target.path)
            ours = self._place.rank == 0 and not trouble
            self._agree(trouble)
            self._write(target, tensors)
        except dcp.CheckpointException as error:
            self._failed(target, tensors, _causes(error), ours=ours)
        except _NotDoneError as error:
            self._failed(target, tensors, str(error), ours=ours)
        except Exception as error:
            self._failed(target, tensors, _told(error), ours=ours)
        else:
            self.report = SaveReport(committed=target.step)

    def _prepare(self, folder: Path) -> str:
        """Do what may fail before ranks wait for each other; says what did, empty for nothing.

        The folder is made before anybody writes into it: what is there already is somebody else's.
        """
        try:
            if self._device.type == "cuda":
                torch.cuda.set_device(self._device)  # a new thread would wait for its copies on GPU 0
            if self._place.rank == 0:
                private.make_shared_folder(folder.parent)
                folder.mkdir(private.FOLDER_MODE)
        except OSError as error:
            return f"{folder}: {error.strerror}"
        except Exception as error:
            return _told(error)
        return ""

    def _agree(self, trouble: str) -> None:
        """Let all ranks know at once that one can't take part. Raises _NotDoneError, on all alike."""
        said: list[Any] = [""] * self._place.world
        dist.all_gather_object(said, trouble, group=self._group)
        if wrong := [f"rank {rank}: {text}" for rank, text in enumerate(said) if text]:
            raise _NotDoneError("; ".join(wrong))

    def _write(self, target: store.Checkpoint, tensors: dict[str, Any]) -> None:
        rank, world = self._place.rank, self._place.world
        writer = dcp.FileSystemWriter(target.path, overwrite=False)
        dcp.save(tensors, storage_writer=writer, process_group=self._group)
        everyone: list[Any] | None = [None] * world if rank == 0 else None
        dist.gather_object(_attempt(target.path, rank), everyone, dst=0, group=self._group)
        answer = [self._commit(target, everyone) if everyone is not None else ""]
        dist.broadcast_object_list(answer, src=0, group=self._group)
        if answer[0]:
            raise _NotDoneError(answer[0])

    def _commit(self, target: store.Checkpoint, answers: list[bytes | str]) -> str:
        """Commit what all ranks have written; says why not, for the others wait to hear it."""
        try:
            store.commit(target, self._place.world, _merge(answers), self._place.key)
            store.retain(target, self._keep, self._place.key)
        except Exception as error:
            return _told(error)
        return ""

    def _failed(
        self, target: store.Checkpoint, tensors: Mapping[str, Any], reason: str, *, ours: bool
    ) -> None:
        free = _free_bytes(target.path.parent)  # torch hides "no space left" behind a wrong file position
        needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        error = f"checkpoint of step {target.step} failed, {free} bytes free on disk: {reason}"
        self.report = SaveReport(self.report.committed, error.replace("\n", " "), 0 <= free < needed)
        if ours and not target.committed:
            store.discard(target)


def _free_bytes(directory: Path) -> int:
    """Room that is left, -1 when the volume can't be asked."""
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return -1


_ERRORS: Mapping[str, type[Exception]] = {
    kind.__name__: kind for kind in (OSError, store.StaleGenerationError, store.UnsealedError)
}


def _attempt(path: Path, rank: int) -> bytes | str:
    """What the manifest will say of a rank's files, or the error as a value, for the same reason as above."""
    try:
        names = [file.name for file in path.glob(f"__{rank}_*")] + [METADATA] * (rank == 0)
        return msgspec.json.encode(store.hash_files(path, names))
    except Exception as error:
        return _told(error)


def _merge(answers: list[bytes | str]) -> dict[str, store.File]:
    files: dict[str, store.File] = {}
    for answer in answers:
        if isinstance(answer, str):
            raise _NotDoneError(answer)
        files.update(msgspec.json.decode(answer, type=dict[str, store.File]))
    return files


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, _NotDoneError) else f"{type(error).__name__}: {error}"


def _causes(error: Any) -> str:
    """What a CheckpointException says, without the tracebacks."""
    return "; ".join(f"rank {rank}: {cause[0]!r}" for rank, cause in sorted(error.failures.items()))
