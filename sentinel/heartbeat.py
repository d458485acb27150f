"""Writer and reader of the heartbeat record: what one rank is doing, in a small file in memory.

A record is one file of fixed size, `<memory>/beats/<worker>.beat`, that its rank writes through a memory
map and anyone may read at any moment: nobody takes a lock, and a stopped or killed writer leaves a
readable record. Two devices make that so:

- what changes often is one aligned 8-byte word (a word is stored whole): the beat, the phase with the
  time at which it began, a group's collectives entered and still open;
- what belongs together (a completed step; a place in the gang) is kept twice, each copy with a number
  and a checksum, written in turn: a writer stopped in mid-write spoils at most the older copy.

Any trainer can be watched, in whatever framework it is written:

    import sentinel.heartbeat

    beats = sentinel.heartbeat.start()     # job, rank and directory come from the environment
    for step in range(steps):
        ...                                # one training step
        beats.step_done(step, loss=loss)
"""

import atexit
import contextlib
import mmap
import os
import struct
import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PHASES = ("setup", "load", "data", "compute", "collective", "snapshot", "save", "pause", "standby", "failed")
GROUPS = 4
"""Collectives are counted in up to this many process groups."""
REASON_BYTES = 200
SUFFIX = ".beat"

_MAGIC = b"SENTBEAT"
_VERSION = 1
_SIZE = 1024
_IDENTITY = struct.Struct("8sqqq96s104s")  # magic, version, pid, started, job, worker
_WORDS = 256
_PHASE, _BEAT, _SNAPSHOT, _COLLECTIVES = 0, 1, 2, 3
_WORD_COUNT = _COLLECTIVES + GROUPS
_STEP = struct.Struct("qqqddd")  # number, generation, step, loss, outside_s, arrival
_STEP_AT = (384, 448)
_PLACE = struct.Struct(f"qqqqq{REASON_BYTES}s")  # number, rank, generation, gpu, length of the reason, reason
_PLACE_AT = (512, 768)
_CRC = struct.Struct("I")
_PHASE_BITS = 0xF
_OPEN_BITS = 0xFFFF
_ENTERED = _OPEN_BITS + 1  # a group's word: collectives entered, above the 16 bits that count the open ones
_PHASE_NUMBER = {name: number for number, name in enumerate(PHASES)}
_READS = 20


class HeartbeatError(Exception):
    """No heartbeat record can be written or read there; the message says which and why, in one line."""


@dataclass(frozen=True, slots=True)
class Record:
    """One rank's heartbeat record as it was at one moment; "monotonic" is CLOCK_MONOTONIC of its host."""

    job: str
    worker: str
    rank: int
    """-1 for a standby."""
    pid: int
    started: int
    """Start time of the process, clock ticks since boot: tells it from a later one with the same pid."""
    gpu: int
    generation: int
    step: int
    """Last step completed in this generation, -1 before the first."""
    phase: str
    phase_since_ns: int
    """When the phase began, monotonic, to within 16 ns."""
    enqueued: tuple[int, ...]
    """Collectives entered in this generation, per group."""
    completed: tuple[int, ...]
    outside_s: float
    """Seconds that the last step spent outside collectives."""
    arrival: float
    """When the rank entered the last step's closing collective, epoch seconds."""
    loss: float
    """Of the last step; NaN before the first."""
    snapshot_step: int
    """Newest step whose own and peer copies are acknowledged, -1 before the first."""
    beat_thread_at_ns: int
    """When the writer's beat thread last ran, monotonic: old in a stopped process."""
    reason: str
    """The rank's own words, when it has failed."""

    def phase_age_s(self, now_ns: int) -> float:
        """Seconds in this phase; `now_ns` is `time.monotonic_ns()` on the same host."""
        return (now_ns - self.phase_since_ns) / 1e9

    def beat_age_s(self, now_ns: int) -> float:
        """Seconds since the beat thread last ran."""
        return (now_ns - self.beat_thread_at_ns) / 1e9


