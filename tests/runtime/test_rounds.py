"""The controller's rounds go on, whatever one thing that they look at is like."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sentinel.backends.port import Backend, KnownNode
from sentinel.core.detect.watch import Watch
from sentinel.core.state import State
from sentinel.core.state.rows import Node
from sentinel.model.fact import NodeSilent
from sentinel.model.ids import IncidentId, NodeId
from sentinel.model.incident import Incident
from sentinel.model.policy import Policy
from sentinel.model.report import Report
from sentinel.runtime import rounds
from sentinel.runtime.agent_orders import AgentOrders
from sentinel.runtime.hands import ActionError, Hands
from sentinel.runtime.rounds import AgentRounds


class Scheduler:
    """Nodes of which some never answer."""

    def __init__(self, nodes: int, hang: set[str]) -> None:
        self.names = [f"n{number}" for number in range(1, nodes + 1)]
        self.hang = hang
        self.asked: list[tuple[str, str]] = []
        self.addresses: dict[str, str] = {}
        self.life = ""

    async def known(self, within: float) -> list[KnownNode]:
        self.asked.append(("known", ""))
        return [KnownNode(NodeId(name), f"10.0.0.{name[1:]}", life=self.life) for name in self.names]

    async def start_agent(
        self, node: NodeId, argv: Sequence[str], env: Mapping[str, str], up_within: float = 0.0
    ) -> int:
        self.asked.append(("start_agent", node))
        self.addresses[node] = env["SENTINEL_ADDRESS"]
        if node in self.hang:
            await asyncio.sleep(60)
        return 4711


def hands_with(scheduler: Scheduler) -> Hands:
    none, enrolment = cast(Any, None), SimpleNamespace(nodes=dict.fromkeys(scheduler.names, ("key",)))
    reports = cast(Any, SimpleNamespace(enrolment=enrolment))
    backend = Backend(cast(Any, scheduler))
    return Hands(backend, reports, none, none, lambda _: [], Path, lambda _: (), 600.0, none)


@pytest.mark.parametrize("hang", [{"n1"}, {"n1", "n2", "n3"}])
def test_nodes_that_hang_hold_up_neither_the_others_nor_the_next_round(
    monkeypatch: pytest.MonkeyPatch, hang: set[str]
) -> None:
    monkeypatch.setattr(rounds, "EVERY_S", 0.01)
    monkeypatch.setattr(rounds, "AGENT_RETRY_S", -1e9)  # whoever is not being started is due
    scheduler = Scheduler(nodes=40, hang=hang)

    async def scenario() -> None:
        hands, now = hands_with(scheduler), asyncio.get_running_loop().time
        going = AgentRounds(hands, AgentOrders(hands), State(), Watch(Policy(), now()), print, now)
        running = asyncio.create_task(going.run(grace=0.0))
        async with asyncio.timeout(10):
            while len(scheduler.addresses) < 40 or scheduler.asked.count(("known", "")) < 10:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
    assert all(scheduler.asked.count(("start_agent", node)) == 1 for node in hang)


@pytest.mark.parametrize(("then", "starts"), [("a", False), ("b", True)])
def test_a_silent_node_that_was_started_anew_gets_an_agent_whatever_incident_is_open(
    monkeypatch: pytest.MonkeyPatch, then: str, starts: bool
) -> None:
    """Its agent ended with what ran there; an incident that waits for the node would wait for ever."""
    monkeypatch.setattr(rounds, "EVERY_S", 0.01)
    scheduler = Scheduler(nodes=1, hang=set())
    scheduler.life = "a"

    async def scenario() -> None:
        hands, now, state = hands_with(scheduler), asyncio.get_running_loop().time, State()
        node, watch = state.add(Node(NodeId("n1"))), Watch(Policy(), now())
        watch.report(Report(node.id, "boot", 1, (), ()), state, now())
        going = AgentRounds(hands, AgentOrders(hands), state, watch, print, now)
        running = asyncio.create_task(going.run(grace=0.0))

        async def rounds_more(count: int) -> None:
            async with asyncio.timeout(10):
                until = scheduler.asked.count(("known", "")) + count
                while scheduler.asked.count(("known", "")) < until:
                    await asyncio.sleep(0.01)

        await rounds_more(3)
        silence = NodeSilent(now(), node.id, 2.6, 0, 1)
        state.change(node, silent=True)
        state.add(Incident(IncidentId("I-0001"), now(), "node:n1", evidence=(silence,)))
        await rounds_more(3)
        assert scheduler.addresses == {}, "who is only silent is left to the incident"
        scheduler.life = then
        await rounds_more(3)
        assert bool(scheduler.addresses) is starts
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())


def test_an_agent_is_told_the_address_at_which_the_scheduler_knows_its_node() -> None:
    scheduler = Scheduler(nodes=2, hang=set())
    orders = AgentOrders(
        hands_with(scheduler)
    )  # of a controller that has just started: no round was made yet
    assert asyncio.run(orders.start(NodeId("n2"))) == "pid 4711"
    assert scheduler.addresses == {"n2": "10.0.0.2"}


def test_an_agent_whose_node_the_scheduler_does_not_know_is_not_started() -> None:
    scheduler = Scheduler(nodes=2, hang=set())
    with pytest.raises(ActionError, match="the scheduler knows no such node"):
        asyncio.run(AgentOrders(hands_with(scheduler)).start(NodeId("n3")))
    assert ("start_agent", "n3") not in scheduler.asked
