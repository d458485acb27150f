"""An idle node measures as the core decides, through a real agent, and stops at once when it is needed."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from agent_node import until
from test_measures_together import Cluster, listening

from sentinel.model.action import Action, CallOff, Probe
from sentinel.model.fact import Fact, MembersProbed
from sentinel.model.ids import ActionId, IncidentId, NodeId
from sentinel.model.policy import Policy
from sentinel.runtime.perform import Performer
from tests.core.simulated import Simulated

SPARE = NodeId("n3")
POLICY = Policy(idle_probes=True, preflight=("waits",))
WAITS = """
import os, pathlib, time
from sentinel.model.collective import CollectiveCheck
here = pathlib.Path(__file__).parent
def measure(meeting):
    (here / "measures").write_text(str(os.getpid()))
    while not (here / "go").exists():
        time.sleep(0.01)
    return {"rate": 7.0}
def plan(nodes, samples):
    return [] if samples else [(node,) for node in nodes]
CHECK = CollectiveCheck("waits", 30.0, measure, lambda samples: (), (), plan)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of somebody else's, whose check measures until a file is there."""
    found = tmp_path / "site"
    info = found / "patient-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: patient\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sentinel.checks]\nwaits = patient:CHECK\n")
    (found / "patient.py").write_text(WAITS)
    monkeypatch.syspath_prepend(str(found))
    monkeypatch.setenv("PYTHONPATH", ":".join([str(found), *sys.path]))
    return found


class Idle(Simulated):
    """A simulated cluster, one spare of which has a real agent that does what is ordered of it."""

    def __init__(self, agents: Cluster) -> None:
        self.to_do: list[Action] = []
        super().__init__(nodes=3, policy=POLICY)
        hands: Any = SimpleNamespace()
        self.performer = Performer(hands, agents.orders, self.state, self._learned, lambda: self.now)
        self.told: list[MembersProbed] = []

    def _answer(self, action: Action) -> None:
        if isinstance(action, Probe | CallOff) and action.node == SPARE:
            self.to_do.append(action)
        else:
            super()._answer(action)

    def _learned(self, fact: Fact) -> None:
        if isinstance(fact, MembersProbed):
            self.told.append(fact)
        self.tell(fact)

    def begin(self) -> None:
        """Do what was ordered of the spare since."""
        actions, self.to_do = tuple(self.to_do), []
        self.performer.start(actions)


def runs(pid: int) -> bool:
    """Say whether a process computes; one that was killed may not be waited for yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def agent(tmp_path: Path, cluster: Cluster) -> Idle:
    cluster.start(SPARE, "127.0.0.1", (), {})
    await until(lambda: cluster.hellos == {SPARE}, cluster.hellos)
    idle = Idle(cluster)
    while not idle.to_do:
        idle.run(1.0)
    return idle


def file_has(path: Path, other_than: str = "") -> Callable[[], bool]:
    return lambda: path.exists() and path.read_text() not in ("", other_than)


def test_an_idle_node_measures_and_stops_when_a_rank_is_about_to_sit_there(
    tmp_path: Path, site: Path
) -> None:
    async def scenario() -> None:
        async with listening(tmp_path, "127.0.0.1") as cluster:
            idle = await agent(tmp_path, cluster)
            idle.begin()
            await until(file_has(site / "measures"), site)
            first = (site / "measures").read_text()
            idle.crash(0)
            assert [type(action) for action in idle.to_do] == [CallOff]
            idle.begin()
            await until(lambda: not runs(int(first)), first)
            await until(lambda: len(idle.told) == 1, idle.told)
            assert "called off" in idle.told[0].samples[0].error
            await until(lambda: not idle.state.unfinished, idle.state.unfinished)
            assert not idle.at(SPARE).preflight_at
            (site / "go").touch()
            while not idle.to_do:
                idle.run(1.0)  # the job goes on, and nobody needs the node
            idle.begin()
            await until(lambda: bool(idle.at(SPARE).preflight_at), idle.told)
            assert idle.at(SPARE).preflight_said == "passed: waits: rate 7"
            assert (site / "measures").read_text() != first

    asyncio.run(scenario())


def test_what_somebody_else_has_ordered_is_measured_all_the_same(tmp_path: Path, site: Path) -> None:
    async def scenario() -> None:
        async with listening(tmp_path, "127.0.0.1") as cluster:
            idle = await agent(tmp_path, cluster)
            idle.begin()
            await until(file_has(site / "measures"), site)
            first = (site / "measures").read_text()
            asked = Probe(ActionId("by-hand-1"), IncidentId(""), NodeId(""), "waits", (SPARE,), 30.0)
            cluster.addresses = {SPARE: "127.0.0.1"}
            by_hand = asyncio.create_task(cluster.measure(asked))
            idle.crash(0)
            idle.begin()
            await until(file_has(site / "measures", first), site)
            (site / "go").touch()
            assert [sample.values for sample in (await by_hand).samples] == [{"rate": 7.0}]

    asyncio.run(scenario())
