"""A worker that ends before it is warm: its agent tells by what, and that it ended, however soon that is."""

import asyncio
import subprocess
import sys

import pytest
from agent_node import Node, until

from sentinel.model.report import AT_START, ExitSeen, RaisedSeen

pytest.importorskip("torch")

WORKER = """
import sys
from pathlib import Path
from sentinel.gang.orders import WorkerSpec
from sentinel.gang.rank import RankRunner
memory = Path(sys.argv[1])
spec = WorkerSpec("moe", "none.such:Trainer", "", "gloo", str(memory), 1, 0, 60.0, 60.0, b"key", "ours")
RankRunner(spec, "w1", memory, 0)
"""


def test_what_it_ends_by_is_told_and_its_end(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            argv = [sys.executable, "-c", WORKER, str(node.memory)]
            with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as worker:
                raised = await controller.event(lambda event: isinstance(event, RaisedSeen))
                ended = await controller.event(lambda event: isinstance(event, ExitSeen))
            assert isinstance(raised, RaisedSeen)
            assert isinstance(ended, ExitSeen)
            assert (raised.kind, raised.worker, raised.rank, raised.pid) == (AT_START, "w1", -1, worker.pid)
            assert raised.error == "ModuleNotFoundError: No module named 'none'"
            assert (ended.worker, ended.rank, ended.pid) == ("w1", -1, worker.pid)
            await until(lambda: not list((node.memory / "errors").iterdir()), "it is taken in")

    asyncio.run(scenario())
