"""Slots of memory snapshots, as they are looked through for the newest state."""

import random
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sentinel.gang import snapshot_slots
from sentinel.gang.snapshot_codec import SnapshotError
from sentinel.gang.snapshot_slots import Slots, slots_in, snapshots_of

_HEADER, _CRC = snapshot_slots._HEADER, snapshot_slots._CRC


def seeds() -> Iterator[bytes]:
    """Slots of several steps and sizes."""
    with tempfile.TemporaryDirectory() as folder:
        for step, payload in enumerate((b"", b"weights" * 10, bytes(range(256)) * 20)):
            slots = Slots(snapshots_of(Path(folder), "train"), "owner", 0)
            slots.write(step, 1, 4, [payload], length=len(payload))
            yield from (path.read_bytes() for path in slots.paths if path.exists())


def shaped(data: bytes, chance: random.Random) -> bytes:
    """Mostly with a header whose checksum fits."""
    end = _HEADER.size
    if len(data) < end + _CRC.size or chance.random() < 0.2:
        return data
    return data[:end] + _CRC.pack(zlib.crc32(data[:end])) + data[end + _CRC.size :]


@contextmanager
def opened(folder: Path) -> Iterator[Callable[[bytes], bool]]:
    """Look through one slot after the other; accepted is one whose payload is whole."""
    directory = snapshots_of(folder, "train")
    directory.mkdir(0o700, parents=True)
    path = directory / "owner-rank0-slot0"

    def take(data: bytes) -> bool:
        path.write_bytes(data)
        path.chmod(0o600)
        whole = False
        for slots in slots_in(directory):
            for info in slots.inventory():
                try:
                    slots.read(info.step)
                    whole = True
                except SnapshotError:
                    continue
        return whole

    yield take
