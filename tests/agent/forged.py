"""Heartbeat records whose bytes are anybody's."""

import os
import struct
import zlib
from pathlib import Path

from sentinel.heartbeat import layout
from sentinel.heartbeat.process import state_and_start

NOBODY = 65534


def record(
    pid: int,
    started: int | None = None,
    *,
    job: bytes = b"job",
    worker: bytes = b"worker-0",
    rank: int = 0,
    generation: int = 1,
    gpu: int = 0,
    step: int = 3,
    outside_s: float = 0.1,
    words: tuple[int, ...] = (0, 1, -1, 0, 0, 0, 0),
) -> bytes:
    """A whole record that says it is of this process."""
    raw = bytearray(layout.SIZE)

    def put(form: struct.Struct, at: int, *values: object) -> None:
        body = form.pack(*values)
        raw[at : at + form.size + 4] = body + layout.CRC.pack(zlib.crc32(body))

    began = state_and_start(pid)[1] if started is None else started
    put(layout.IDENTITY, 0, layout.MAGIC, layout.VERSION, pid, began, job, worker)
    put(layout.STEP, layout.STEP_AT[0], 1, generation, step, 1.0, outside_s, 0.0)
    put(layout.PLACE, layout.PLACE_AT[0], 1, rank, generation, gpu, 0, b"")
    struct.pack_into("7q", raw, layout.WORDS, *words)
    return bytes(raw)


def leave(directory: Path, name: str, content: bytes) -> Path:
    """Put a file in its place at once, as a rank does."""
    draft = directory / f".{name}.forged"
    draft.write_bytes(content)
    return draft.rename(directory / name)


def give_away(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)
