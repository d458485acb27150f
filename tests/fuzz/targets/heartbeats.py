"""Heartbeat records, from the file that a rank wrote to the report that an agent sends."""

import os
import random
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sentinel.heartbeat import SUFFIX, HeartbeatWriter
from sentinel.heartbeat.layout import CRC, IDENTITY, PLACE, PLACE_AT, STEP, STEP_AT
from sentinel.model.codec import decode, encode
from sentinel.model.ids import NodeId
from sentinel.model.report import Report
from sentinel.runtime.agent.ranks import Ranks

SEALED = ((IDENTITY, 0), *((STEP, at) for at in STEP_AT), *((PLACE, at) for at in PLACE_AT))


def seeds() -> Iterator[bytes]:
    """Records of a standby, of a rank that trains, and of one that failed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"w1{SUFFIX}")
        writer = HeartbeatWriter(path, job="train", worker="w1", gpu=0)
        yield path.read_bytes()
        writer.place(3, 2, 1)
        for step in range(3):
            writer.phase("compute")
            writer.enqueue()
            writer.complete()
            writer.step_done(step, loss=2.5, outside_s=0.1, arrival=1e9)
            yield path.read_bytes()
        writer.fail("KeyError: 3")
        yield path.read_bytes()
        writer.close()


def shaped(data: bytes, chance: random.Random) -> bytes:
    """Mostly with checksums that fit: what a rank's own process, or whoever can write there, may say."""
    record = bytearray(data)
    for form, at in SEALED if chance.random() < 0.8 else ():
        end = at + form.size
        if len(record) >= end + CRC.size:
            record[end : end + CRC.size] = CRC.pack(zlib.crc32(record[at:end]))
    return bytes(record)


@contextmanager
def opened(folder: Path) -> Iterator[Callable[[bytes], bool]]:
    """Look at one record after the other; accepted is one whose rank is watched, or was seen to end."""
    beats = folder / "beats"
    beats.mkdir(0o700)
    path = beats / f"w1{SUFFIX}"

    def take(data: bytes) -> bool:
        path.write_bytes(data)
        path.chmod(0o600)
        ranks = Ranks(beats)
        ended = ranks.refresh()
        events = tuple((number, each.event) for number, each in enumerate(ended, 1))
        report = Report(NodeId("n1"), "boot", 1, ranks.beats(), events)
        decode(Report, encode(report))
        ranks.processes()
        found = bool(report.beats or report.events)
        for pidfd in [*ranks.pidfds]:
            os.close(pidfd)
        return found

    yield take
