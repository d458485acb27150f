"""The controller's rounds: every node of the scheduler has an agent, and what it says of cordons is heard."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog

from sentinel.backends.port import BackendError, KnownNode
from sentinel.core.detect.watch import Watch
from sentinel.core.state import State
from sentinel.model.fact import Fact
from sentinel.model.ids import Instant, NodeId, Seconds
from sentinel.runtime.agent_orders import AgentOrders
from sentinel.runtime.cordons import cordons, outside
from sentinel.runtime.hands import ActionError, Hands

log = structlog.get_logger(logger_name="rounds")

EVERY_S = 1.0
KNOWN_WITHIN_S = 10.0
AGENT_RETRY_S = 10.0
STARTS_AT_ONCE = 8
"""Nodes that hang must not keep the scheduler from answering everything else: the ray link has 16 threads."""


class AgentRounds:
    """Starts agents where none was ever heard in a node's life; one that falls silent is to be diagnosed."""

    def __init__(
        self,
        hands: Hands,
        agents: AgentOrders,
        state: State,
        watch: Watch,
        learn: Callable[[Fact], None],
        now: Callable[[], Instant],
    ) -> None:
        self._hands, self._agents, self._state, self._watch = hands, agents, state, watch
        self._learn, self._now = learn, now
        self._asked: dict[NodeId, Instant] = {}
        self._starting: set[NodeId] = set()
        self._heard_in: dict[NodeId, str] = {}
        """In which of its lives each node was heard last, as the scheduler tells them apart."""
        self._at_once = asyncio.Semaphore(STARTS_AT_ONCE)
        self._started = now()
        self.closed = False
        """Sentinel is going down: no agent is started any more."""

    async def run(self, grace: Seconds) -> None:
        """Go round until cancelled. After a restart, agents get the grace period to come back."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                before, nodes = outside(self._state), await self._nodes()
                for fact in cordons(self._state, nodes, self._now(), before):
                    self._learn(fact)
                known = any(not node.left for node in self._state.nodes.values())
                if not known or self._now() - self._started > grace:
                    for node in self._missing(node for node in nodes if node.trains):
                        self._starting.add(node)
                        tasks.create_task(self._start(node))
                await asyncio.sleep(EVERY_S)

    async def _nodes(self) -> Sequence[KnownNode]:
        try:
            return await self._hands.known_nodes(KNOWN_WITHIN_S)
        except BackendError as error:
            log.warning("scheduler-away", error=str(error))
            return ()

    def _missing(self, nodes: Iterable[KnownNode]) -> list[NodeId]:
        """Name the nodes whose agent is to be started now, and is not being started."""
        lately = self._now() - AGENT_RETRY_S
        return [
            each.node
            for each in nodes
            if not (self._is_heard(each) or self.closed or each.node in self._starting)
            and self._asked.get(each.node, 0.0) <= lately
        ]

    async def _start(self, node: NodeId) -> None:
        """Start one agent; a node that hangs holds neither the round nor the others up."""
        try:
            async with self._at_once:
                self._asked[node] = self._now()
                if not self.closed:
                    log.info("agent-started", node=node, how=await self._agents.start(node))
        except (BackendError, ActionError, RuntimeError) as error:  # the last: no thread is to be had
            log.warning("agent-not-started", node=node, error=str(error))
        finally:
            self._starting.discard(node)

    def _is_heard(self, each: KnownNode) -> bool:
        """Say whether it was heard in this life; a silent node that no open incident is about is back."""
        known = self._state.nodes.get(each.node)
        if self._watch.heard_age(each.node, self._now()) is None or known is None:
            return False
        if not known.silent:
            self._heard_in[each.node] = each.life
            return True
        if self._heard_in.get(each.node, each.life) != each.life:
            return False
        about = (fact for incident in self._state.open_incidents() for fact in incident.evidence)
        return any(getattr(fact, "node", None) == each.node for fact in about)
