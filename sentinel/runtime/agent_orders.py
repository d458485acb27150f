"""Orders to agents, and what became of them."""

import asyncio
from collections.abc import Sequence

from sentinel.model.action import CallOff, CollectStacks, Probe, Prove, Repair
from sentinel.model.counted import counted
from sentinel.model.ids import NodeId
from sentinel.model.report import (
    GetReady,
    KillWorker,
    Leave,
    LogsNow,
    MeasureNoMore,
    MeasureNow,
    OrderDone,
    ProbeNow,
    ResetGpus,
    StacksNow,
)
from sentinel.runtime.admit import admit
from sentinel.runtime.hands import ActionError, Hands

LEAVE_DEADLINE_S = 5.0
KNOWN_WITHIN_S = 30.0
LOGS_WITHIN_S = 5.0
UP_WITHIN_S = 30.0
"""An agent is up within a second; on a machine that has far too much to do within some ten."""
CALLED_OFF_WITHIN_S = 10.0
"""A child is killed at once; that it has ended is told with the next report."""
RESET_WITHIN_S = 180.0
"""A reset of all GPUs of a node takes a minute; its agent gives up earlier."""


class AgentOrders:
    """Sends orders over the report connections and matches the answers."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._waiting: dict[tuple[NodeId, str], asyncio.Future[OrderDone]] = {}
        """By the node that has to answer, and the order's name, which others can guess."""

    async def order(
        self,
        node: NodeId,
        order: KillWorker | StacksNow | LogsNow | ResetGpus | GetReady | MeasureNow | MeasureNoMore | Leave,
        within: float,
    ) -> OrderDone:
        """Give an order and wait for what became of it. Raises ActionError, TimeoutError."""
        done: asyncio.Future[OrderDone] = asyncio.get_running_loop().create_future()
        self._waiting[node, order.order] = done
        try:
            if not await self._hands.reports.send(node, order):
                raise ActionError(f"{node}: no agent is connected")
            async with asyncio.timeout(within):
                answer = await done
        finally:
            self._waiting.pop((node, order.order), None)
        if not answer.ok:
            raise ActionError(f"{node}: {answer.detail}")
        return answer

    def done(self, node: NodeId, answer: OrderDone) -> None:
        """A node's agent finished an order."""
        waiting = self._waiting.get((node, answer.order))
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def start(self, node: NodeId, *, take_over: bool = False) -> str:
        """Have the scheduler launch a node's agent, beside the memory and at the address its ranks are told.

        With `take_over` it first ends the one that is there and is not heard, and is waited for: while it
        starts nobody needs to start another one, which would end it.

        Raises ActionError where it does not know that address, for at another one nobody would find the
        agent, and where the agent can't have a key.
        """
        argv = [*self._hands.agent_argv(node), *(["--take-over"] if take_over else [])]
        address = self._hands.addresses.get(node) or await self._look_for(node)
        await asyncio.to_thread(admit, self._hands.reports.enrolment, node, address)
        env = {"SENTINEL_MEMORY": str(self._hands.memory_of(node)), "SENTINEL_ADDRESS": address}
        up_within = UP_WITHIN_S if take_over else 0.0
        return f"pid {await self._hands.nodes.start_agent(node, argv, env, up_within)}"

    async def _look_for(self, node: NodeId) -> str:
        """Ask where a node is that no round has told of yet, as just after a controller's start."""
        await self._hands.known_nodes(KNOWN_WITHIN_S)
        if node not in self._hands.addresses:
            raise ActionError(f"{node}: the scheduler knows no such node")
        return self._hands.addresses[node]

    async def probe(self, action: Probe) -> str:
        """Have a node's checks run now; what they find arrives as facts."""
        sent = await self._hands.reports.send(action.node, ProbeNow(action.id))
        return "asked" if sent else "no agent is connected"

    async def prove(self, action: Prove) -> str:
        """Have a node run all its checks; what they find arrives as facts. Raises ActionError."""
        if not await self._hands.reports.send(action.node, ProbeNow(action.id, action.deadline)):
            raise ActionError(f"{action.node}: no agent is connected")
        return "asked for all checks"

    async def call_off(self, action: CallOff) -> str:
        """Have a node stop what it measures. Raises ActionError, TimeoutError."""
        stop = MeasureNoMore(action.id, action.probe)
        return (await self.order(action.node, stop, CALLED_OFF_WITHIN_S)).detail

    async def reset(self, action: Repair) -> str:
        """Have a node's agent reset GPUs, if no process uses them. Raises ActionError, TimeoutError."""
        if not action.gpus:
            raise ActionError("no finding names the GPU that is to be reset")
        done = await self.order(action.node, ResetGpus(action.id, action.gpus), RESET_WITHIN_S)
        return done.detail

    async def stacks(self, action: CollectStacks) -> tuple[str, tuple[str, ...]]:
        """Collect the stacks of ranks, as far as their nodes answer in time."""
        by_node: dict[NodeId, list[tuple[int, int]]] = {}
        for node, rank, pid in action.processes:
            by_node.setdefault(node, []).append((rank, pid))
        orders = {
            node: StacksNow(f"{action.id}#{node}", tuple(ranks), action.deadline)
            for node, ranks in by_node.items()
        }
        asked = (self.order(node, order, action.deadline) for node, order in orders.items())
        answers = await asyncio.gather(*asked, return_exceptions=True)
        stacks = tuple(s for answer in answers if isinstance(answer, OrderDone) for s in answer.data)
        return (
            f"{counted(len(stacks), 'stack')}, asked for of {counted(len(action.processes), 'rank')}",
            stacks,
        )

    async def logs(self, node: NodeId, name: str, lines: int) -> tuple[str, ...]:
        """Give the end of the logs of a node's processes, a text each. Raises ActionError."""
        try:
            return (await self.order(node, LogsNow(name, lines), LOGS_WITHIN_S)).data
        except TimeoutError:
            raise ActionError(f"{node}: its agent gives no logs within {LOGS_WITHIN_S:g} s") from None

    async def retire(self, nodes: Sequence[NodeId]) -> dict[NodeId, str]:
        """Have agents leave their nodes; returns why, for each that does not."""
        leaving = (self.order(node, Leave(f"leave/{node}"), LEAVE_DEADLINE_S) for node in nodes)
        answers = await asyncio.gather(*leaving, return_exceptions=True)
        failed = zip(nodes, answers, strict=True)
        return {node: str(why) or "no answer" for node, why in failed if isinstance(why, BaseException)}
