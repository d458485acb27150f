"""State and name of a rank's process are the kernel's at each look, whoever else asks in between."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel.heartbeat import HeartbeatWriter, open_record, process_name, process_state, read
from sentinel.runtime.agent import watched
from sentinel.runtime.agent.watched import Watched

RENAMES = """
print(flush=True)
while name := input():
    open("/proc/self/comm", "w").write(name)
    print(flush=True)
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", RENAMES], text=True, **pipes) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def rank(
    tmp_path: Path, process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watched]:
    monkeypatch.setattr(watched, "_FRESH_NS", -1)
    path, pid = tmp_path / "w0.beat", process.pid
    writer = HeartbeatWriter(path, job="j", worker="w0", gpu=0)
    held = Watched(path, open_record(path), os.pidfd_open(pid), read(path), pid, process_name(pid))
    yield held
    held.close()
    writer.close()


def look(rank: Watched) -> str:
    rank.look()
    return rank.beat(time.monotonic_ns()).state


def test_a_name_that_a_process_gives_itself_is_seen(rank: Watched, process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    for name in ("ray::rank", "a) R (b", r"back\slash"):
        process.stdin.write(f"{name}\n")
        process.stdin.flush()
        process.stdout.readline()
        look(rank)
        assert rank.known().name == name


def test_a_process_that_is_stopped_or_gone_is_seen(rank: Watched, process: subprocess.Popen[str]) -> None:
    assert look(rank) in {"R", "S"}
    process.send_signal(signal.SIGSTOP)
    while process_state(process.pid) != "T":
        time.sleep(0.01)
    assert look(rank) == "T"
    process.kill()
    process.wait()
    assert look(rank) == "X"
    assert rank.known().name, "it keeps the name that it had"
