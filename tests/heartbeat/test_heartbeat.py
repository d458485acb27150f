"""The heartbeat record: what a writer says is what a reader in another process sees."""

import math
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sentinel import heartbeat
from sentinel.heartbeat import HeartbeatError, HeartbeatWriter, is_stale, process_state, read

BUSY_WRITER = """
import sys
from pathlib import Path
from sentinel.heartbeat import HeartbeatWriter
beats = HeartbeatWriter(Path(sys.argv[1]), job="moe", worker="w1", gpu=3, beat_interval=0.01)
beats.place(2, 1, 0)
step = generation = 1
while True:
    beats.phase("collective")
    beats.enqueue()
    beats.complete()
    beats.step_done(step, float(step), step * 2.0, step * 3.0)
    step += 1
    if step % 10 == 0:
        generation += 1
        beats.fail(f"{generation} " * 20)
        beats.place(generation, generation, 0)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[HeartbeatWriter]:
    beats = HeartbeatWriter(tmp_path / "w1.beat", job="moe", worker="w1", gpu=3, beat_interval=0.01)
    yield beats
    beats.close()


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    path = tmp_path / "busy.beat"
    process = subprocess.Popen([sys.executable, "-c", BUSY_WRITER, str(path)])
    until(path.exists)
    yield process, path
    process.kill()
    process.wait()


def until(true: Callable[[], bool], deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.002)


def is_consistent(record: heartbeat.Record) -> bool:
    """Fields that the busy writer keeps in a fixed relation."""
    stepped = record.step == -1 or (
        record.loss == record.step
        and record.outside_s == record.step * 2
        and record.arrival == record.step * 3
        and record.step // 10 + 1 == record.generation
    )
    placed = record.rank in (record.generation, 2)
    words = set(record.reason.split())
    return stepped and placed and len(words) <= 1 and 0 <= record.enqueued[0] - record.completed[0] <= 1


def test_a_record_says_what_its_writer_said(writer: HeartbeatWriter) -> None:
    writer.place(5, 12, 3)
    writer.enqueue()
    writer.enqueue(3)
    writer.complete(3)
    writer.step_done(41, 2.5, 0.125, 1e9)
    writer.snapshot_done(40)
    before = time.monotonic_ns()
    writer.phase("save")
    record = read(writer.path)
    assert (record.job, record.worker, record.rank, record.generation) == ("moe", "w1", 5, 12)
    assert (record.pid, record.gpu, record.phase) == (os.getpid(), 3, "save")
    assert (record.step, record.loss, record.outside_s, record.arrival) == (41, 2.5, 0.125, 1e9)
    assert (record.enqueued, record.completed) == ((1, 0, 0, 1), (0, 0, 0, 1))
    assert record.snapshot_step == 40
    assert before - 16 <= record.phase_since_ns <= time.monotonic_ns()


def test_a_new_writer_is_a_standby_without_a_step(writer: HeartbeatWriter) -> None:
    record = read(writer.path)
    assert (record.rank, record.step, record.snapshot_step, record.phase) == (-1, -1, -1, "setup")
    assert math.isnan(record.loss)


def test_a_new_place_starts_counting_anew(writer: HeartbeatWriter) -> None:
    writer.place(0, 1, 0)
    writer.enqueue()
    writer.step_done(9, 1.0)
    writer.fail("TypeError: a reason")
    writer.place(0, 2, 0)
    record = read(writer.path)
    assert (record.generation, record.step, record.enqueued[0], record.reason) == (2, -1, 0, "")


def test_a_collective_of_an_earlier_place_does_not_complete_in_this_one(writer: HeartbeatWriter) -> None:
    writer.enqueue()
    writer.place(0, 1, 0)
    writer.complete()
    writer.enqueue()
    assert (read(writer.path).enqueued[0], read(writer.path).completed[0]) == (1, 0)


def test_a_nan_loss_is_kept(writer: HeartbeatWriter) -> None:
    writer.step_done(3, float("nan"))
    assert read(writer.path).step == 3
    assert math.isnan(read(writer.path).loss)


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        pytest.param("RuntimeError: peer is gone", "RuntimeError: peer is gone", id="short"),
        pytest.param("x" * 500, "x" * 200, id="long is cut"),
        pytest.param("x" + "é" * 150, "x" + "é" * 99, id="no character is cut in two"),
    ],
)
def test_a_failed_rank_says_why(writer: HeartbeatWriter, reason: str, kept: str) -> None:
    writer.fail(reason)
    assert (read(writer.path).phase, read(writer.path).reason) == ("failed", kept)


def test_the_writer_beats_by_itself(writer: HeartbeatWriter) -> None:
    first = read(writer.path).beat_thread_at_ns
    until(lambda: read(writer.path).beat_thread_at_ns > first)


def test_every_phase_has_a_place_in_its_word(writer: HeartbeatWriter) -> None:
    for phase in heartbeat.PHASES:
        writer.phase(phase)
        assert read(writer.path).phase == phase


def test_a_pause_has_a_name_until_the_end_of_its_block(writer: HeartbeatWriter) -> None:
    writer.phase("compute")
    with writer.phase("evaluate"):
        with writer.phase("save"):
            assert read(writer.path).phase == "save"
        assert read(writer.path).phase == "evaluate"
    assert read(writer.path).phase == "compute"


def test_a_pause_that_raises_is_over(writer: HeartbeatWriter) -> None:
    writer.phase("compute")
    with pytest.raises(KeyError), writer.phase("evaluate"):
        writer.phase("coffee")
    assert read(writer.path).phase == "compute"


@pytest.mark.parametrize(
    ("names", "then"),
    [
        pytest.param(lambda beats: None, "training", id="nothing but steps"),
        pytest.param(lambda beats: (beats.enqueue(), beats.complete()), "compute", id="collectives"),
        pytest.param(lambda beats: beats.phase("compute"), "compute", id="phases"),
        pytest.param(lambda beats: beats.phase("evaluate"), "evaluate", id="a pause that is not over"),
    ],
)
def test_a_step_says_training_only_of_a_rank_that_names_nothing_else(
    writer: HeartbeatWriter, names: Callable[[HeartbeatWriter], object], then: str
) -> None:
    names(writer)
    writer.step_done(0)
    assert read(writer.path).phase == then
    with writer.phase("evaluate"):
        writer.step_done(1)
        assert read(writer.path).phase == "evaluate"
    assert read(writer.path).phase == ("evaluate" if then == "evaluate" else "compute"), "it names pauses now"


def test_a_pause_before_the_first_step_ends_in_the_set_up(writer: HeartbeatWriter) -> None:
    with writer.phase("load"):
        pass
    assert read(writer.path).phase == "setup"


def test_a_record_is_whole_while_its_writer_writes(busy: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, path = busy
    until(lambda: read(path).generation > 2)
    last = 0
    for _ in range(3000):
        record = read(path)
        assert is_consistent(record), record
        assert record.generation >= last
        last = record.generation
    assert process.poll() is None


def test_a_record_is_whole_wherever_its_writer_is_stopped(busy: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, path = busy
    until(lambda: read(path).generation > 2)
    chance = random.Random(0)
    for _ in range(150):
        process.send_signal(signal.SIGSTOP)
        until(lambda: process_state(process.pid) == "T")
        record = read(path)
        assert is_consistent(record), record
        assert record == read(path) or math.isnan(record.loss)
        assert not is_stale(record)
        process.send_signal(signal.SIGCONT)
        time.sleep(chance.random() / 300)  # where it is stopped next is the point


def test_a_stopped_writer_no_longer_beats(busy: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, path = busy
    process.send_signal(signal.SIGSTOP)
    until(lambda: process_state(process.pid) == "T")
    until(lambda: read(path).beat_age_s(time.monotonic_ns()) > 0.1)


def test_one_damaged_copy_leaves_the_one_before(writer: HeartbeatWriter) -> None:
    writer.place(1, 1, 0)
    for step in range(4):
        writer.step_done(step, float(step))
    damaged = bytearray(writer.path.read_bytes())
    at = damaged.index(struct.pack("=qd", 3, 3.0))
    damaged[at] ^= 0xFF
    other = writer.path.with_name("other.beat")
    other.write_bytes(damaged)
    assert read(writer.path).step == 3
    assert read(other).step == 2


def test_a_killed_writer_leaves_a_stale_record(busy: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, path = busy
    assert not is_stale(read(path))
    process.kill()
    until(lambda: is_stale(read(path)))  # already as a zombie
    assert process_state(process.pid) == "Z"
    process.wait()
    assert process_state(process.pid) == "X"
    assert is_stale(read(path))


def test_a_later_process_with_the_same_pid_is_not_the_writer(writer: HeartbeatWriter) -> None:
    record = read(writer.path)
    assert not is_stale(record)
    assert is_stale(replace(record, started=record.started - 1))


def test_closing_removes_the_record_but_not_a_successors(tmp_path: Path) -> None:
    path = tmp_path / "beats" / "w.beat"
    first = HeartbeatWriter(path, job="moe", worker="w", gpu=0)
    second = HeartbeatWriter(path, job="moe", worker="w", gpu=1)
    first.close()
    assert read(path).gpu == 1
    second.close()
    second.close()
    second.phase("save")  # too late, and harmless
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "no heartbeat record", id="empty"),
        pytest.param(b"SENTBEAT" + bytes(100), "no heartbeat record", id="cut short"),
        pytest.param(os.urandom(1024), "no heartbeat record", id="garbage"),
        pytest.param(b"SENTBEAT" + (9).to_bytes(8, "little") + bytes(1008), "version 9", id="newer version"),
        pytest.param(b"SENTBEAT" + (1).to_bytes(8, "little") + bytes(1008), "damaged", id="zeroed"),
    ],
)
def test_what_is_no_record_is_refused_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "w.beat"
    path.write_bytes(content)
    with pytest.raises(HeartbeatError, match=says) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_record_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(HeartbeatError, match=r"none\.beat: No such file"):
        read(tmp_path / "none.beat")


def test_a_directory_that_cannot_be_made_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HeartbeatError, match=r"file/w\.beat: "):
        HeartbeatWriter(tmp_path / "file" / "w.beat", job="moe", worker="w", gpu=0)


def test_any_trainer_can_be_watched(tmp_path: Path) -> None:
    program = (
        "import sentinel.heartbeat, sys\n"
        "beats = sentinel.heartbeat.start()\n"
        "beats.step_done(7, loss=0.5)\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    environment = os.environ | {
        "SENTINEL_MEMORY": str(tmp_path),
        "SENTINEL_JOB": "foreign",
        "RANK": "4",
        "LOCAL_RANK": "2",
        "TORCHELASTIC_RESTART_COUNT": "1",
        "WORLD_SIZE": "8",
    }
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (path,) = (tmp_path / "beats").iterdir()
        record = read(path)
        process.communicate(b"\n")
    assert (record.job, record.rank, record.gpu, record.generation, record.step) == ("foreign", 4, 2, 1, 7)
    assert record.world == 8
    assert record.phase == "training", "whoever tells no phases is set up after a step"
    assert record.worker == f"foreign-rank4-{record.started}", "a later process is another worker"
    assert not path.exists(), "a trainer that ends by itself leaves no record"


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        pytest.param({"SENTINEL_JOB": "j", "RANK": "0"}, "SENTINEL_MEMORY is not set", id="no memory"),
        pytest.param({"SENTINEL_MEMORY": "/tmp", "RANK": "0"}, "SENTINEL_JOB is not set", id="no job"),
        pytest.param({"SENTINEL_MEMORY": "/tmp", "SENTINEL_JOB": "j"}, "RANK is not set", id="no rank"),
        pytest.param(
            {"SENTINEL_MEMORY": "/tmp", "SENTINEL_JOB": "j", "RANK": "one"},
            "'one', not a number",
            id="bad rank",
        ),
    ],
)
def test_starting_without_a_place_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], says: str
) -> None:
    for name in ("SENTINEL_MEMORY", "SENTINEL_JOB", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(HeartbeatError, match=says):
        heartbeat.start()


def test_who_is_done_says_so_and_who_was_started_by_sentinel_tells_no_world(tmp_path: Path) -> None:
    writer = HeartbeatWriter(tmp_path / "w.beat", job="j", worker="w", gpu=0)
    writer.finish()
    record = read(tmp_path / "w.beat")
    writer.close()
    assert (record.phase, record.world) == ("done", 0)


def test_half_a_character_in_a_reason_is_told_in_other_words(tmp_path: Path) -> None:
    path = tmp_path / "w.beat"
    writer = HeartbeatWriter(path, job="j", worker="w", gpu=0)
    writer.fail("no such file: \udcff.bin")
    assert read(path).reason == r"no such file: \udcff.bin"
    writer.close()
