"""Slots in the node's memory that hold the newest snapshots of one rank and outlive its process."""

import fcntl
import os
import re
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias, get_args

import structlog

from sentinel import private
from sentinel.gang.snapshot_codec import NoRoomError, NotYetError, Part, SnapshotError
from sentinel.gang.snapshot_room import take_room

_log = structlog.get_logger(logger_name=__name__)

Kind: TypeAlias = Literal["owner", "peer"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SLOTS = 3
"""One that is globally complete, one being acknowledged, one being written: so every step can have one."""
CHUNK_BYTES = 1 << 20
MOST_RANKS = 1 << 20
MOST_STEPS = 1 << 48
"""Of steps and of generations."""
MOST_BYTES = 1 << 44
"""Of one rank's state."""

_MAGIC = b"SENTSNAP"
_VERSION = 1
_HEADER = struct.Struct("<8sq96sqqqqQIi")
_CRC = struct.Struct("<I")
_HEADER_BYTES = 256
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_PLACE = re.compile(r"(?P<kind>owner|peer)-rank(?P<rank>0|[1-9][0-9]{0,6})-slot[0-9]")


@dataclass(frozen=True, slots=True)
class SlotInfo:
    """The header of a slot, as written with its payload."""

    job: str
    rank: int
    world: int
    generation: int
    step: int
    length: int
    """Of the payload, bytes."""
    crc: int
    """CRC-32 of the payload."""


Held: TypeAlias = tuple[SlotInfo | None, Path]
"""A slot and what is in it, if that is complete."""


class Slots:
    """The slots of one rank: its own copies (`owner`), or those held for it by this node (`peer`).

    `directory` is `snapshots_of(memory, job)`. One process writes; any may read.
    """

    def __init__(self, directory: Path, kind: Kind, rank: int) -> None:
        self.kind, self.rank = kind, rank
        self._job = directory.name
        self.paths = [directory / f"{kind}-rank{rank}-slot{slot}" for slot in range(SLOTS)]

    def write(
        self,
        step: int,
        generation: int,
        world: int,
        parts: Iterable[Part],
        *,
        keep: int = -1,
        length: int = 0,
        crc: int | None = None,
        forsaken: bool = False,
    ) -> SlotInfo:
        """Overwrite the oldest slot, but never the newest copy of step `keep`, which is globally complete.

        The slot counts only when all is written; `length` and `crc`, if given, are the payload's. In
        memory with room for fewer slots than there are, those that fit are used; what this generation wrote
        after `keep` stays there until it is complete, unless it is `forsaken`: its other copy was dropped.
        Raises SnapshotError when a newer generation has written here, a number is out of its range, or the
        memory is full.
        """
        held = [(read_header(path), path) for path in self.paths]
        newest = max((info.generation for info, _ in held if info), default=generation)
        if newest > generation:
            raise SnapshotError(f"rank {self.rank}: generation {generation} is over, {newest} has begun")
        blank = SlotInfo(self._job, self.rank, world, generation, step, length, 0)
        if why := _nonsense(blank):
            raise SnapshotError(f"rank {self.rank}: {why}")
        (_, path), *others = _oldest_first(held, keep)
        size = _HEADER_BYTES + length
        try:
            private.make_folder(path.parent)
            if not take_room(path, size):
                path = _instead(path, others, size, None if forsaken else (generation, keep))
            with _opened(path) as file:
                return _fill(file, blank, parts, crc)
        except OSError as error:
            with suppress(OSError):
                path.unlink()  # of a link, the link
            raise NoRoomError(f"{path}: {error.strerror or error}") from error

    def inventory(self) -> list[SlotInfo]:
        """Give the complete slots, newest generation and step first; payloads are not looked at."""
        return [info for info, _ in self._complete()]

    def read(self, step: int) -> bytearray:
        """Give a step's payload, of several copies the newest intact one's. Raises SnapshotError if none."""
        what = "not here"
        for info, path in self._of(step):
            with suppress(OSError):
                payload = bytearray().join(_chunks(path, info))
                if zlib.crc32(payload) == info.crc:
                    return payload
            what = "damaged"
        raise SnapshotError(f"{self.kind} copy of step {step} of rank {self.rank} is {what}")

    def open_step(self, step: int, generation: int | None = None) -> tuple[SlotInfo, Iterator[bytes]]:
        """Give a header and its payload in chunks, for whoever verifies them. Raises SnapshotError if none.

        `generation` None takes the newest. The chunks end with OSError when the slot is not whole any more.
        """
        for info, path in self._of(step):
            if generation in (None, info.generation):
                return info, _chunks(path, info)
        raise SnapshotError(f"{self.kind} copy of step {step} of rank {self.rank} is not here")

    def _of(self, step: int) -> list[tuple[SlotInfo, Path]]:
        return [(info, path) for info, path in self._complete() if info.step == step]

    def _complete(self) -> list[tuple[SlotInfo, Path]]:
        held = [(info, path) for path in self.paths if (info := read_header(path))]
        return sorted(held, key=lambda each: (each[0].generation, each[0].step), reverse=True)


def snapshots_of(memory: Path, job: str) -> Path:
    """Give the directory of a job's slots in a node's memory; a name that could lead elsewhere is refused."""
    if not _SAFE.fullmatch(job):
        raise SnapshotError(f"{job[:96]!r} can't name a job's directory")
    return memory / "snapshots" / job


def slots_in(directory: Path) -> list[Slots]:
    """Give the slots of every rank of which this node holds a copy, own or a peer's."""
    places = [place for path in directory.glob("*-slot*") if (place := _PLACE.fullmatch(path.name))]
    return [
        Slots(directory, kind, rank)
        for kind in KINDS
        for rank in sorted({int(place["rank"]) for place in places if place["kind"] == kind})
    ]


def forget(directory: Path, wanted: Collection[tuple[str, int]], generation: int) -> None:
    """Remove what older generations wrote of ranks that are not wanted, (kind, rank), here any more."""
    for slots in slots_in(directory):
        if (slots.kind, slots.rank) not in wanted:
            for path in slots.paths:
                with suppress(OSError), _reading(path) as file:
                    _unlink_older(path, file, generation)


def _unlink_older(path: Path, file: BinaryIO, generation: int) -> None:
    """Remove the slot unless somebody writes it; a newer generation may have begun to, meanwhile."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    written = _parse(file.read(_HEADER.size + _CRC.size))
    if written and written[0].generation < generation and _is_at(path, file):
        path.unlink()


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a slot to write it, under a lock that keeps it from being removed."""
    while True:
        with os.fdopen(private.open_file(path, os.O_RDWR | os.O_CREAT), "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # waits for no other writer, and for a remover microseconds
            if _is_at(path, file):
                yield file
                return


def _is_at(path: Path, file: BinaryIO) -> bool:
    """Say whether an open file has not been removed or replaced."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    return False


def _chunks(path: Path, info: SlotInfo) -> Iterator[bytes]:
    """Give a slot's payload piece by piece. Raises OSError where it is shorter than its header says."""
    with _reading(path) as file:
        file.seek(_HEADER_BYTES)
        left = info.length
        while left:
            if not (chunk := file.read(min(left, CHUNK_BYTES))):
                raise OSError(f"{path} ends early")
            left -= len(chunk)
            yield chunk


def _reading(path: Path) -> BinaryIO:
    return os.fdopen(private.open_file(path, os.O_RDONLY), "rb", buffering=0)


def read_header(path: Path) -> SlotInfo | None:
    """Give the header of a complete slot; None for one that is missing, half written or no slot at all.

    What somebody else must have put there is not looked at, and logged.
    """
    try:
        with _reading(path) as file:
            written = _parse(file.read(_HEADER.size + _CRC.size))
            room = os.fstat(file.fileno()).st_size - _HEADER_BYTES
    except OSError as error:
        if isinstance(error, private.NotPrivateError):
            _log.warning("slot-refused", path=str(path), why=error.strerror)
        return None
    if not written or not written[1]:
        return None
    if why := _out_of_place(written[0], path, room):
        _log.warning("slot-refused", path=str(path), why=why)
        return None
    return written[0]


def _parse(raw: bytes) -> tuple[SlotInfo, bool] | None:
    """Give a header, and whether the slot is complete; None for what is no header."""
    body, seal = raw[: _HEADER.size], raw[_HEADER.size :]
    if len(body) < _HEADER.size or _CRC.pack(zlib.crc32(body)) != seal:
        return None
    magic, version, job, rank, world, generation, step, length, crc, complete = _HEADER.unpack(body)
    if magic != _MAGIC or version != _VERSION:
        return None
    name = job.rstrip(b"\0").decode(errors="backslashreplace")
    return SlotInfo(name, rank, world, generation, step, length, crc), bool(complete)


def _nonsense(info: SlotInfo) -> str:
    """Say what no slot can be; empty if nothing."""
    if not 0 <= info.rank < info.world <= MOST_RANKS:
        return f"no rank {info.rank} of a world of {info.world}"
    if not (0 <= info.step <= MOST_STEPS and 0 <= info.generation <= MOST_STEPS):
        return f"no step {info.step} of a generation {info.generation}"
    return "" if info.length <= MOST_BYTES else f"no state has {info.length} bytes"


def _out_of_place(info: SlotInfo, path: Path, room: int) -> str:
    """Say why a header can't be this file's; empty if it can."""
    place = _PLACE.fullmatch(path.name)
    if info.job != path.parent.name or not place or int(place["rank"]) != info.rank:
        return f"says that it is rank {info.rank} of {info.job!r:.100}"
    return _nonsense(info) or ("" if info.length <= room else f"says {info.length} bytes, and has {room}")


def _oldest_first(held: list[Held], keep: int) -> list[Held]:
    """Give what may be overwritten: all but the newest copy of step `keep`; what is unfinished goes first."""
    kept = max((info.generation for info, _ in held if info and info.step == keep), default=None)
    free = [each for each in held if not each[0] or (each[0].step, each[0].generation) != (keep, kept)]
    return sorted(free, key=lambda each: (each[0].generation, each[0].step) if each[0] else (-1, -1))


def _instead(full: Path, others: list[Held], size: int, until: tuple[int, int] | None) -> Path:
    """Choose a slot for one that found no room, and that gives way lest all later writes come back to it.

    `until`: nothing that is newer than this generation and step goes. Raises NoRoomError when none may go.
    """
    full.unlink()
    waits = False
    for info, path in others:
        if info is None:
            continue
        if until and (info.generation, info.step) > until:
            waits = True
        elif take_room(path, size):
            return path
        else:
            path.unlink()
    if not take_room(full, size):
        full.unlink()
        if waits:
            raise NotYetError(f"{full}: no room before a newer snapshot is complete")
        raise NoRoomError(f"{full}: no room for another snapshot")
    return full


def _fill(file: BinaryIO, blank: SlotInfo, parts: Iterable[Part], checksum: int | None) -> SlotInfo:
    """Mark the slot as unfinished, write the payload, and only then the header that makes it count."""
    _write_header(file, replace(blank, length=0), complete=False)
    file.seek(_HEADER_BYTES)
    length = crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc) if checksum is None else checksum
        length += memoryview(part).nbytes
        _write_all(file, part)
    if blank.length not in (0, length):
        raise SnapshotError(f"step {blank.step} of rank {blank.rank}: {length} bytes came of {blank.length}")
    file.truncate(_HEADER_BYTES + length)
    info = replace(blank, length=length, crc=crc)
    _write_header(file, info, complete=True)
    return info


def _write_header(file: BinaryIO, info: SlotInfo, *, complete: bool) -> None:
    numbers = (info.rank, info.world, info.generation, info.step, info.length, info.crc)
    body = _HEADER.pack(_MAGIC, _VERSION, info.job.encode(), *numbers, complete)
    file.seek(0)
    _write_all(file, body + _CRC.pack(zlib.crc32(body)))


def _write_all(file: BinaryIO, part: Part) -> None:
    left = memoryview(part).cast("B") if len(part) else memoryview(b"")
    while left:
        left = left[file.write(left) :]
