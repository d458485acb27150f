"""A rank's side of its heartbeat record."""

import contextlib
import mmap
import os
import struct
import threading
import time
import zlib
from pathlib import Path

from sentinel import private
from sentinel.heartbeat.layout import (
    BEAT,
    COLLECTIVES,
    CRC,
    ENTERED,
    GROUPS,
    IDENTITY,
    MAGIC,
    OPEN_BITS,
    PHASE,
    PHASE_BITS,
    PHASE_NUMBER,
    PLACE,
    PLACE_AT,
    REASON_BYTES,
    SIZE,
    SNAPSHOT,
    STEP,
    STEP_AT,
    VERSION,
    WORD_COUNT,
    WORDS,
    HeartbeatError,
    is_name,
)
from sentinel.heartbeat.process import state_and_start


class HeartbeatWriter:
    """The one writer of one record. It beats by itself, from a thread, until it is closed."""

    def __init__(
        self, path: os.PathLike[str], *, job: str, worker: str, gpu: int, beat_interval: float = 0.2
    ) -> None:
        self.path = Path(path)
        self._pid = os.getpid()
        self._memory, self._inode = _create(self.path, _identity(self._pid, job, worker))
        self._words = memoryview(self._memory)[WORDS : WORDS + 8 * WORD_COUNT].cast("q")
        self._words[SNAPSHOT] = -1
        self._numbers = {STEP: 0, PLACE: 0}
        self._cold = threading.Lock()
        self._closed = threading.Event()
        self.place(-1, 0, gpu)
        self.phase("setup")
        self._words[BEAT] = time.monotonic_ns()
        _unfinished(self.path).replace(self.path)
        self._thread = threading.Thread(target=self._beat, args=(beat_interval,), daemon=True)
        self._thread.start()

    def place(self, rank: int, generation: int, gpu: int) -> None:
        """Take a place in a generation and on a GPU: counters at 0, the last step at -1, no reason."""
        for group in range(GROUPS):
            self._words[COLLECTIVES + group] = 0
        with self._cold:
            self._place = (rank, generation, gpu)
            self._write(STEP, STEP_AT, generation, -1, float("nan"), 0.0, 0.0)
            self._write(PLACE, PLACE_AT, rank, generation, gpu, 0, b"")

    def phase(self, phase: str) -> None:
        """Enter a phase, one of `PHASES`."""
        self._words[PHASE] = time.monotonic_ns() & ~PHASE_BITS | PHASE_NUMBER[phase]

    def enqueue(self, group: int = 0) -> None:
        """A collective of this group is entered."""
        self._words[COLLECTIVES + group] += ENTERED + 1

    def complete(self, group: int = 0) -> None:
        """The collective entered last in this group has returned."""
        if self._words[COLLECTIVES + group] & OPEN_BITS:  # else it was entered in an earlier generation
            self._words[COLLECTIVES + group] -= 1

    def step_done(
        self, step: int, loss: float = float("nan"), outside_s: float = 0.0, arrival: float = 0.0
    ) -> None:
        """A training step is complete."""
        self._write(STEP, STEP_AT, self._place[1], step, loss, outside_s, arrival)

    @property
    def in_collective(self) -> bool:
        """Whether a collective was entered in this generation and has not returned."""
        return any(word & OPEN_BITS for word in self._words[COLLECTIVES : COLLECTIVES + GROUPS])

    def motion(self) -> tuple[int, ...]:
        """Give what differs whenever the rank has entered a phase, or entered or left a collective."""
        return (self._words[PHASE], *self._words[COLLECTIVES : COLLECTIVES + GROUPS])

    def snapshot_done(self, step: int) -> None:
        """Own and peer copies of this step's snapshot are acknowledged."""
        self._words[SNAPSHOT] = step

    def fail(self, reason: str) -> None:
        """Enter the phase `failed` and say why, in up to `REASON_BYTES` bytes of UTF-8."""
        text = _clip(reason, REASON_BYTES)
        with self._cold:
            self._write(PLACE, PLACE_AT, *self._place, len(text), text)
        self.phase("failed")

    def close(self, unlink: bool = True) -> None:
        """Stop beating, and remove the record unless it already belongs to a later writer."""
        if self._closed.is_set() or os.getpid() != self._pid:  # a forked child closes nothing of its parent's
            return
        self._closed.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if unlink and self.path.lstat().st_ino == self._inode:
                self.path.unlink()

    def _beat(self, interval: float) -> None:
        while not self._closed.wait(interval):
            self._words[BEAT] = time.monotonic_ns()

    def _write(self, form: struct.Struct, places: tuple[int, int], *values: object) -> None:
        number = self._numbers[form] = self._numbers[form] + 1
        body = form.pack(number, *values)
        at = places[number & 1]
        self._memory[at : at + form.size + CRC.size] = body + CRC.pack(zlib.crc32(body))


def _identity(pid: int, job: str, worker: str) -> bytes:
    if len(job.encode()) > 96 or len(worker.encode()) > 104:
        raise HeartbeatError(f"{worker}: the names of job and worker may be 96 and 104 bytes long")
    if not is_name(job) or not is_name(worker):
        raise HeartbeatError(f"{worker!r} of job {job!r}: names are printable, without `/`, and not empty")
    body = IDENTITY.pack(MAGIC, VERSION, pid, state_and_start(pid)[1], job.encode(), worker.encode())
    return body + CRC.pack(zlib.crc32(body))


def _create(path: Path, identity: bytes) -> tuple[mmap.mmap, int]:
    """Make the file under a passing name, so that a reader never meets half a record.

    The map keeps the file open as long as the process lives (trackfd): that is how the kernel tells an agent
    that this process, and no other, writes this record.
    """
    try:
        private.make_folder(path.parent)
        descriptor = private.open_file(_unfinished(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            os.write(descriptor, identity.ljust(SIZE, b"\0"))  # a full disk says so here, not by SIGBUS
            return mmap.mmap(descriptor, SIZE), os.fstat(descriptor).st_ino
        finally:
            os.close(descriptor)
    except OSError as error:
        with contextlib.suppress(OSError):
            _unfinished(path).unlink()
        why = error if isinstance(error, private.NotPrivateError) else error.strerror
        raise HeartbeatError(f"{path}: {why}") from error


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _clip(text: str, limit: int) -> bytes:
    """Encode at most `limit` bytes without cutting a character in two."""
    return text.encode(errors="backslashreplace")[:limit].decode(errors="ignore").encode()
