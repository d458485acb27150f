"""Ranks whose heartbeat records hold another process number than the kernel's: they live in a container."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import connection
from pathlib import Path

import pytest

from sentinel.heartbeat import counts_as_the_kernel, find_process, read
from sentinel.model.ids import WorkerId
from sentinel.runtime.agent.ranks import Ranks

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="a namespace of processes needs root"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="there is no unshare"),
]

RANK = """
import sys, time
from pathlib import Path
from sentinel.heartbeat import HeartbeatWriter
beats = HeartbeatWriter(Path(sys.argv[1]), job="moe", worker="moe.w1", gpu=0)
beats.place(3, 1, 0)
Path("/proc/self/comm").write_text("ray::moe.w1:Run")
print("begun", flush=True)
time.sleep(600)
"""


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Path]:
    """A rank in a namespace of processes; gives the directory of its record."""
    beats = tmp_path / "beats"
    beats.mkdir()
    inside = [sys.executable, "-c", RANK, str(beats / "moe.w1.beat")]
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *inside]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "begun\n":
            pytest.skip("no namespace of processes may be made here")
        yield beats
        process.kill()


def the_rank(ranks: Ranks) -> int:
    assert ranks.refresh() == []
    (known,) = ranks.processes()
    assert (known.name, known.rank) == ("ray::moe.w1:Run", 3)
    return known.pid


def test_a_rank_in_a_container_is_found_by_its_number_and_start(container: Path) -> None:
    record = read(container / "moe.w1.beat")
    here = find_process(record.pid, record.started)
    assert record.pid < 10 < here
    assert Path(f"/proc/{here}/comm").read_text() == "ray::moe.w1:Run\n"
    assert find_process(record.pid, record.started + 1) == 0


def test_its_agent_tells_its_own_number_and_knows_it_by_the_kernels(container: Path) -> None:
    ranks = Ranks(container)
    here = the_rank(ranks)
    (beat,) = ranks.beats()
    assert beat.pid == read(container / "moe.w1.beat").pid
    assert beat.state in "RS"
    assert ranks.pid_here(beat.rank, beat.pid) == here


def test_its_end_is_seen_and_it_stays_known_for_lines_that_come_late(container: Path) -> None:
    ranks = Ranks(container)
    here = the_rank(ranks)
    (beat,) = ranks.beats()
    assert ranks.kill(WorkerId("moe.w1"), beat.pid) == ""
    (pidfd,) = ranks.pidfds
    assert connection.wait([pidfd], 10)
    ended = ranks.reap(pidfd)
    assert ended is not None
    assert (ended.event.pid, ended.event.rank) == (beat.pid, 3)
    assert ended.event.how in (f"signal {signal.SIGKILL}", "unknown"), "an older kernel tells only a parent"
    assert (ranks.beats(), [known.pid for known in ranks.processes()]) == ((), [here])


def test_a_rank_that_ended_long_ago_is_ours_no_more(container: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = Ranks(container)
    the_rank(ranks)
    os.kill(the_rank(ranks), signal.SIGKILL)
    (pidfd,) = ranks.pidfds
    assert connection.wait([pidfd], 10)
    ranks.reap(pidfd)
    later = time.monotonic() + 3600
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert ranks.processes() == ()


def test_a_process_in_a_container_does_not_count_as_the_kernel_does(tmp_path: Path) -> None:
    asks = "from sentinel.heartbeat import counts_as_the_kernel as k; print(k())"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", asks]
    inside = subprocess.run(command, capture_output=True, text=True, check=False)
    if inside.returncode:
        pytest.skip("no namespace of processes may be made here")
    assert inside.stdout == "False\n"


AGENT = """
import sys
from dataclasses import replace
from pathlib import Path
from sentinel.adapters.kernel_log import FileFollower
from sentinel.checks import load
from sentinel.model.check import RankProcess
from sentinel.runtime.agent import settings
from sentinel.runtime.agent.findings import FindingBook
from sentinel.runtime.agent.probes import Probes
root, gpus = Path(sys.argv[1]), sys.argv[2]
log = root / "kernel.log"
log.touch()
given = settings.parse(["--controller", "tcp://127.0.0.1:1", "--keys", str(root), "--node", "n"])
given = replace(given, gpus=gpus, expected_gpus=0, memory=root)
ranks = lambda: (RankProcess(77, "python3", 4),)
probes = Probes(given, {"oom": load()["oom"]}, FindingBook(root / "book.json"), FileFollower(log), ranks)
log.write_text("[    1.000000] Out of memory: Killed process 77 (python3) total-vm:32812kB\\n")
(seen,) = probes.run_due(0.0, tuple)
print(seen.finding.evidence["owner"], seen.finding.evidence.get("rank"))
probes.close()
"""


def said_by_an_agent(tmp_path: Path, gpus: str, *namespace: str) -> str:
    command = [*namespace, sys.executable, "-c", AGENT, str(tmp_path), gpus]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


OWN_NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def test_an_agent_in_a_container_names_no_rank_by_a_number(tmp_path: Path) -> None:
    assert said_by_an_agent(tmp_path, "none", *OWN_NAMESPACE) == "unknown None"


def test_an_agent_in_a_container_believes_what_is_simulated_beside_it(tmp_path: Path) -> None:
    assert said_by_an_agent(tmp_path, f"simulated:{tmp_path}/gpus.json", *OWN_NAMESPACE) == "ours 4"


@pytest.mark.skipif(not counts_as_the_kernel(), reason="these tests run in a container")
def test_an_agent_that_counts_as_the_kernel_does_names_the_rank(tmp_path: Path) -> None:
    assert said_by_an_agent(tmp_path, "none") == "ours 4"
