"""A rank's side of its heartbeat record."""

import contextlib
import os
import struct
import threading
import time
import zlib
from pathlib import Path

from sentinel import private
from sentinel.heartbeat.flight import answer_if_asked
from sentinel.heartbeat.layout import (
    BEAT,
    CHECKPOINT,
    COLLECTIVES,
    CRC,
    ENTERED,
    GROUPS,
    IDENTITY,
    MAGIC,
    MENDED,
    OPEN_BITS,
    PHASE,
    PHASE_BITS,
    PHASE_NUMBER,
    PHASES,
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
    WORLD,
    HeartbeatError,
    is_name,
)
from sentinel.heartbeat.process import state_and_start
from sentinel.heartbeat.reader import is_stale, read

_LIVES_S = 2.0
"""A record of this process that somebody has put in place of ours is a later writer's if it beats."""


class HeartbeatWriter:
    """The one writer of one record. It beats by itself, from a thread, until it is closed.

    What it has said it keeps, and so it can write its record anew when somebody has cut, changed or removed
    the file. It writes by system calls, not through a map: touching what was cut off a map ends the process.
    """

    def __init__(
        self, path: os.PathLike[str], *, job: str, worker: str, gpu: int, beat_interval: float = 0.2
    ) -> None:
        self.path = Path(path)
        self._pid = os.getpid()
        self._record = bytearray(_identity(self._pid, job, worker).ljust(SIZE, b"\0"))
        self._words = memoryview(self._record)[WORDS : WORDS + 8 * WORD_COUNT].cast("q")
        self._file = _create(self.path, self._record)
        self._numbers = {STEP: 0, PLACE: 0}
        self._cold, self._writing = threading.Lock(), threading.Lock()
        self._closed = threading.Event()
        self._within = [Within(self, phase) for phase in PHASES]  # made once: a step enters many
        self._put(SNAPSHOT, -1)
        self.place(-1, 0, gpu)
        self.phase("setup")
        self._put(BEAT, time.monotonic_ns())
        _unfinished(self.path).replace(self.path)
        self._thread = threading.Thread(target=self._beat, args=(beat_interval,), daemon=True)
        self._thread.start()

    def place(self, rank: int, generation: int, gpu: int) -> None:
        """Take a place in a generation and on a GPU: counters at 0, the last step at -1, no reason."""
        for group in range(GROUPS):
            self._put(COLLECTIVES + group, 0)
        self._placed_ns = time.time_ns()
        with self._cold:
            self._place = (rank, generation, gpu)
            self._write(STEP, STEP_AT, generation, -1, float("nan"), 0.0, 0.0)
            self._write(PLACE, PLACE_AT, rank, generation, gpu, 0, b"")

    def watched(self, world: int) -> None:
        """Say that Sentinel did not start this rank, and how many ranks its gang has."""
        self._put(WORLD, world)

    def phase(self, phase: str) -> "Within":
        """Enter a phase, one of `sentinel.phases.PHASES`, which says what each means. Raises KeyError.

        Until the next one is named; as `with beats.phase("evaluate"):` until the end of the block, when the
        phase is again the one before it.
        """
        before = self._words[PHASE] & PHASE_BITS
        self._put(PHASE, time.monotonic_ns() & ~PHASE_BITS | PHASE_NUMBER[phase])
        return self._within[before]

    def enqueue(self, group: int = 0) -> None:
        """A collective of this group is entered."""
        self._put(COLLECTIVES + group, self._words[COLLECTIVES + group] + ENTERED + 1)

    def complete(self, group: int = 0) -> None:
        """The collective entered last in this group has returned."""
        if self._words[COLLECTIVES + group] & OPEN_BITS:  # else it was entered in an earlier generation
            self._put(COLLECTIVES + group, self._words[COLLECTIVES + group] - 1)

    def step_done(
        self, step: int, loss: float = float("nan"), outside_s: float = 0.0, arrival: float = 0.0
    ) -> None:
        """A training step is complete: whoever has named no phase since its start is set up by now."""
        if self._words[PHASE] & PHASE_BITS == PHASE_NUMBER["setup"]:
            entered = any(self._words[COLLECTIVES : COLLECTIVES + GROUPS])
            self.phase("compute" if entered else "training")
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
        self._put(SNAPSHOT, step)

    def checkpoint_done(self, step: int) -> None:
        """Say that the durable checkpoint of a step is complete; -1 for none."""
        if self._words[CHECKPOINT] != step + 1:  # asked after every step
            self._put(CHECKPOINT, step + 1)

    def fail(self, reason: str) -> None:
        """Enter the phase `failed` and say why, in up to `REASON_BYTES` bytes of UTF-8."""
        text = _clip(reason, REASON_BYTES)
        with self._cold:
            self._write(PLACE, PLACE_AT, *self._place, len(text), text)
        self.phase("failed")

    def finish(self) -> None:
        """Say that the work is done: this process is about to end, and that is no failure."""
        self.phase("done")

    def close(self, unlink: bool = True) -> None:
        """Stop beating, and remove the record unless it already belongs to a later writer."""
        if self._closed.is_set() or os.getpid() != self._pid:  # a forked child closes nothing of its parent's
            return
        self._closed.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if unlink and self._is_in_place():
                self.path.unlink()

    def _beat(self, interval: float) -> None:
        while not self._closed.wait(interval):
            self._put(BEAT, time.monotonic_ns())
            with contextlib.suppress(OSError, HeartbeatError):  # a full disk: the next beat tries again
                self._mend()
                answer_if_asked(self.path, self._placed_ns)

    def _mend(self) -> None:
        """Write the record anew if its file is not as it was written. Raises OSError, HeartbeatError."""
        with self._writing:
            whole = os.pread(self._file, SIZE + 1, 0) == self._record
            in_place = self._is_in_place()
            if (whole and in_place) or not self.path.parent.is_dir():
                return
            if not in_place and self._is_anothers():
                return
            self._words[MENDED] = time.monotonic_ns()
            if not in_place:
                before, self._file = self._file, _create(self.path, self._record)
                os.close(before)
                _unfinished(self.path).replace(self.path)
            os.ftruncate(self._file, SIZE)
            os.pwrite(self._file, self._record, 0)

    def _is_in_place(self) -> bool:
        """Say whether its file is the one that lies under its name."""
        try:
            return os.path.samestat(self.path.lstat(), os.fstat(self._file))
        except FileNotFoundError:
            return False

    def _is_anothers(self) -> bool:
        """Say whether what lies in its place is written by another writer that lives."""
        try:
            record = read(self.path)
        except HeartbeatError:
            return False
        if (record.pid, record.started) == IDENTITY.unpack_from(self._record)[2:4]:
            return record.beat_age_s(time.monotonic_ns()) < _LIVES_S
        return not is_stale(record)

    def _write(self, form: struct.Struct, places: tuple[int, int], *values: object) -> None:
        number = self._numbers[form] = self._numbers[form] + 1
        body = form.pack(number, *values)
        at = places[number & 1]
        with self._writing:
            self._record[at : at + form.size + CRC.size] = body + CRC.pack(zlib.crc32(body))
            self._flush(at, form.size + CRC.size)

    def _put(self, word: int, value: int) -> None:
        with self._writing:
            self._words[word] = value
            self._flush(WORDS + 8 * word, 8)

    def _flush(self, at: int, size: int) -> None:
        """Write a part of the record; what can't be written now the beat thread will write."""
        with contextlib.suppress(OSError):
            os.pwrite(self._file, self._record[at : at + size], at)


