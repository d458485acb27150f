"""What a rank tells: what ended its generation, how its checkpoints fare, and every step's loss."""

import contextlib
import json
import os
import ssl
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import torch.distributed as dist

from sentinel import private
from sentinel.gang import notices
from sentinel.gang.group import is_collective_error, job_path
from sentinel.gang.notices import SNAPSHOTS
from sentinel.gang.orders import FormOrder, WorkerSpec
from sentinel.gang.snapshots import snapshots_of
from sentinel.model.finding import REPLAYED, TRAINER, Finding, Health
from sentinel.model.ids import JobId, WorkerId
from sentinel.model.outside import BECAUSE, Whose, whose
from sentinel.model.report import AT_START, MISCOMPUTED, FindingSeen, RaisedSeen
from sentinel.model.trainable import Replayed, ReplayResult, SaveReport, StepResult
from sentinel.redact import redact

LINE_LIMIT = 500
"""Characters of an exception's line."""
_MARK = 32
"""Bytes of a mark, and more."""


class StepError(ArithmeticError):
    """A step went wrong, and all ranks know it; the training state is untouched."""

    kind = ""
    """`RaisedSeen.kind`"""
    values: tuple[float, ...] = ()
    """`RaisedSeen.values`"""


class NotFiniteError(StepError):
    """A step's loss is not finite."""

    kind = "nan"

    def __init__(self, step: int, result: StepResult) -> None:
        super().__init__(f"loss of step {step} is {result.loss}")
        self.values = tuple(map(float, result.local_losses))


class MiscomputedError(StepError):
    """A step was computed again, and that shows whose device computes wrong."""

    kind = MISCOMPUTED

    def __init__(self, step: int, replayed: Replayed, world: int) -> None:
        super().__init__(f"step {step} was computed again: {replayed.said}")
        self.values = tuple(float(rank in replayed.ranks) for rank in range(world))


def first_line(error: BaseException) -> str:
    """Say in one line what was raised, without secrets."""
    return redact(f"{type(error).__name__}: {error}").splitlines()[0]


def in_one_line(error: Exception) -> str:
    """Say what was raised, and what that came of, if only this tells that the code is not wrong."""
    line = first_line(error)[:LINE_LIMIT]
    if whose(line) is Whose.CODE:
        told = (each for raised in _chain(error) for each in _lines(raised) if whose(each) is not Whose.CODE)
        line += next((BECAUSE + each[:LINE_LIMIT] for each in told), "")
    return line


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Give an exception and those that it was raised for, as Python prints them, the newest first."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _lines(error: BaseException) -> Iterator[str]:
    """Give what may tell whose an exception is: its line, how a child's text ended, its standard name."""
    yield first_line(error)
    _, of_a_child, last = redact(str(error)).strip().rpartition("\n")
    if of_a_child:
        yield last  # torch's loaders send their traceback as the text
    if isinstance(error, OSError):
        name = next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")
        number = error.errno if isinstance(error.errno, int) and not isinstance(error, ssl.SSLError) else None
        yield redact(f"{name}: [Errno {number}] {error}" if number else f"{name}: {error}").splitlines()[0]


