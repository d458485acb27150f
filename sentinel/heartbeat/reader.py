"""Everybody else's side: a record read whole, and records whose process is gone."""

import errno
import math
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

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
    PHASES,
    PLACE,
    PLACE_AT,
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
from sentinel.heartbeat.process import UNREAD, state_and_start

_READS = 20
_KEPT = 1024
"""Parts of records whose meaning is known already: a record that is read again has mostly the same ones."""
_IDENTITY_LIES = slice(IDENTITY.size + CRC.size)
_STEPS_LIE, _PLACES_LIE = slice(STEP_AT[0], PLACE_AT[0]), slice(PLACE_AT[0], SIZE)
_WORD_FORM = struct.Struct(f"{WORD_COUNT}q")
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PIDS = range(1, 2**22 + 1)
"""Linux counts no further."""
_WORLDS = range(2**20 + 1)
_RANKS, _GPUS = range(-1, 2**20), range(-1, 4096)
_GENERATIONS, _STEPS = range(-1, 2**40), range(-1, 2**48)
_LONGEST_S = 1e10


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
    mended_at_ns: int = 0
    """When the writer last found its record damaged and wrote it anew, monotonic; 0 for never."""
    world: int = 0
    """Ranks of its gang, of a rank that Sentinel did not start; 0 for one of its own."""
    checkpoint_step: int = -1
    """Newest step whose durable checkpoint was told to be complete, -1 before the first."""

    def phase_age_s(self, now_ns: int) -> float:
        """Seconds in this phase; `now_ns` is `time.monotonic_ns()` on the same host."""
        return (now_ns - self.phase_since_ns) / 1e9

    def beat_age_s(self, now_ns: int) -> float:
        """Seconds since the beat thread last ran."""
        return (now_ns - self.beat_thread_at_ns) / 1e9


def read(path: os.PathLike[str]) -> Record:
    """Read a record whole, whether its writer runs, is stopped or is gone.

    Raises HeartbeatError when there is none, or something else is in its place.
    """
    descriptor = open_record(path)
    try:
        return read_open(descriptor, path)
    finally:
        os.close(descriptor)


def open_record(path: os.PathLike[str]) -> int:
    """Open a record, by no link, and without waiting for a pipe's other end. Raises HeartbeatError."""
    try:
        return os.open(path, _FLAGS)
    except OSError as error:
        raise HeartbeatError(f"{os.fspath(path)}: {_why(error)}") from error


def _why(error: OSError) -> str:
    return "is a link" if error.errno == errno.ELOOP else error.strerror or str(error)


def read_open(descriptor: int, path: os.PathLike[str]) -> Record:
    """Read an open record whole; `path` is for the errors. Raises HeartbeatError."""
    for _ in range(_READS):
        raw = _load(descriptor, path)
        step, place = _newest_step(raw[_STEPS_LIE]), _newest_place(raw[_PLACES_LIE])
        if step and place:
            record = _record(path, raw, step, place)
            if not _is_possible(record):
                raise HeartbeatError(f"{os.fspath(path)}: its values are not those of a rank")
            return record
    raise HeartbeatError(f"{os.fspath(path)}: both copies of the record are damaged")


def is_stale(record: Record) -> bool:
    """Say whether the process that wrote this is gone; a zombie is, a stopped one is not."""
    state, started = state_and_start(record.pid)
    return state in "XZ" or (state != UNREAD and started != record.started)


def _load(descriptor: int, path: os.PathLike[str]) -> bytes:
    """Read, rather than map: a file cut short by someone else must not kill the reader with SIGBUS."""
    try:
        raw = os.pread(descriptor, SIZE + 1, 0)
    except OSError as error:
        raise HeartbeatError(f"{os.fspath(path)}: is no heartbeat record ({error.strerror})") from error
    if len(raw) != SIZE or not raw.startswith(MAGIC):
        raise HeartbeatError(f"{os.fspath(path)}: is no heartbeat record")
    version = struct.unpack_from("q", raw, len(MAGIC))[0]
    if version != VERSION:
        raise HeartbeatError(f"{os.fspath(path)}: is a record of version {version}, this reads {VERSION}")
    return raw


