"""Slots in memory: what is half written never counts, what is globally complete is never overwritten."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sentinel.gang import snapshot_slots
from sentinel.gang.snapshot_codec import NoRoomError
from sentinel.gang.snapshot_slots import (
    SlotInfo,
    Slots,
    SnapshotError,
    forget,
    read_header,
    slots_in,
    snapshots_of,
)

SLOW_WRITER = """
import sys, time
from pathlib import Path
from sentinel.gang.snapshot_slots import Slots

def parts():
    yield b"x" * 100_000
    print("half", flush=True)
    time.sleep(60)
    yield b"y" * 100_000

Slots(Path(sys.argv[1]), "owner", 0).write(int(sys.argv[2]), 1, 2, parts())
"""

TIRELESS_WRITER = """
import sys
from pathlib import Path
from sentinel.gang.snapshot_slots import Slots
slots, step = Slots(Path(sys.argv[1]), "owner", 0), 0
while True:
    step += 1
    slots.write(step, 1, 2, [step.to_bytes(8, "little") * 50_000], keep=step - 1)
    print(step, flush=True)
"""


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    return Slots(snapshots_of(tmp_path, "moe"), "owner", 0)


def steps(slots: Slots) -> set[int]:
    return {info.step for info in slots.inventory()}


def intact(slots: Slots) -> list[SlotInfo]:
    found = []
    for info in slots.inventory():
        with contextlib.suppress(SnapshotError):
            slots.read(info.step)
            found.append(info)
    return found


def damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def path_of(slots: Slots, step: int) -> Path:
    return next(path for path in slots.paths if (info := read_header(path)) and info.step == step)


def test_what_is_written_is_read(slots: Slots) -> None:
    info = slots.write(5, 3, 2, [b"abc", bytearray(b"def"), memoryview(b"ghi"), b""])
    assert slots.read(5) == b"abcdefghi"
    assert slots.inventory() == intact(slots) == [info]
    assert (info.job, info.rank, info.world, info.generation, info.step, info.length) == (
        "moe",
        0,
        2,
        3,
        5,
        9,
    )


def test_a_shorter_payload_replaces_a_longer_one(slots: Slots) -> None:
    for step in range(4):
        slots.write(step, 1, 1, [b"x" * (100 - step)])
    assert slots.read(3) == b"x" * 97
    assert path_of(slots, 3).stat().st_size < path_of(slots, 2).stat().st_size


def test_the_oldest_is_overwritten(slots: Slots) -> None:
    for step in range(5):
        slots.write(step, 1, 1, [b"x"])
    assert steps(slots) == {2, 3, 4}


def test_the_step_to_keep_is_never_overwritten(slots: Slots) -> None:
    for step in range(10):
        slots.write(step, 1, 1, [b"%d" % step], keep=0)
    assert steps(slots) == {0, 8, 9}
    assert slots.read(0) == b"0"


def test_after_a_resume_the_steps_of_the_generation_before_go_first(slots: Slots) -> None:
    for step in (8, 9, 10):
        slots.write(step, 1, 1, [b"old"])
    slots.write(9, 2, 1, [b"new"], keep=8)
    assert steps(slots) == {8, 9, 10}
    assert slots.read(9) == b"new"
    slots.write(10, 2, 1, [b"new"], keep=9)
    slots.write(11, 2, 1, [b"new"], keep=10)
    assert steps(slots) == {9, 10, 11}


def test_a_generation_that_is_over_writes_nothing(slots: Slots) -> None:
    slots.write(4, 2, 1, [b"new"])
    with pytest.raises(SnapshotError, match="generation 1 is over, 2 has begun"):
        slots.write(5, 1, 1, [b"late"])
    assert steps(slots) == {4}


def test_a_writer_killed_in_mid_write_leaves_nothing_that_counts(slots: Slots) -> None:
    for step in (1, 2, 3):
        slots.write(step, 1, 2, [b"%d" % step])
    directory = slots.paths[0].parent
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, str(directory), "4"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.kill()
    assert steps(slots) == {2, 3}
    slots.write(4, 1, 2, [b"again"])
    assert steps(slots) == {2, 3, 4}, "the half-written slot is the first to be used again"


def test_a_writer_killed_anywhere_loses_at_most_the_step_it_wrote(slots: Slots) -> None:
    for round_number in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", TIRELESS_WRITER, str(slots.paths[0].parent)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.003 * round_number)  # where it is killed is the point
            process.send_signal(signal.SIGKILL)
            said = int(([b"1", *process.stdout.read().split()])[-1])
        newest = max(steps(slots))
        assert newest >= said
        assert intact(slots) == slots.inventory()
        assert slots.read(newest) == newest.to_bytes(8, "little") * 50_000
        for path in slots.paths:
            path.unlink(missing_ok=True)


def test_a_source_that_fails_leaves_nothing_that_counts(slots: Slots) -> None:
    def parts() -> Iterator[bytes]:
        yield b"x"
        raise EOFError

    with pytest.raises(EOFError):
        slots.write(1, 1, 1, parts())
    assert slots.inventory() == []


def test_a_payload_that_is_not_as_announced_is_refused(slots: Slots) -> None:
    with pytest.raises(SnapshotError, match="1 bytes came of 2"):
        slots.write(1, 1, 1, [b"x"], length=2)
    assert slots.inventory() == []


def test_a_damaged_payload_is_refused(slots: Slots) -> None:
    slots.write(1, 1, 1, [b"x" * 100])
    damage(slots.paths[0])
    assert steps(slots) == {1}
    assert intact(slots) == []
    with pytest.raises(SnapshotError, match="owner copy of step 1 of rank 0 is damaged"):
        slots.read(1)


def test_of_two_copies_of_a_step_the_intact_one_is_read(slots: Slots) -> None:
    slots.write(1, 1, 1, [b"first"])
    slots.write(1, 2, 1, [b"second"])
    assert slots.read(1) == b"second"
    damage(slots.paths[1])
    assert slots.read(1) == b"first"


def test_a_payload_that_was_cut_short_is_refused(slots: Slots) -> None:
    slots.write(1, 1, 1, [b"x" * 100])
    os.truncate(slots.paths[0], 300)
    with pytest.raises(SnapshotError, match="owner copy of step 1 of rank 0 is not here"):
        slots.read(1)


@pytest.mark.parametrize("content", [b"", b"garbage", bytes(4096)], ids=["empty", "garbage", "zeros"])
def test_what_is_no_slot_does_not_count(slots: Slots, content: bytes) -> None:
    slots.paths[0].parent.mkdir(parents=True)
    slots.paths[0].write_bytes(content)
    assert slots.inventory() == []
    slots.write(1, 1, 1, [b"x"])
    assert steps(slots) == {1}


def test_memory_that_cannot_be_written_is_an_error_with_its_path(slots: Slots) -> None:
    slots.paths[0].parent.parent.mkdir(parents=True)
    slots.paths[0].parent.touch()
    with pytest.raises(SnapshotError, match=r"moe/owner-rank0-slot0: ") as caught:
        slots.write(1, 1, 1, [b"x"])
    assert "\n" not in str(caught.value)


def test_a_node_knows_whose_copies_it_holds(tmp_path: Path) -> None:
    directory = snapshots_of(tmp_path, "moe")
    Slots(directory, "owner", 0).write(1, 1, 2, [b"x"])
    Slots(directory, "peer", 11).write(1, 1, 12, [b"x"])
    assert [(slots.kind, slots.rank) for slots in slots_in(directory)] == [("owner", 0), ("peer", 11)]


@pytest.mark.parametrize("job", ["", "..", "a/b", "/tmp", "x" * 97, "a\0b"])
def test_a_job_name_that_could_lead_elsewhere_is_refused(tmp_path: Path, job: str) -> None:
    with pytest.raises(SnapshotError, match="can't name a job's directory"):
        snapshots_of(tmp_path, job)


# ----------------------------------------------------------------------------------------------- forgetting


def held(directory: Path) -> set[tuple[str, int, int]]:
    """What is there: (kind, rank, generation)."""
    there = slots_in(directory)
    return {(slots.kind, slots.rank, info.generation) for slots in there for info in slots.inventory()}


def test_what_older_generations_wrote_of_ranks_that_are_elsewhere_now_is_forgotten(tmp_path: Path) -> None:
    directory = snapshots_of(tmp_path, "moe")
    for kind, rank, generation in (
        ("owner", 0, 2),
        ("owner", 0, 3),
        ("owner", 1, 2),
        ("owner", 2, 3),
        ("owner", 3, 4),
        ("peer", 0, 2),
        ("peer", 1, 2),
    ):
        Slots(directory, kind, rank).write(generation, generation, 4, [b"x"])
    forget(directory, {("owner", 0), ("peer", 1)}, 3)
    assert held(directory) == {
        ("owner", 0, 2),
        ("owner", 0, 3),
        ("owner", 2, 3),
        ("owner", 3, 4),
        ("peer", 1, 2),
    }
    assert not list(directory.glob("peer-rank0-*")), "nothing is left of it"


@pytest.mark.parametrize(("generation", "stays"), [(2, False), (5, True)])
def test_a_slot_that_is_half_written_is_forgotten_only_if_it_is_old(
    tmp_path: Path, generation: int, stays: bool
) -> None:
    slots = Slots(snapshots_of(tmp_path, "moe"), "owner", 0)

    def parts() -> Iterator[bytes]:
        yield b"half"
        raise EOFError

    with pytest.raises(EOFError):
        slots.write(1, generation, 4, parts())
    forget(slots.paths[0].parent, (), 4)
    assert slots.paths[0].exists() == stays


def test_a_slot_that_a_newer_generation_begins_to_write_is_never_forgotten(tmp_path: Path) -> None:
    slots = Slots(snapshots_of(tmp_path, "moe"), "owner", 0)
    for step in range(3):
        slots.write(step, 1, 4, [b"old"])

    def parts() -> Iterator[bytes]:
        forget(slots.paths[0].parent, (), 4)
        yield b"new"

    slots.write(9, 5, 4, parts())
    assert [(info.generation, info.step) for info in slots.inventory()] == [(5, 9)]
    assert slots.read(9) == b"new"


def test_writing_and_forgetting_at_once_loses_nothing_new(tmp_path: Path) -> None:
    slots = Slots(snapshots_of(tmp_path, "moe"), "owner", 0)
    done = threading.Event()

    def forget_on() -> None:
        while not done.is_set():
            forget(slots.paths[0].parent, (), generation)

    generation = 1
    remover = threading.Thread(target=forget_on)
    remover.start()
    try:
        for generation in range(1, 400):
            slots.write(generation, generation, 4, [b"%d" % generation])
            assert slots.read(generation) == b"%d" % generation
    finally:
        done.set()
        remover.join()


# ----------------------------------------------------------------------------- what others may have put there


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def hard_to_open(path: Path, victim: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("plant", [link, hard_to_open])
def test_what_is_no_file_is_neither_followed_nor_waited_for(
    tmp_path: Path, slots: Slots, plant: Callable[[Path, Path], None]
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    slots.write(1, 1, 2, [b"x"])
    for path in slots.paths[1:]:
        plant(path, victim)
    with capture_logs() as logs:
        assert steps(slots) == {1}
    assert [entry["event"] for entry in logs] == ["slot-refused"] * 2
    for step in (2, 3, 4, 5):
        with contextlib.suppress(NoRoomError):  # it is removed, and the next write finds its place
            slots.write(step, 1, 2, [b"y"], keep=1)
    assert steps(slots) == {1, 3, 5}
    assert victim.read_bytes() == b"precious"


def test_a_jobs_folder_that_others_can_write_to_is_not_used(tmp_path: Path, slots: Slots) -> None:
    folder = slots.paths[0].parent
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(NoRoomError, match="others can write to it"):
        slots.write(1, 1, 2, [b"x"])
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"job": "other"}, "says that it is rank 0 of 'other'"),
        ({"job": "\udcff"}, "says that it is rank 0 of"),
        ({"rank": 1}, "says that it is rank 1"),
        ({"rank": -5}, "says that it is rank -5"),
        ({"world": 0}, "no rank 0 of a world of 0"),
        ({"world": 2**62}, "no rank 0 of a world of"),
        ({"world": -1}, "no rank 0 of a world of"),
        ({"step": -1}, "no step -1"),
        ({"step": 2**62}, "no step"),
        ({"generation": 2**60}, "of a generation"),
        ({"generation": -(2**63)}, "of a generation"),
        ({"length": 2**63}, "no state has"),
        ({"length": 1000}, "says 1000 bytes, and has 1"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused_in_one_line(
    slots: Slots, wrong: dict[str, Any], why: str
) -> None:
    info = replace(slots.write(1, 1, 2, [b"x"]), **{k: v for k, v in wrong.items() if k != "job"})
    job = wrong.get("job", "moe").encode(errors="surrogateescape")
    numbers = (info.rank, info.world, info.generation, info.step, info.length, info.crc)
    body = snapshot_slots._HEADER.pack(b"SENTSNAP", 1, job, *numbers, True)
    with slots.paths[0].open("r+b") as file:
        file.write(body + zlib.crc32(body).to_bytes(4, "little"))
    with capture_logs() as logs:
        assert slots.inventory() == []
    (entry,) = logs
    assert why in entry["why"]
    assert "\n" not in entry["why"]
    slots.write(2, 1, 2, [b"x"])
    assert steps(slots) == {2}


@pytest.mark.parametrize(
    "name", ["peer-rank-1-slot0", "peer-rank²-slot0", "peer-rank99999999-slot0", "x-rank0-slot0"]
)
def test_a_name_that_is_no_slots_is_passed_over(slots: Slots, name: str) -> None:
    slots.write(1, 1, 2, [b"x"])
    (slots.paths[0].parent / name).write_bytes(slots.paths[0].read_bytes())
    assert [(each.kind, each.rank) for each in slots_in(slots.paths[0].parent)] == [("owner", 0)]


@pytest.mark.parametrize("numbers", [(1, -1, 2), (-1, 1, 2), (1, 2**60, 2), (1, 1, 0), (1, 1, 2**40)])
def test_numbers_out_of_range_are_not_written(slots: Slots, numbers: tuple[int, int, int]) -> None:
    with pytest.raises(SnapshotError, match="rank 0: no "):
        slots.write(*numbers, [b"x"])
    assert slots.inventory() == []
