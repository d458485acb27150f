"""The agent outlives whatever ends around it, and takes nobody's end for another's."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from agent_node import NODE, Node, until

from sentinel.adapters.transport import Reports
from sentinel.model.report import LEASE_LAPSED_EXIT, STUCK_EXIT
from sentinel.runtime.agent.prober import Prober
from sentinel.runtime.agent.ranks import Ranks
from sentinel.runtime.agent.settings import parse

LAST_WORD = """
import sys
from pathlib import Path
from sentinel.heartbeat import HeartbeatWriter
beats = HeartbeatWriter(Path(sys.argv[1]), job="moe", worker="w1", gpu=0)
beats.place(0, 1, 0)
print("begun", flush=True)
sys.stdin.read()
beats.phase(sys.argv[2])
if len(sys.argv) > 3:
    beats.fail(sys.argv[3])
"""


def test_a_prober_that_dies_just_before_it_is_asked_is_put_away(node: Node) -> None:
    prober = Prober(
        parse(["--controller", "tcp://127.0.0.1:1", "--keys", str(node.root / "keys"), "--gpus", "none"])
    )
    prober.start(time.monotonic())
    while prober.busy:
        prober.answers()
        time.sleep(0.01)
    os.kill(prober.pid, signal.SIGKILL)
    os.waitid(os.P_PID, prober.pid, os.WEXITED | os.WNOWAIT)
    prober.ask("host", 5.0, time.monotonic())
    assert prober.answers() is None
    prober.close()
    assert prober.pid == 0


def test_a_rank_whose_successor_writes_in_its_place_already_ends_alone(node: Node) -> None:
    ranks = Ranks(node.memory / "beats")
    first = node.rank()
    assert ranks.refresh() == []
    [pidfd] = ranks.pidfds
    first.kill()
    first.wait()
    second = node.rank()
    ended = ranks.reap(pidfd)
    assert ended
    assert ended.event.pid == first.pid
    assert ranks.refresh() == []
    assert list(ranks.pids()) == [second.pid]


def test_an_agent_whose_log_takes_no_line_watches_on(node: Node) -> None:
    async def scenario() -> None:
        async with Reports("tcp://127.0.0.1:0", node.keys) as reports:
            options = {"keys": node.root / "keys", "node": NODE, "memory": node.memory, "gpus": "none"}
            flags = [f"--{name}={value}" for name, value in options.items()]
            argv = [sys.executable, "-m", "sentinel.runtime.agent", "--controller", reports.endpoint, *flags]
            with Path("/dev/full").open("w") as full:
                agent = subprocess.Popen([*argv, "--kernel-log=none"], stdout=full, stderr=full, text=True)
            node.processes.append(agent)
            heard = asyncio.create_task(reports.recv())
            await until(lambda: heard.done() or agent.poll() is not None)
            assert heard.done()
            assert agent.poll() is None

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("said", "how"),
    [
        pytest.param(("done",), "exit 0", id="its work is done"),
        pytest.param(
            ("failed", f"exit {STUCK_EXIT}: can't leave"), "exit 76", id="it left for its peers' sake"
        ),
        pytest.param(("failed", f"exit {LEASE_LAPSED_EXIT}: lapsed"), "exit 75", id="nobody controls it"),
        pytest.param(("failed", "TypeError: exit 76: no"), "unknown", id="its training raised"),
        pytest.param(("compute",), "unknown", id="it said nothing"),
    ],
)
def test_how_a_rank_ended_by_its_own_hand_is_its_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: tuple[str, ...], how: str
) -> None:
    """An older kernel tells only a parent how a process ended."""
    monkeypatch.setattr("sentinel.runtime.agent.ranks.how_it_ended", lambda pidfd, pid: "unknown")
    ranks = Ranks(tmp_path / "beats")
    program = [sys.executable, "-c", LAST_WORD, str(tmp_path / "beats" / "w1.beat"), *said]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        assert ranks.refresh() == []
        process.communicate("")
    [pidfd] = ranks.pidfds
    ended = ranks.reap(pidfd)
    assert ended is not None
    assert ended.event.how == how
