"""`sentinel logs`: through a real controller's door, from a real agent, of real processes."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn
from agent_node import NODE, Controller, Node, until
from click.testing import Result
from typer.testing import CliRunner

from sentinel.adapters.keys import ensure_keys
from sentinel.adapters.transport import Reports
from sentinel.cli import app
from sentinel.core.state import State
from sentinel.core.state import rows as table
from sentinel.model.report import OrderDone, Report
from sentinel.runtime.agent.process_logs import MOST_BYTES, Log, tails
from sentinel.runtime.agent_orders import AgentOrders
from sentinel.runtime.node_logs import NodeLogs
from sentinel.web.app import create_app

SECRET = "xoxb-123456789012-abcdefABCDEF"
PROGRAM = Path(__file__).with_name("rank_program.py")


class Head(Controller):
    """A controller that hands answers on to whoever has asked."""

    def __init__(self, reports: Reports) -> None:
        super().__init__(reports)
        self.agents = AgentOrders(SimpleNamespace(reports=self.reports))  # type: ignore[arg-type]

    async def _take(self, node: str, report: Report) -> None:  # type: ignore[override]
        for _, event in report.events:
            if isinstance(event, OrderDone):
                self.agents.done(NODE, event)
        await super()._take(NODE, report)


@asynccontextmanager
async def cluster(node: Node, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Head]:
    """An agent whose output goes to a file, and in front of it the controller's web server."""
    async with Reports("tcp://127.0.0.1:0", node.keys) as reports:
        head, state = Head(reports), State()
        state.add(table.Node(NODE))
        listening = asyncio.create_task(head.listen())
        node.agent(reports.endpoint)
        await until(lambda: bool(head.hellos), node)
        token = ensure_keys(node.root / "state" / "keys").api_token
        served = create_app(
            SimpleNamespace(), lambda _: None, token, logs=NodeLogs(head.agents, state),
            home=asyncio.get_running_loop(),
        )  # type: ignore[arg-type]  # fmt: skip
        server = uvicorn.Server(uvicorn.Config(served, log_level="warning", lifespan="off"))
        with socket.create_server(("127.0.0.1", 0)) as door:
            monkeypatch.setenv("SENTINEL_CLUSTER__STATE_DIR", str(node.root / "state"))
            monkeypatch.setenv("SENTINEL_CLUSTER__WEB_PORT", str(door.getsockname()[1]))
            thread = threading.Thread(target=server.run, args=([door],))
            thread.start()
            yield head
            server.should_exit = True
            await asyncio.to_thread(thread.join)
        listening.cancel()


def rank(node: Node, number: int, out: Path) -> subprocess.Popen[str]:
    words = [sys.executable, str(PROGRAM), str(node.memory), f"worker-{number}", str(number)]
    with out.open("a") as file:
        process = subprocess.Popen(words, stdout=file, stderr=file, text=True)
    node.processes.append(process)
    return process


async def logs(*words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["logs", *words])


def test_the_logs_of_ranks_are_read_through_the_controller_also_after_their_end(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = node.root / "rank-0.log"
    out.write_text("".join(f"line {n}\n" for n in range(100)) + f"token={SECRET}\n")

    async def scenario() -> None:
        async with cluster(node, monkeypatch) as head:
            first, piped = rank(node, 0, out), node.rank(1)
            await until(lambda: len(head.beats) == 2, head)
            shown = await logs(NODE, "--lines", "3")
            assert shown.exit_code == 0, shown.output
            assert f"==> rank 0 (pid {first.pid}): {out} <==\nline 99\n" in shown.stdout
            assert "[hidden]" in shown.stdout
            assert SECRET not in shown.stdout
            assert "line 98" not in shown.stdout
            assert f"agent, rank 1 (pid {piped.pid}): not in a file" in shown.stdout

            os.kill(first.pid, signal.SIGKILL)
            await until(lambda: len(head.beats) == 1, head)
            after = json.loads((await logs(NODE, "--json")).stdout)
            assert after["logs"][0]["of"] == f"rank 0 (pid {first.pid}), ended: {out}"
            assert after["node"] == NODE

            many = await logs(NODE, "--lines", "10001")
            assert (many.exit_code, "lines: Input should be less than" in many.stderr) == (1, True)
            wrong = await logs("n9")
            assert (wrong.exit_code, f"no node 'n9': known are {NODE}" in wrong.stderr) == (1, True)

    asyncio.run(scenario())


def test_logs_that_are_long_share_what_fits(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one", "two")]
    for path in paths:
        path.write_text("".join(f"{n:099d}\n" for n in range(10_000)))
    texts = [*tails([Log("a", str(each), str(each)) for each in paths], 10_000)]
    assert [text.splitlines()[-1] for text in texts] == [f"{9999:099d}"] * 2
    assert MOST_BYTES * 0.9 < sum(map(len, texts)) <= MOST_BYTES + 1000
    assert all(len(line) == 99 for text in texts for line in text.splitlines()[1:]), "no line is cut"


def test_what_is_no_file_of_ours_is_not_read_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    missing, fifo = str(tmp_path / "missing"), str(tmp_path / "fifo")
    texts = [*tails([Log("a", missing, missing), Log("b", fifo, fifo), Log("c", "", "")], 5)]
    assert [text.splitlines()[-1] for text in texts[:2]] == [
        "(No such file or directory)",
        "(no file of ours)",
    ]
    assert texts[2].startswith("c: not in a file")
