"""Agents measure together: between real network namespaces, one of them behind a slow link."""

import asyncio
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from agent_node import until

from sentinel.adapters.transport import Reports
from sentinel.demo.network import Network, available
from sentinel.model.action import Probe
from sentinel.model.fact import MembersProbed
from sentinel.model.ids import ActionId, IncidentId, NodeId
from sentinel.model.report import Ack, Hello, OrderDone, Report
from sentinel.runtime.agent_orders import AgentOrders
from sentinel.runtime.collective import probe_members
from tests.enrolled import keys_with

NO_NETNS = available()
NODES = tuple(NodeId(f"n{number}") for number in range(1, 4))

BUSY = 8
"""Processes that want a processor all the time, of a machine that has two to sixteen."""

HANGS = """
import time
from sentinel.model.collective import CollectiveCheck
def measure(meeting):
    if meeting.rank:
        return {"rank": meeting.rank}
    time.sleep(1000)
CHECK = CollectiveCheck("hangs", 2.0, measure, lambda samples: (), ())
"""


class Cluster:
    """Agents, and whatever of a controller gives them orders."""

    def __init__(self, root: Path, reports: Reports) -> None:
        self.root, self.reports = root, reports
        self.orders = AgentOrders(SimpleNamespace(reports=reports))  # type: ignore[arg-type]
        self.agents: dict[NodeId, subprocess.Popen[bytes]] = {}
        self.addresses: dict[NodeId, str] = {}
        self.hellos: set[NodeId] = set()
        self._taken: dict[NodeId, int] = {}

    def start(self, node: NodeId, address: str, prefix: tuple[str, ...], env: Mapping[str, str]) -> None:
        memory = self.root / "sentinel-test" / node
        memory.mkdir(parents=True)
        argv = [
            *prefix,
            sys.executable,
            "-m",
            "sentinel.runtime.agent",
            "--controller",
            self.reports.endpoint,
        ]
        argv += ["--keys", str(self.root / "keys"), "--node", node, "--memory", str(memory), "--gpus", "none"]
        argv += ["--kernel-log", "none", "--address", address]
        self.agents[node] = subprocess.Popen(argv, env=dict(env) if env else None)
        self.addresses[node] = address

    async def listen(self) -> None:
        while True:
            node, message = await self.reports.recv()
            if isinstance(message, Hello):
                self.hellos.add(node)
            elif isinstance(message, Report):
                await self._take(node, message)

    async def _take(self, node: NodeId, report: Report) -> None:
        for number, event in report.events:
            if number > self._taken.get(node, 0) and isinstance(event, OrderDone):
                self.orders.done(node, event)
            self._taken[node] = max(number, self._taken.get(node, 0))
        await self.reports.send(node, Ack(self._taken.get(node, 0)))

    async def probe(self, check: str, deadline: float = 60.0) -> MembersProbed:
        asked = Probe(
            ActionId(f"I-0001/probe/{check}/1"), IncidentId("I-0001"), NodeId(""), check, NODES, deadline
        )
        return await self.measure(asked)

    async def measure(self, asked: Probe) -> MembersProbed:
        return await probe_members(self.orders, asked, self.addresses, lambda: 1.0)


@asynccontextmanager
async def listening(root: Path, at: str) -> AsyncIterator[Cluster]:
    async with Reports(f"tcp://{at}:0", keys_with(root / "keys", *NODES)) as reports:
        cluster = Cluster(root, reports)
        hears = asyncio.create_task(cluster.listen())
        try:
            yield cluster
        finally:
            hears.cancel()
            for agent in cluster.agents.values():
                agent.terminate()
            for agent in cluster.agents.values():
                agent.wait(20)


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network(secrets.token_hex(2))
    try:
        for node in NODES:
            network.add(node)
        yield network
    finally:
        network.remove()


@pytest.mark.root
@pytest.mark.cluster
@pytest.mark.skipif(bool(NO_NETNS), reason=NO_NETNS)
def test_a_node_behind_a_slow_link_is_named(tmp_path: Path, network: Network) -> None:
    async def scenario() -> Sequence[MembersProbed]:
        outside = network.address(NODES[0]).rpartition(".")[0] + ".254"
        async with listening(tmp_path, outside) as cluster:
            for node in NODES:
                inside = ("ip", "netns", "exec", network.netns(node))
                cluster.start(node, network.address(node), inside, {})
            await until(lambda: cluster.hellos == {*NODES}, cluster.hellos)
            before = [await cluster.probe(check) for check in ("all_reduce", "gemm")]
            network.slow(NODES[1], 3.0, 300.0)
            return [*before, await cluster.probe("pair")]

    together, alone, probed = asyncio.run(scenario())
    assert [sample.error for sample in (*together.samples, *alone.samples)] == [""] * 6
    assert {sample.members for sample in together.samples} == {NODES}
    wrong = [
        value
        for each in alone.samples
        for name, value in each.values.items()
        if name.endswith("|wrong_numbers")
    ]
    assert wrong == [0.0] * 3
    assert all(each.about["over"].startswith("gloo, ") for each in together.samples)
    assert [*together.findings, *alone.findings] == []
    assert [sample.error for sample in probed.samples] == [""] * 6
    slow = [sample.values["mb_per_s"] for sample in probed.samples if NODES[1] in sample.members]
    assert max(slow) < 3 / 8 * 2  # an all-reduce sends half of it in either direction
    assert [(each.node, each.finding.code) for each in probed.findings] == [(NODES[1], "link-slow")]


@pytest.fixture
def crowd() -> Iterator[None]:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    try:
        yield
    finally:
        for each in busy:
            each.kill()
        for each in busy:
            each.wait()


@pytest.mark.cluster
@pytest.mark.usefixtures("crowd")
def test_on_a_crowded_machine_all_measure(tmp_path: Path) -> None:
    """Loading torch takes longer there than a measurement may."""

    async def scenario() -> MembersProbed:
        async with listening(tmp_path, "127.0.0.1") as cluster:
            for node in NODES:
                cluster.start(node, "127.0.0.1", (), {})
            await until(lambda: cluster.hellos == {*NODES}, cluster.hellos)
            return await cluster.probe("pair", 45.0)

    probed = asyncio.run(scenario())
    assert {sample.error for sample in probed.samples} == {""}
    assert len({frozenset(sample.members) for sample in probed.samples}) == 3


@pytest.mark.cluster
def test_whoever_hangs_is_ended_at_the_deadline_and_is_a_sample(tmp_path: Path, monkeypatch: Any) -> None:
    site = tmp_path / "site"
    info = site / "elsewhere-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sentinel.checks]\nhangs = elsewhere:CHECK\n")
    (site / "elsewhere.py").write_text(HANGS)
    monkeypatch.syspath_prepend(str(site))

    async def scenario() -> MembersProbed:
        async with listening(tmp_path, "127.0.0.1") as cluster:
            monkeypatch.setenv("PYTHONPATH", ":".join([str(site), *sys.path]))
            for node in NODES:
                cluster.start(node, "127.0.0.1", (), {})
            await until(lambda: cluster.hellos == {*NODES}, cluster.hellos)
            return await cluster.probe("hangs")

    probed = asyncio.run(scenario())
    mute = [sample for sample in probed.samples if sample.members[0] == sample.node]
    assert mute
    assert all(sample.error for sample in mute)
    assert all(sample.values == {"rank": 1.0} for sample in probed.samples if sample not in mute)
    assert (probed.findings, probed.error) == ((), "")
