"""A program that can't be run is said to be so, and leaves no copy of who was to start it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sentinel.adapters.agent_card import Card, read, write

LAUNCH = """
import os, sys
from sentinel.backends.ray.detach import launch_detached
os.environ.pop("SENTINEL_AGENT_LOG", None)
os.environ.pop("SENTINEL_MEMORY", None)
me = os.getpid()
try:
    told = str(launch_detached(sys.argv[2:], {"SENTINEL_MEMORY": sys.argv[1], "LEFT": "behind"}))
except OSError as error:
    told = str(error)
print("" if os.getpid() == me else "A COPY: ", told, sep="", flush=True)
"""
LOOK = """
import os, time
for number in range(10):
    try:
        print(number, os.readlink(f"/proc/self/fd/{number}"), flush=True)
    except OSError:
        pass
print("left", os.environ["LEFT"], os.getppid(), flush=True)
time.sleep(60)
"""


def launch(memory: str, *argv: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH, memory, *argv], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("memory", "program", "message"),
    [
        pytest.param(
            "", "/nowhere/python", "/nowhere/python does not run: FileNotFoundError", id="no program"
        ),
        pytest.param(
            "/proc/nowhere", sys.executable, "does not run: FileNotFoundError", id="no room for a log"
        ),
    ],
)
def test_what_does_not_run_is_said(tmp_path: Path, memory: str, program: str, message: str) -> None:
    said = launch(memory or str(tmp_path), program, "-c", "pass")
    assert message in said
    assert "COPY" not in said


def test_a_program_runs_on_alone_with_nothing_open_but_its_log(tmp_path: Path) -> None:
    process = psutil.Process(int(launch(str(tmp_path), sys.executable, "-c", LOOK)))
    try:
        log = tmp_path / "agent.log"
        while "left" not in log.read_text():
            time.sleep(0.02)
        *files, left = log.read_text().splitlines()
        opened = dict(line.split() for line in files)
        assert (opened["0"], opened["1"], opened["2"]) == (os.devnull, str(log), str(log))
        assert not {"4", "5", "6", "7", "8", "9"} & set(opened)
        assert left.startswith("left behind ")
        assert process.pid == os.getsid(process.pid) or process.ppid() != os.getpid()
    finally:
        process.kill()


UP = """
import os, sys, time
from pathlib import Path
from sentinel.adapters.agent_card import Card, write
time.sleep(float(sys.argv[1]))
if sys.argv[2] == "up":
    write(Path(os.environ["SENTINEL_MEMORY"]), Card("n1", os.getpid(), 0, 1, 0))
    time.sleep(60)
"""
WAIT = (
    LAUNCH.replace("launch_detached", "launch_until_up")
    .replace("sys.argv[2:]", "sys.argv[3:]")
    .replace('"behind"}', '"behind"}, float(sys.argv[2])')
)


def waited(memory: Path, within: float, *argv: str) -> str:
    """What came of starting an agent that takes its time."""
    program = [sys.executable, "-c", WAIT, str(memory), str(within), sys.executable, "-c", UP, *argv]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_an_agent_that_starts_is_waited_for_until_it_is_up(tmp_path: Path) -> None:
    write(tmp_path, Card("n1", 1, 0, 1, 0))  # the last agent's
    pid = int(waited(tmp_path, 30.0, "0.5", "up"))
    card = read(tmp_path)
    psutil.Process(pid).kill()
    assert (card and card.pid) == pid, "it was there when that returned"


def test_one_that_lives_is_waited_for_no_longer_than_is_said(tmp_path: Path) -> None:
    pid = int(waited(tmp_path, 0.1, "60", "up"))
    psutil.Process(pid).kill()
    assert read(tmp_path) is None


def test_one_that_ends_as_it_starts_is_said_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    assert "ended as it started" in waited(tmp_path, 50.0, "0", "no")
    assert time.monotonic() - began < 40