class HeartbeatWriter:
    """The one writer of one record. It beats by itself, from a thread, until it is closed."""

    def __init__(
        self, path: os.PathLike[str], *, job: str, worker: str, gpu: int, beat_interval: float = 0.2
    ) -> None:
        self.path = Path(path)
        self._pid = os.getpid()
        self._memory, self._inode = _create(self.path, _identity(self._pid, job, worker))
        self._words = memoryview(self._memory)[_WORDS : _WORDS + 8 * _WORD_COUNT].cast("q")
        self._words[_SNAPSHOT] = -1
        self._numbers = {_STEP: 0, _PLACE: 0}
        self._cold = threading.Lock()
        self._closed = threading.Event()
        self.place(-1, 0, gpu)
        self.phase("setup")
        self._words[_BEAT] = time.monotonic_ns()
        _unfinished(self.path).replace(self.path)
        self._thread = threading.Thread(target=self._beat, args=(beat_interval,), daemon=True)
        self._thread.start()

    def place(self, rank: int, generation: int, gpu: int) -> None:
        """Take a place in a generation and on a GPU: counters at 0, the last step at -1, no reason."""
        for group in range(GROUPS):
            self._words[_COLLECTIVES + group] = 0
        with self._cold:
            self._place = (rank, generation, gpu)
            self._write(_STEP, _STEP_AT, generation, -1, float("nan"), 0.0, 0.0)
            self._write(_PLACE, _PLACE_AT, rank, generation, gpu, 0, b"")

    def phase(self, phase: str) -> None:
        """Enter a phase, one of `PHASES`."""
        self._words[_PHASE] = time.monotonic_ns() & ~_PHASE_BITS | _PHASE_NUMBER[phase]

    def enqueue(self, group: int = 0) -> None:
        """A collective of this group is entered."""
        self._words[_COLLECTIVES + group] += _ENTERED + 1

    def complete(self, group: int = 0) -> None:
        """The collective entered last in this group has returned."""
        if self._words[_COLLECTIVES + group] & _OPEN_BITS:  # else it was entered in an earlier generation
            self._words[_COLLECTIVES + group] -= 1

    def step_done(
        self, step: int, loss: float = float("nan"), outside_s: float = 0.0, arrival: float = 0.0
    ) -> None:
        """A training step is complete."""
        self._write(_STEP, _STEP_AT, self._place[1], step, loss, outside_s, arrival)

    def snapshot_done(self, step: int) -> None:
        """Own and peer copies of this step's snapshot are acknowledged."""
        self._words[_SNAPSHOT] = step

    def fail(self, reason: str) -> None:
        """Enter the phase `failed` and say why, in up to `REASON_BYTES` bytes of UTF-8."""
        text = _clip(reason, REASON_BYTES)
        with self._cold:
            self._write(_PLACE, _PLACE_AT, *self._place, len(text), text)
        self.phase("failed")

    def close(self, unlink: bool = True) -> None:
        """Stop beating, and remove the record unless it already belongs to a later writer."""
        if self._closed.is_set() or os.getpid() != self._pid:  # a forked child closes nothing of its parent's
            return
        self._closed.set()
        self._thread.join()
        if unlink and self.path.exists() and self.path.stat().st_ino == self._inode:
            self.path.unlink(missing_ok=True)

    def _beat(self, interval: float) -> None:
        while not self._closed.wait(interval):
            self._words[_BEAT] = time.monotonic_ns()

    def _write(self, form: struct.Struct, places: tuple[int, int], *values: object) -> None:
        number = self._numbers[form] = self._numbers[form] + 1
        body = form.pack(number, *values)
        at = places[number & 1]
        self._memory[at : at + form.size + _CRC.size] = body + _CRC.pack(zlib.crc32(body))


def start(
    memory: os.PathLike[str] | str | None = None,
    *,
    job: str | None = None,
    rank: int | None = None,
    gpu: int | None = None,
    generation: int | None = None,
) -> HeartbeatWriter:
    """Begin to beat as a rank of a job; what is not given comes from the environment.

    `memory` is the node's memory directory (SENTINEL_MEMORY), then SENTINEL_JOB and, as torchrun sets
    them, RANK, LOCAL_RANK (the GPU, 0 if unset) and TORCHELASTIC_RESTART_COUNT (the generation, 0 if unset).
    The record is removed when the process ends by itself. Raises HeartbeatError that names what is missing.
    """
    directory = Path(memory or _environment("SENTINEL_MEMORY"))
    job = job or _environment("SENTINEL_JOB")
    rank = _number("RANK") if rank is None else rank
    worker = f"{job}-rank{rank}"
    gpu = _number("LOCAL_RANK", "0") if gpu is None else gpu
    writer = HeartbeatWriter(directory / "beats" / f"{worker}{SUFFIX}", job=job, worker=worker, gpu=gpu)
    born = _number("TORCHELASTIC_RESTART_COUNT", "0") if generation is None else generation
    writer.place(rank, born, gpu)
    atexit.register(writer.close)
    return writer


def read(path: os.PathLike[str]) -> Record:
    """Read a record whole, whether its writer runs, is stopped or is gone.

    Raises HeartbeatError when there is none, or something else is in its place.
    """
    for _ in range(_READS):
        raw = _load(path)
        step, place = _newest(raw, _STEP, _STEP_AT), _newest(raw, _PLACE, _PLACE_AT)
        if step and place:
            return _record(path, raw, step, place)
    raise HeartbeatError(f"{os.fspath(path)}: both copies of the record are damaged")


def is_stale(record: Record) -> bool:
    """Say whether the process that wrote this is gone; a zombie is, a stopped one is not."""
    state, started = _process(record.pid)
    return state in "XZ" or started != record.started


def process_state(pid: int) -> str:
    """Give the kernel's letter for a process of this host, `R S D T t Z I`; `X` when it is gone."""
    return _process(pid)[0]


