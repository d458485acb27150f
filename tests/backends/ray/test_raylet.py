"""The agent knows its node's raylet among all processes, sees its death, and sees it come back."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sentinel.backends.ray import raylet
from sentinel.backends.ray.raylet import RayletWatch
from sentinel.checks.raylet import REGISTERED_S, judge
from sentinel.heartbeat import process_name
from sentinel.model.check import RankProcess, Raylet

SCRIPT = "#!/bin/sh\nsleep 600 &\necho $!\nread line\nkill $!\n"
"""The kernel calls a script by its file's name; it has a child, as a raylet has workers."""
HERE, THERE = (f"127.{number}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}" for number in (98, 99))
"""No other run of these tests has these."""

Starts = Callable[..., tuple["subprocess.Popen[str]", int]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starts]:
    monkeypatch.setattr(raylet, "_SEARCH_EVERY", 0.0)
    monkeypatch.setattr(raylet, "_LIST_PAUSE", 0.0)
    started: list[tuple[subprocess.Popen[str], int]] = []

    def starts(address: str, name: str = "raylet") -> tuple["subprocess.Popen[str]", int]:
        script = tmp_path / name
        script.write_text(SCRIPT)
        script.chmod(0o700)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen([str(script), f"--node_ip_address={address}"], text=True, **pipes)
        assert process.stdout is not None
        started.append((process, int(process.stdout.readline())))
        assert process_name(process.pid) == name
        has_become(started[-1][1], "sleep")
        return started[-1]

    yield starts
    for process, _ in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    subprocess.run(["kill", "-9", *(str(child) for _, child in started)], check=False, capture_output=True)


def has_become(pid: int, name: str) -> None:
    """Wait until a fork is the program that it is for; until then it is called as its parent."""
    deadline = time.monotonic() + 20
    while process_name(pid) != name:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()


def codes(seen: Raylet | None) -> list[str]:
    return [finding.code for finding in judge(seen)]


def test_a_node_without_ray_has_none(start: Starts) -> None:
    start(THERE)
    start(HERE, "raylet-helper")
    watch = RayletWatch(HERE)
    assert (watch.look(()), codes(watch.look(()))) == (None, [])


def test_it_is_known_by_its_address_and_its_death_is_seen(start: Starts) -> None:
    start(THERE)
    process, _ = start(HERE)
    watch = RayletWatch(HERE)
    seen = watch.look(())
    assert seen is not None
    assert (seen.pid, seen.is_first, codes(seen)) == (process.pid, True, [])
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie as yet
    seen = watch.look(())
    assert (seen, codes(seen)) == (Raylet(0, 0.0), ["raylet-dead"])


def test_one_that_comes_back_is_waited_for_until_it_is_registered(start: Starts) -> None:
    first, _ = start(HERE)
    watch = RayletWatch(HERE)
    watch.look(())
    end(first)
    second, _ = start(HERE)
    seen = watch.look(())
    assert seen is not None
    assert (seen.pid, seen.is_first, codes(seen)) == (second.pid, False, ["raylet-dead"])
    assert codes(Raylet(second.pid, REGISTERED_S, is_first=False)) == []


def test_a_fork_that_outlives_it_is_none(tmp_path: Path, start: Starts) -> None:
    """A raylet that dies while it starts a worker leaves a process of its own name and arguments."""
    os.mkfifo(tmp_path / "go")
    script = tmp_path / "raylet"
    script.write_text(f"#!/bin/sh\n(read go <{tmp_path}/go; exec sleep 600) &\necho $!\nread line\n")
    script.chmod(0o700)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([str(script), f"--node_ip_address={HERE}"], text=True, **pipes) as process:
        watch = RayletWatch(HERE)
        assert process.stdout is not None
        fork = int(process.stdout.readline())
        try:
            seen = watch.look(())
            assert seen is not None
            process.kill()
            process.wait()
            assert codes(watch.look(())) == ["raylet-dead"], "whatever is called so has only just begun"
            (tmp_path / "go").write_text("go\n")
            has_become(fork, "sleep")
            assert watch.look(()) == Raylet(0, 0.0)
        finally:
            os.kill(fork, signal.SIGKILL)


def test_it_is_known_by_the_rank_that_it_started(start: Starts) -> None:
    """Ray was started at another address than Sentinel has for the node."""
    process, child = start(THERE)
    watch = RayletWatch(HERE)
    assert watch.look(()) is None
    seen = watch.look([RankProcess(child, "ray::rank", 0)])
    assert seen is not None
    assert seen.pid == process.pid
    end(process)
    assert codes(watch.look(())) == ["raylet-dead"]
    again, _ = start(THERE)
    seen = watch.look(())
    assert seen is not None
    assert seen.pid == again.pid, "and its successor by its address"


def test_one_that_starts_later_is_found_among_those_looked_at(start: Starts) -> None:
    """Most processes are passed over once they were looked at; a new one is not."""
    watch = RayletWatch(HERE)
    for _ in range(3):
        assert watch.look(()) is None
    process, _ = start(HERE)
    seen = watch.look(())
    assert seen is not None
    assert seen.pid == process.pid


def test_a_large_proc_is_not_listed_each_time(start: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a listing costs says when the next one comes; a rank's parent is looked at all the same."""
    monkeypatch.setattr(raylet, "_LIST_PAUSE", 10.0)
    monkeypatch.setattr(raylet, "_LIST_SHARE", 1e-9)
    watch = RayletWatch(HERE)
    assert watch.look(()) is None
    process, child = start(HERE)
    assert watch.look(()) is None
    seen = watch.look([RankProcess(child, "ray::rank", 0)])
    assert seen is not None
    assert seen.pid == process.pid


def test_an_agent_that_follows_knows_that_there_was_one() -> None:
    assert codes(RayletWatch(HERE, was_seen=True).look(())) == ["raylet-dead"]
