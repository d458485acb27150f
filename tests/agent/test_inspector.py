"""What is made of a dump of NCCL's Inspector: the newest of each communicator, beside the stacks."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sentinel.model.flight import read
from sentinel.model.report import StacksNow
from sentinel.runtime.agent.inspector import Inspecting
from sentinel.runtime.agent.stacks import StackTaker

PATIENT_S = 20.0
Rank = Callable[..., int]


def line(number: int, gbs: float, comm: str = "0xad56c683b0c4ef", ago_s: float = 5.0, **other: Any) -> str:
    """Write a line as NCCL 2.28 does (format v4.0)."""
    done = {
        "coll": "AllReduce",
        "coll_sn": number,
        "coll_msg_size_bytes": 2360832,
        "coll_exec_time_us": 5663.0,
        "coll_timing_source": "kernel_gpu",
        "coll_algobw_gbs": 0.416887,
        "coll_busbw_gbs": gbs,
    }
    written = {"inspector_output_format_version": "v4.0", "git_rev": "", "hostname": "h", "pid": 48}
    written["dump_timestamp_us"] = int((time.time() - ago_s) * 1e6)
    header = {"id": comm, "rank": 1, "n_ranks": 8, "nnodes": 1}
    return json.dumps({"header": header, "metadata": written, "coll_perf": done | other})


@pytest.fixture
def rank(tmp_path: Path) -> Iterator[Rank]:
    """Start a process that has such a dump."""
    started: list[subprocess.Popen[bytes]] = []

    def starts(*lines: str, folder: str = "dump", made: bool = True) -> int:
        env = os.environ | {"NCCL_INSPECTOR_DUMP_DIR": folder}
        process = subprocess.Popen(
            [sys.executable, "-c", "print(flush=True); input()"],
            env=env, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        if made:
            (tmp_path / "dump").mkdir(exist_ok=True)
            (tmp_path / "dump" / f"host-pid{process.pid}.log").write_text("\n".join([*lines, ""]))
        return process.pid

    yield starts
    for process in started:
        process.communicate()


def said(pid: int) -> list[str]:
    return Inspecting({3: pid}).finish(time.monotonic() + PATIENT_S).splitlines()


def test_the_newest_collective_of_each_communicator_is_told_beside_what_is_usual(rank: Rank) -> None:
    slow = [line(number, 400.0) for number in range(5)] + [line(5, 40.0)]
    lines = said(rank(*slow, line(7, 90.0, comm="0x2", coll="AllGather")))
    assert lines[0] == "NCCL's Inspector:"
    assert [each.rpartition(",")[0] for each in lines[1:]] == [
        "  rank 3, communicator 0xad56c683b0c4ef of 8: AllReduce 5 of 2.361 MB took 5.663 ms, "
        "40 GB/s (usually 400)",
        "  rank 3, communicator 0x2 of 8: AllGather 7 of 2.361 MB took 5.663 ms, 90 GB/s (usually 90)",
    ]
    assert all(5.0 <= float(each.split()[-3]) < PATIENT_S for each in lines[1:])


def test_its_folder_is_the_processes_own(rank: Rank, tmp_path: Path) -> None:
    assert len(said(rank(line(1, 1.0), folder=str(tmp_path / "dump")))) == 2
    assert said(rank(folder=str(tmp_path / "nowhere"), made=False)) == []
    assert said(os.getpid()) == [], "who names no folder has none"


@pytest.mark.parametrize(
    "damaged", ["", "{", line(1, 1.0)[:80], '{"header": 1}', "[" * 10_000, "\x00", '{"coll_perf": {}}']
)
def test_a_line_that_can_not_be_read_is_passed_over(rank: Rank, damaged: str) -> None:
    (_, told) = said(rank(damaged, line(9, 2.0), damaged))
    assert "AllReduce 9 " in told


def test_of_a_large_dump_only_the_end_is_read(rank: Rank) -> None:
    (_, told) = said(rank(*(line(number, 400.0) for number in range(5000))))
    assert "AllReduce 4999 " in told


def test_nothing_in_it_is_taken_for_a_word_of_ours(rank: Rank) -> None:
    (told,) = [said(rank(line(1, 1.0, comm="x\n\x1b[31mrank 0", coll="All\nReduce")))]
    assert len(told) == 2
    assert all(each.isprintable() for each in told)
    assert list(read(("\n".join(told),))) == []


def test_a_pipe_in_its_place_keeps_nobody_waiting(rank: Rank, tmp_path: Path) -> None:
    pid = rank(made=False)
    (tmp_path / "dump").mkdir()
    os.mkfifo(tmp_path / "dump" / f"host-pid{pid}.log")
    assert said(pid) == []


def test_it_comes_with_the_stacks(rank: Rank, tmp_path: Path) -> None:
    taker, pid = StackTaker(tmp_path / "nudge"), rank(line(1, 2.0))
    taker.begin(StacksNow("order", ((3, pid),), 10.0))
    deadline = time.monotonic() + PATIENT_S
    while not (done := list(taker.done())):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert done[0].data[-1].startswith("NCCL's Inspector:\n  rank 3, communicator")
