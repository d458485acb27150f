"""A real file system that hangs, fills up and becomes read-only: ext4 on a loop device."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sentinel.checks import mounts, processes, volumes
from sentinel.checks._volume_pool import Pool, Volume

PATIENT_S = 20.0
FILES = 256
"""So many fit into the file system."""
TOOLS = ("mkfs.ext4", "fsfreeze", "losetup", "mount")

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system: needs root"),
    pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give where a small file system is mounted."""
    image, place = tmp_path / "image", tmp_path / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-N", str(FILES), str(image)], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(place)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no loop device here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """Give a pool that tries a volume at every look, on a machine that may be busy."""
    monkeypatch.setattr("sentinel.checks._volume_pool.PATIENCE_S", PATIENT_S)
    monkeypatch.setattr("sentinel.checks._volume_pool.START_S", PATIENT_S)
    pool = Pool(lambda path: ".trial", every_s=0.0)
    yield pool
    children = [each.process for each in (*pool._idle, *pool._asked.values())]
    pool.close()
    for child in children:
        child.wait(PATIENT_S)  # one that is still in the file system would keep it from being unmounted


def until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.02)


def of(pool: Pool, path: Path) -> Volume:
    (volume,) = pool.look([str(path)])
    return volume


def test_a_file_system_that_hangs_keeps_a_child_and_no_one_else(
    disk: Path, pool: Pool, tmp_path: Path
) -> None:
    pool.look([str(disk)], PATIENT_S)
    subprocess.run(["fsfreeze", "--freeze", str(disk)], check=True)
    try:
        until(lambda: of(pool, disk).waits_s)
        stuck, well = pool.look([str(disk), str(tmp_path)])
        assert well.answer is not None
        assert (stuck.waits_s > 0.0, well.waits_s) == (True, 0.0)
        later = replace(stuck, waits_s=stuck.waits_s + volumes.HUNG_S)
        assert [each.code for each in volumes.judge([later])] == ["volume-hung"]
        memory = processes.Memory()
        until(lambda: processes.look(processes.PROC, memory, 0.0).asleep)
        sample = processes.look(processes.PROC, memory, processes.STUCK_S)
        assert pool._asked[str(disk)].process.pid in {each.pid for each in sample.stuck}
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", str(disk)], check=True)
    until(lambda: not of(pool, disk).waits_s)
    assert list(volumes.judge([of(pool, disk)])) == []


def test_a_file_system_that_is_full_or_has_no_inode_left_says_so(disk: Path, pool: Pool) -> None:
    assert list(volumes.judge(pool.look([str(disk)], PATIENT_S))) == []
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(64 << 20))
    (full,) = pool.look([str(disk)], PATIENT_S)
    assert [each.code for each in volumes.judge([full])] == ["disk-full"]
    filler.unlink()
    assert list(volumes.judge(pool.look([str(disk)], PATIENT_S))) == []
    with pytest.raises(OSError, match="No space left"):
        _touch(disk, 2 * FILES)
    (found,) = volumes.judge(pool.look([str(disk)], PATIENT_S))
    assert (found.code, found.summary) == ("disk-full", f"{disk} has no room for another file")


def _touch(folder: Path, files: int) -> None:
    for number in range(files):
        (folder / str(number)).touch()


def test_a_file_system_that_becomes_read_only_is_told(disk: Path) -> None:
    memory = mounts.Memory()

    def look() -> list[str]:
        text = (mounts.PROC / "self/mountinfo").read_text()
        return [each.component for each in mounts.judge(mounts.look(text, memory))]

    assert look() == []
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert look() == [f"disk:{disk}"]
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert look() == []
