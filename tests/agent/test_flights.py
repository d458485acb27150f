"""What ranks say of their collectives when their agent asks, and what is made of no answer or a bad one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sentinel.heartbeat import HeartbeatWriter
from sentinel.heartbeat.flight import ASKED, SAID, newest
from sentinel.model.flight import Flight
from sentinel.runtime.agent import flights

PATIENT_S = 30.0
PROGRAM = Path(__file__).with_name("flight_program.py")


def taken(record: Path, within_s: float = PATIENT_S) -> list[Flight]:
    flights.ask({3: record})
    return list(flights.take({3: record}, time.monotonic() + within_s))


@pytest.fixture
def rank(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    argv = [sys.executable, str(PROGRAM), str(tmp_path), "4"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def test_a_rank_tells_its_newest_collective_and_one_that_is_stopped_tells_nothing(
    rank: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    record = tmp_path / "beats" / "w.beat"
    assert taken(record) == [Flight(3, "0:gloo", "gloo:all_reduce", 5, is_in=False)]
    assert [path.name for path in record.parent.iterdir()] == ["w.beat"], "nothing is left"
    os.kill(rank.pid, signal.SIGSTOP)
    assert taken(record, 0.3) == []
    assert [path.name for path in record.parent.iterdir()] == ["w.beat"]


def test_a_program_without_torch_has_no_recorder(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from sentinel.heartbeat import HeartbeatWriter\n"
        "HeartbeatWriter(Path(sys.argv[1]), job='j', worker='w', gpu=0); print('up', flush=True)\n"
        "time.sleep(600)"
    )
    record = tmp_path / "beats" / "w.beat"
    with subprocess.Popen([sys.executable, "-c", code, str(record)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert taken(record) == []
        process.kill()


@pytest.mark.parametrize(
    "said",
    [b"", b"{", b"[[1]]", b'{"a": 1}', b'[["0", "x", -1, true]]', b"[" * 9999],
)
def test_an_answer_that_can_not_be_read_is_none(tmp_path: Path, said: bytes) -> None:
    record = tmp_path / "w.beat"
    record.with_suffix(SAID).write_bytes(said)
    assert list(flights.take({3: record}, time.monotonic() + PATIENT_S)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_an_answer_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text('[["0", "x", 1, true]]')
    record = tmp_path / "w.beat"
    record.with_suffix(SAID).symlink_to(tmp_path / "other")
    assert list(flights.take({3: record}, time.monotonic() + PATIENT_S)) == []
    assert (tmp_path / "other").exists()


def entry(number: int, at: int, group: str = "0", **changed: Any) -> dict[str, Any]:
    """Give an entry as torch 2.13 writes it."""
    told = {"collective_seq_id": number, "process_group": [group, "default_pg"], "retired": True}
    told |= {"profiling_name": "gloo:all_reduce", "state": "scheduled", "is_p2p": False}
    return {**told, "time_created_ns": at, **changed}


def test_of_each_group_the_newest_collective_since_the_rank_took_its_place_is_told() -> None:
    entries = [
        entry(118, 100),
        entry(2, 202, retired=False),
        entry(1, 201),
        entry(7, 203, "1", profiling_name="nccl:all_gather", retired=False, state="completed"),
        entry(9, 204, "2", is_p2p=True),
        entry(40, 90, "3"),
    ]
    assert newest(entries, 200) == [
        ["0:gloo", "gloo:all_reduce", 2, True],
        ["1:nccl", "nccl:all_gather", 7, False],
    ]


def test_two_back_ends_of_one_group_count_each_for_itself() -> None:
    entries = [entry(118, 201, profiling_name="nccl:all_reduce"), entry(3, 202)]
    assert [each[:3] for each in newest(entries, 0)] == [
        ["0:nccl", "nccl:all_reduce", 118],
        ["0:gloo", "gloo:all_reduce", 3],
    ]


def test_who_asks_while_nobody_beats_leaves_nothing(tmp_path: Path) -> None:
    record = tmp_path / "beats" / "w.beat"
    writer = HeartbeatWriter(record, job="j", worker="w", gpu=0)
    writer.close(unlink=False)
    assert taken(record, 0.0) == []
    assert not record.with_suffix(ASKED).exists()