def _is_possible(record: Record) -> bool:
    """Say whether a rank can be so: the record's bytes may be anybody's."""
    counted = zip(record.completed, record.enqueued, strict=True)
    return (
        record.pid in _PIDS
        and record.rank in _RANKS
        and record.world in _WORLDS
        and record.gpu in _GPUS
        and record.generation in _GENERATIONS
        and record.step in _STEPS
        and record.snapshot_step in _STEPS
        and record.checkpoint_step in _STEPS
        and record.phase_since_ns >= 0
        and record.beat_thread_at_ns >= 0
        and record.mended_at_ns >= 0
        and all(0 <= completed <= enqueued for completed, enqueued in counted)
        and math.fabs(record.outside_s) < _LONGEST_S  # neither is NaN
        and math.fabs(record.arrival) < _LONGEST_S
    )


def _whole(raw: bytes, form: struct.Struct, at: int) -> bool:
    return CRC.pack(zlib.crc32(raw[at : at + form.size])) == raw[at + form.size : at + form.size + CRC.size]


def _newest(part: bytes, form: struct.Struct, places: tuple[int, int]) -> Sequence[Any] | None:
    copies = [form.unpack_from(part, at) for at in places if _whole(part, form, at)]
    return max(copies, key=lambda copy: copy[0])[1:] if copies else None


@lru_cache(_KEPT)
def _newest_step(part: bytes) -> Sequence[Any] | None:
    return _newest(part, STEP, (0, STEP_AT[1] - STEP_AT[0]))


@lru_cache(_KEPT)
def _newest_place(part: bytes) -> Sequence[Any] | None:
    return _newest(part, PLACE, (0, PLACE_AT[1] - PLACE_AT[0]))


@lru_cache(_KEPT)
def _identity(part: bytes) -> tuple[int, int, bytes, bytes] | None:
    """Give pid, start time, job and worker; None where they are damaged."""
    if not _whole(part, IDENTITY, 0):
        return None
    _, _, pid, started, job, worker = IDENTITY.unpack_from(part)
    return pid, started, job, worker


def _record(path: os.PathLike[str], raw: bytes, step: Sequence[Any], place: Sequence[Any]) -> Record:
    identity = _identity(raw[_IDENTITY_LIES])
    if identity is None:
        raise HeartbeatError(f"{os.fspath(path)}: its identity is damaged")
    pid, started, job, worker = identity
    words = _WORD_FORM.unpack_from(raw, WORDS)
    collectives = words[COLLECTIVES : COLLECTIVES + GROUPS]
    if words[PHASE] & PHASE_BITS >= len(PHASES):
        raise HeartbeatError(f"{os.fspath(path)}: its phase is damaged")
    rank, generation, gpu, length, reason = place
    if step[0] != generation:  # read while `place` was writing
        step = (0, -1, float("nan"), 0.0, 0.0)
    return Record(
        job=_name(path, job),
        worker=_name(path, worker),
        rank=rank,
        pid=pid,
        started=started,
        gpu=gpu,
        generation=generation,
        step=step[1],
        loss=step[2],
        outside_s=step[3],
        arrival=step[4],
        phase=PHASES[words[PHASE] & PHASE_BITS],
        phase_since_ns=words[PHASE] & ~PHASE_BITS,
        enqueued=tuple(word // ENTERED for word in collectives),
        completed=tuple(word // ENTERED - (word & OPEN_BITS) for word in collectives),
        snapshot_step=words[SNAPSHOT],
        beat_thread_at_ns=words[BEAT],
        reason=reason[: max(0, length)].decode(errors="replace"),
        mended_at_ns=words[MENDED],
        world=words[WORLD],
        checkpoint_step=words[CHECKPOINT] - 1,
    )


def _name(path: os.PathLike[str], field: bytes) -> str:
    name = _named(field)
    if not name:
        raise HeartbeatError(f"{os.fspath(path)}: its job's or worker's name is none")
    return name


@lru_cache(_KEPT)
def _named(field: bytes) -> str:
    name = field.rstrip(b"\0").decode(errors="replace")
    return name if is_name(name) else ""