class Within:
    """The block of a phase: at its end the rank is again in the phase before it."""

    __slots__ = ("_beats", "_before")

    def __init__(self, beats: HeartbeatWriter, before: str) -> None:
        self._beats, self._before = beats, before

    def __enter__(self) -> None:
        """The phase has begun."""

    def __exit__(self, *_: object) -> None:
        """Go back; a rank that names phases is in `training` no more, where it might be doing anything."""
        self._beats.phase("compute" if self._before == "training" else self._before)


def _identity(pid: int, job: str, worker: str) -> bytes:
    if len(job.encode()) > 96 or len(worker.encode()) > 104:
        raise HeartbeatError(f"{worker}: the names of job and worker may be 96 and 104 bytes long")
    if not is_name(job) or not is_name(worker):
        raise HeartbeatError(f"{worker!r} of job {job!r}: names are printable, without `/`, and not empty")
    body = IDENTITY.pack(MAGIC, VERSION, pid, state_and_start(pid)[1], job.encode(), worker.encode())
    return body + CRC.pack(zlib.crc32(body))


def _create(path: Path, record: bytes | bytearray) -> int:
    """Make the file under a passing name, so that a reader never meets half a record; gives it open.

    It stays open as long as the process lives: that is how the kernel tells an agent that this process, and
    no other, writes this record.
    """
    try:
        private.make_folder(path.parent)
        descriptor = private.open_file(_unfinished(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            os.write(descriptor, record)  # a full disk says so here
        except OSError:
            os.close(descriptor)
            raise
    except OSError as error:
        with contextlib.suppress(OSError):
            _unfinished(path).unlink()
        why = error if isinstance(error, private.NotPrivateError) else error.strerror
        raise HeartbeatError(f"{path}: {why}") from error
    return descriptor


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _clip(text: str, limit: int) -> bytes:
    """Encode at most `limit` bytes without cutting a character in two."""
    return text.encode(errors="backslashreplace")[:limit].decode(errors="ignore").encode()
