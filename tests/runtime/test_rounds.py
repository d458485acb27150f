"""The controller's rounds go on, whatever one thing that they look at is like."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from sentinel.backends.ray import gcs
from sentinel.backends.ray.requests import Nodes, RayNode, StartAgent
from sentinel.core.detect.watch import Watch
from sentinel.core.state import State
from sentinel.model.fact import Fact
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy
from sentinel.runtime import rounds
from sentinel.runtime.agent_orders import AgentOrders
from sentinel.runtime.hands import ActionError, Hands
from sentinel.runtime.rounds import AgentRounds


@pytest.fixture
def door() -> Iterator[str]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_a_gcs_that_can_t_be_remembered_is_watched_all_the_same_and_told_of_once(
    tmp_path: Path, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise gcs.GcsError("access denied")

    learned: list[Fact] = []
    monkeypatch.setattr(rounds, "GCS_EVERY_S", 0.01)
    monkeypatch.setattr(rounds, "GCS_LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(gcs, "find", lambda *_: 1)
    monkeypatch.setattr(gcs, "remember", denied)

    async def scenario() -> None:
        watching = asyncio.create_task(
            rounds.watch_gcs(door, tmp_path / "gcs.json", learned.append, asyncio.get_running_loop().time)
        )
        await asyncio.sleep(0.5)
        assert not watching.done()
        watching.cancel()

    with capture_logs() as logs:
        asyncio.run(scenario())
    assert [entry["event"] for entry in logs] == ["gcs-not-remembered"]
    assert learned == []


class Ray:
    """A link to nodes of which some never answer."""

    def __init__(self, nodes: int, hang: set[str]) -> None:
        self.names = [f"n{number}" for number in range(1, nodes + 1)]
        self.hang = hang
        self.asked: list[tuple[str, str]] = []
        self.addresses: dict[str, str] = {}

    async def ask(self, request: Nodes | StartAgent, timeout: float) -> Any:
        match request:
            case Nodes():
                self.asked.append(("nodes", ""))
                return tuple(
                    RayNode(NodeId(name), "ab", True, f"10.0.0.{name[1:]}", 1, True) for name in self.names
                )
            case StartAgent(node, _, env):
                self.asked.append(("start_agent", node))
                self.addresses[node] = env["SENTINEL_ADDRESS"]
                if node in self.hang:
                    await asyncio.sleep(60)
                return 4711

    order = ask


def hands_with(ray: Ray) -> Hands:
    none, enrolment = cast(Any, None), SimpleNamespace(nodes=dict.fromkeys(ray.names, ("key",)))
    reports = cast(Any, SimpleNamespace(enrolment=enrolment))
    return Hands(cast(Any, ray), reports, none, none, lambda _: [], Path, Path(), lambda _: (), 600.0, none)


@pytest.mark.parametrize("hang", [{"n1"}, {"n1", "n2", "n3"}])
def test_nodes_that_hang_hold_up_neither_the_others_nor_the_next_round(
    monkeypatch: pytest.MonkeyPatch, hang: set[str]
) -> None:
    monkeypatch.setattr(rounds, "EVERY_S", 0.01)
    monkeypatch.setattr(rounds, "AGENT_RETRY_S", -1e9)  # whoever is not being started is due
    ray = Ray(nodes=40, hang=hang)

    async def scenario() -> None:
        hands, now = hands_with(ray), asyncio.get_running_loop().time
        going = AgentRounds(hands, AgentOrders(hands), State(), Watch(Policy(), now()), now)
        running = asyncio.create_task(going.run(grace=0.0))
        async with asyncio.timeout(10):
            while ray.addresses.keys() != set(ray.names) or ray.asked.count(("nodes", "")) < 10:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
    assert all(ray.asked.count(("start_agent", node)) == 1 for node in hang)


def test_an_agent_is_told_the_address_at_which_ray_knows_its_node() -> None:
    ray = Ray(nodes=2, hang=set())
    orders = AgentOrders(hands_with(ray))  # of a controller that has just started: no round was made yet
    assert asyncio.run(orders.start(NodeId("n2"))) == "pid 4711"
    assert ray.addresses == {"n2": "10.0.0.2"}


def test_an_agent_whose_node_ray_does_not_know_is_not_started() -> None:
    ray = Ray(nodes=2, hang=set())
    with pytest.raises(ActionError, match="Ray knows no such node"):
        asyncio.run(AgentOrders(hands_with(ray)).start(NodeId("n3")))
    assert ("start_agent", "n3") not in ray.asked
