"""A writer notices within a beat that its record is not as it wrote it, and writes it anew."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sentinel.heartbeat import HeartbeatError, HeartbeatWriter, read

LONE_WRITER = """
import sys
from pathlib import Path
from sentinel.heartbeat import HeartbeatWriter
beats = HeartbeatWriter(Path(sys.argv[1]), job="moe", worker="w1", gpu=0, beat_interval=0.01)
print(flush=True)
for line in sys.stdin:
    beats.step_done(int(line))
    print(flush=True)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[HeartbeatWriter]:
    beats = HeartbeatWriter(tmp_path / "beats" / "w1.beat", job="moe", worker="w1", gpu=3, beat_interval=0.01)
    beats.place(2, 7, 3)
    beats.enqueue()
    beats.step_done(41, 0.5)
    yield beats
    beats.close()


def until(true: Callable[[], bool], deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.002)


def mended(path: Path) -> bool:
    try:
        return read(path).mended_at_ns > 0
    except HeartbeatError:
        return False


def overwrite(path: Path, content: bytes, at: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def exchange(path: Path, content: bytes) -> None:
    other = path.with_name("other")
    other.write_bytes(content)
    other.replace(path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut to nothing": lambda path: os.truncate(path, 0),
    "cut short": lambda path: os.truncate(path, 100),
    "made longer": lambda path: os.truncate(path, 5000),
    "all overwritten": lambda path: overwrite(path, os.urandom(1024)),
    "overwritten where counts are": lambda path: overwrite(path, bytes(64), 256),
    "overwritten where no one looks": lambda path: overwrite(path, b"x", 1023),
    "exchanged": lambda path: exchange(path, os.urandom(1024)),
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_record_says_again_what_it_said(
    writer: HeartbeatWriter, damage: Callable[[Path], object]
) -> None:
    assert not mended(writer.path)
    damage(writer.path)
    until(lambda: mended(writer.path))
    record = read(writer.path)
    assert (record.rank, record.generation, record.step, record.loss) == (2, 7, 41, 0.5)
    assert (record.enqueued[0], record.completed[0]) == (1, 0)
    writer.complete()
    writer.step_done(42)
    assert (read(writer.path).step, read(writer.path).completed[0]) == (42, 1)


@pytest.mark.parametrize("renamed", [False, True], ids=["written back", "put in its place"])
def test_a_record_that_was_set_back_says_again_what_is_so(writer: HeartbeatWriter, renamed: bool) -> None:
    before = writer.path.read_bytes()
    writer.step_done(42)
    writer.step_done(43)
    exchange(writer.path, before) if renamed else overwrite(writer.path, before)
    until(lambda: mended(writer.path))
    assert read(writer.path).step == 43


@pytest.mark.parametrize("size", [0, 100])
def test_a_rank_does_not_die_of_a_record_that_is_cut(tmp_path: Path, size: int) -> None:
    path = tmp_path / "w1.beat"
    program = [sys.executable, "-c", LONE_WRITER, str(path)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for step in range(20):
            process.stdout.readline()
            os.truncate(path, size)
            process.stdin.write(f"{step}\n")
            process.stdin.flush()
        process.stdout.readline()
        until(lambda: mended(path))
        assert (process.poll(), read(path).step) == (None, 19)
        process.stdin.close()


def test_a_later_writers_record_is_left_alone(tmp_path: Path, writer: HeartbeatWriter) -> None:
    later = HeartbeatWriter(writer.path, job="moe", worker="w1", gpu=5, beat_interval=0.01)
    first = read(writer.path).beat_thread_at_ns
    until(lambda: read(writer.path).beat_thread_at_ns > first + 100_000_000)
    assert (read(writer.path).gpu, read(writer.path).mended_at_ns) == (5, 0)
    later.close()


def test_where_the_folder_is_gone_nothing_is_left_behind(writer: HeartbeatWriter) -> None:
    """The agent has left the node, and taken its memory along."""
    shutil.rmtree(writer.path.parent)
    writer.step_done(42)
    beat = writer._words[1]
    until(lambda: writer._words[1] > beat + 100_000_000)
    assert not writer.path.parent.exists()
