"""Logs of a node's processes that an operator asks for: they pass through, and nothing of them is kept."""

from collections.abc import Sequence
from itertools import count

from sentinel.core.state import State
from sentinel.model.ids import NodeId
from sentinel.redact import redact
from sentinel.runtime.agent_orders import AgentOrders
from sentinel.runtime.hands import ActionError
from sentinel.web.view import CommandRefusedError


class NodeLogs:
    """Asks agents for the ends of logs."""

    def __init__(self, agents: AgentOrders, state: State) -> None:
        self._agents, self._state, self._number = agents, state, count(1)

    async def __call__(self, node: str, lines: int) -> Sequence[str]:
        """Give the last lines of each log of a node, a text each. Raises CommandRefusedError."""
        if (known := self._state.nodes.get(NodeId(node))) is None:
            names = ", ".join(sorted(self._state.nodes)) or "none"
            raise CommandRefusedError(f"no node {node!r:.80}: known are {names}")
        try:
            texts = await self._agents.logs(known.id, f"logs/{next(self._number)}", lines)
        except ActionError as error:
            raise CommandRefusedError(str(error)) from None
        return tuple(map(redact, texts))