class Teller:
    """Leaves notes for the node's agent, in the name of one worker."""

    def __init__(self, spec: WorkerSpec, worker: str, memory: Path) -> None:
        self._spec, self._worker, self._memory = spec, worker, memory
        self._saved = SaveReport()
        self._full: bool | None = None
        """Whether memory takes no snapshots, as it was told last; None: not in this generation."""

    def raised(self, order: FormOrder, step: int, error: Exception) -> None:
        """Tell what ended the generation at this step."""
        kind, values = (error.kind, error.values) if isinstance(error, StepError) else ("user", ())
        kind = "collective" if is_collective_error(error) or isinstance(error, dist.DistError) else kind
        raised = RaisedSeen(
            JobId(self._spec.job),
            order.rank,
            WorkerId(self._worker),
            os.getpid(),
            order.generation,
            order.gpu,
            step,
            kind,
            in_one_line(error),
            redact("".join(traceback.format_exception(error)))[-6000:],  # half a secret reads like none
            values,
        )
        notices.leave(self._memory, f"{self._worker}-{order.generation}", raised)

    def not_started(self, gpu: int, error: Exception) -> None:
        """Tell what keeps this worker from becoming warm: its process ends by it."""
        line, whole = in_one_line(error), redact("".join(traceback.format_exception(error)))[-6000:]
        about = JobId(self._spec.job), -1, WorkerId(self._worker), os.getpid(), -1, gpu, -1
        notices.leave(self._memory, f"{self._worker}-start", RaisedSeen(*about, AT_START, line, whole))

    def restored(self, order: FormOrder, step: int, damaged: Sequence[str]) -> None:
        """Report checkpoints that were passed over; what is saved is reported anew from here on."""
        if damaged and order.rank == 0:
            self._find("checkpoint-corrupt", "; ".join(damaged), order, step)
        self._saved, self._full = SaveReport(), None

    def snapshots(self, order: FormOrder, step: int, full: str | None) -> None:
        """Report when memory begins to take no snapshots of this rank, and when it does again.

        A mark on the node says what was told, for whoever told it may not be there to take it back.
        """
        if full is None or bool(full) is self._full:
            return
        marks = snapshots_of(self._memory, self._spec.job)
        own = marks / f"rank-{order.rank}"
        if full:
            _mark(own, order.generation)
            self._leave(Finding(SNAPSHOTS, "disk-full", own.name, Health.WARNING, full), order, step)
        for over in [] if full else [own] if self._full else _older(marks, order.generation):
            over.unlink(missing_ok=True)
            summary = "memory takes snapshots"
            self._leave(Finding(SNAPSHOTS, "disk-full", over.name, Health.OK, summary), order, step)
        self._full = bool(full)

    def replayed(self, order: FormOrder, step: int, replayed: Replayed) -> None:
        """Tell of a step that was computed again; rank 0 speaks for all. It accuses nobody by itself."""
        if order.rank != 0:
            return
        agreed = replayed.result is ReplayResult.AGREED
        said = replayed.said or "all devices gave the same"
        found = Finding(
            TRAINER,
            REPLAYED,
            f"step-{step}",
            Health.OK if agreed else Health.WARNING,
            f"step {step} was computed again ({replayed.why}): {said}",
            {"why": replayed.why.value, "result": replayed.result.value, "step": step},
            event=not agreed,
        )
        self._leave(found, order, step)

    def saves(self, order: FormOrder, step: int, now: SaveReport) -> None:
        """Report when checkpoints begin to fail, and when one commits after that; rank 0 speaks for all."""
        before = self._saved
        if order.rank != 0 or now == before:
            return
        self._saved = now
        if now.error and not before.error:
            self._find("disk-full" if now.full else "checkpoint-failed", now.error, order, step)
        elif now.committed >= 0 and (before.error or before.committed < 0):
            for code in ("disk-full", "checkpoint-failed", "checkpoint-corrupt"):
                summary = f"the checkpoint of step {now.committed} has committed"
                self._find(code, summary, order, step, Health.OK)

    def _find(
        self, code: str, summary: str, order: FormOrder, step: int, health: Health = Health.WARNING
    ) -> None:
        """Leave a finding about the job's checkpoints."""
        self._leave(Finding(TRAINER, code, "checkpoints", health, summary), order, step)

    def _leave(self, finding: Finding, order: FormOrder, step: int) -> None:
        name = f"{self._worker}-{order.generation}-{finding.code}-{finding.component}-{step}"
        notices.leave(self._memory, name, FindingSeen(finding))


def _mark(mark: Path, generation: int) -> None:
    with contextlib.suppress(OSError):
        private.write(mark, f"{generation}".encode())


def _older(marks: Path, generation: int) -> list[Path]:
    """Give the marks that older generations have left."""
    found = []
    for mark in marks.glob("rank-*"):
        with contextlib.suppress(OSError, ValueError):
            found += [mark] if int(private.read(mark, _MARK) or 0) < generation else []
    return found


def loss_log(spec: WorkerSpec, order: FormOrder) -> Callable[[int, StepResult], None]:
    """Give what adds to the job's loss log in a generation; rank 0 writes it for all.

    A disk that is full or can't be written costs lines of the log, not the run; each step tries again.
    """
    if order.rank != 0:
        return lambda _step, _result: None
    files: list[TextIO] = []

    def write(step: int, result: StepResult) -> None:
        line = {"step": step, "loss": float(result.loss).hex(), "g": order.generation, "at": time.time()}
        with contextlib.suppress(OSError):
            if not files:
                path = job_path(spec.job_dir, "losses.jsonl")
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
                files.append(os.fdopen(private.open_file(path, flags, shared=True), "a", buffering=1))
            files[0].write(json.dumps(line) + "\n")

    return write