def clean(directory: os.PathLike[str], older_s: float = 0.0) -> list[Path]:
    """Remove the records whose process is gone and that last beat `older_s` seconds ago or longer.

    Gives the removed paths. What can't be read as a record is left alone.
    """
    now_ns, removed = time.monotonic_ns(), []
    for path in sorted(Path(directory).glob(f"*{SUFFIX}")):
        try:
            record = read(path)
        except HeartbeatError:
            continue
        if is_stale(record) and record.beat_age_s(now_ns) >= older_s:
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def _identity(pid: int, job: str, worker: str) -> bytes:
    if len(job.encode()) > 96 or len(worker.encode()) > 104:
        raise HeartbeatError(f"{worker}: the names of job and worker may be 96 and 104 bytes long")
    body = _IDENTITY.pack(_MAGIC, _VERSION, pid, _process(pid)[1], job.encode(), worker.encode())
    return body + _CRC.pack(zlib.crc32(body))


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _create(path: Path, identity: bytes) -> tuple[mmap.mmap, int]:
    """Make the file under a passing name, so that a reader never meets half a record."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _unfinished(path).open("w+b") as file:
            file.write(identity.ljust(_SIZE, b"\0"))  # a full disk says so here, and not with SIGBUS later
            file.flush()
            return mmap.mmap(file.fileno(), _SIZE), os.fstat(file.fileno()).st_ino
    except OSError as error:
        with contextlib.suppress(OSError):
            _unfinished(path).unlink()
        raise HeartbeatError(f"{path}: {error.strerror}") from error


def _load(path: os.PathLike[str]) -> bytes:
    """Read, rather than map: a file cut short by someone else must not kill the reader with SIGBUS."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise HeartbeatError(f"{os.fspath(path)}: {error.strerror}") from error
    if len(raw) != _SIZE or not raw.startswith(_MAGIC):
        raise HeartbeatError(f"{os.fspath(path)}: is no heartbeat record ({len(raw)} bytes)")
    version = struct.unpack_from("q", raw, len(_MAGIC))[0]
    if version != _VERSION:
        raise HeartbeatError(f"{os.fspath(path)}: is a record of version {version}, this reads {_VERSION}")
    return raw


def _whole(raw: bytes, form: struct.Struct, at: int) -> bool:
    return _CRC.pack(zlib.crc32(raw[at : at + form.size])) == raw[at + form.size : at + form.size + _CRC.size]


def _newest(raw: bytes, form: struct.Struct, places: tuple[int, int]) -> Sequence[Any] | None:
    copies = [form.unpack_from(raw, at) for at in places if _whole(raw, form, at)]
    return max(copies, key=lambda copy: copy[0])[1:] if copies else None


def _record(path: os.PathLike[str], raw: bytes, step: Sequence[Any], place: Sequence[Any]) -> Record:
    if not _whole(raw, _IDENTITY, 0):
        raise HeartbeatError(f"{os.fspath(path)}: its identity is damaged")
    _, _, pid, started, job, worker = _IDENTITY.unpack_from(raw)
    words = struct.unpack_from(f"{_WORD_COUNT}q", raw, _WORDS)
    collectives = words[_COLLECTIVES:]
    if words[_PHASE] & _PHASE_BITS >= len(PHASES):
        raise HeartbeatError(f"{os.fspath(path)}: its phase is damaged")
    rank, generation, gpu, length, reason = place
    if step[0] != generation:  # read while `place` was writing
        step = (0, -1, float("nan"), 0.0, 0.0)
    return Record(
        job=job.rstrip(b"\0").decode(),
        worker=worker.rstrip(b"\0").decode(),
        rank=rank,
        pid=pid,
        started=started,
        gpu=gpu,
        generation=generation,
        step=step[1],
        loss=step[2],
        outside_s=step[3],
        arrival=step[4],
        phase=PHASES[words[_PHASE] & _PHASE_BITS],
        phase_since_ns=words[_PHASE] & ~_PHASE_BITS,
        enqueued=tuple(word // _ENTERED for word in collectives),
        completed=tuple(word // _ENTERED - (word & _OPEN_BITS) for word in collectives),
        snapshot_step=words[_SNAPSHOT],
        beat_thread_at_ns=words[_BEAT],
        reason=reason[:length].decode(),
    )


def _clip(text: str, limit: int) -> bytes:
    """Encode at most `limit` bytes without cutting a character in two."""
    return text.encode()[:limit].decode(errors="ignore").encode()


def _process(pid: int) -> tuple[str, int]:
    """Give a process's state letter and start time, fields 3 and 22 of its stat; ("X", -1) if gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return "X", -1
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
    return fields[0], int(fields[19])


def _environment(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise HeartbeatError(f"{name} is not set: no heartbeat without it")
    return value


def _number(name: str, default: str | None = None) -> int:
    text = os.environ.get(name) or default or _environment(name)
    try:
        return int(text)
    except ValueError:
        raise HeartbeatError(f"{name} is {text!r}, not a number") from None
