"""The controller's rounds: every Ray node has an agent, Ray's GCS answers, and so does the link to it."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import structlog

from sentinel.backends.ray import gcs
from sentinel.backends.ray.link import Link, LinkError
from sentinel.core.detect.watch import Watch
from sentinel.core.state import State
from sentinel.model.fact import Fact, GcsBack, GcsLost, LinkBack, LinkLost
from sentinel.model.ids import Instant, NodeId, Seconds
from sentinel.runtime.agent_orders import AgentOrders
from sentinel.runtime.hands import ActionError, Hands

log = structlog.get_logger(logger_name="rounds")

EVERY_S = 1.0
AGENT_RETRY_S = 10.0
STARTS_AT_ONCE = 8
"""Half of the ray link's threads: nodes that hang must not keep it from answering everything else."""
GCS_EVERY_S = 0.5
GCS_LOOK_AGAIN_S = 60.0
"""A GCS that can't be remembered may be another user's for ever, or the disk only full for now."""
FIRST_JOIN_S = 30.0
"""A link that has not joined Ray this long after the controller's start is missed."""
GCS_MISSES = 2
"""Refused connections in a row that make a dead GCS."""


class AgentRounds:
    """Starts agents where none was ever heard; one that falls silent is a diagnosis, not housekeeping."""

    def __init__(
        self, hands: Hands, agents: AgentOrders, state: State, watch: Watch, now: Callable[[], Instant]
    ) -> None:
        self._hands, self._agents, self._state, self._watch, self._now = hands, agents, state, watch, now
        self._asked: dict[NodeId, Instant] = {}
        self._starting: set[NodeId] = set()
        self._at_once = asyncio.Semaphore(STARTS_AT_ONCE)
        self._started = now()
        self.closed = False
        """Sentinel is going down: no agent is started any more."""

    async def run(self, grace: Seconds) -> None:
        """Go round until cancelled. After a restart, agents get the grace period to come back."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    nodes = await self._hands.ray_nodes(timeout=10.0)
                except LinkError as error:
                    log.warning("ray-away", error=str(error))
                    nodes = []
                known = any(not node.left for node in self._state.nodes.values())
                if not known or self._now() - self._started > grace:
                    for node in self._missing(node.node for node in nodes if node.trains):
                        self._starting.add(node)
                        tasks.create_task(self._start(node))
                await asyncio.sleep(EVERY_S)

    def _missing(self, nodes: Iterable[NodeId]) -> list[NodeId]:
        """Name the nodes whose agent is to be started now, and is not being started."""
        lately = self._now() - AGENT_RETRY_S
        return [
            node
            for node in nodes
            if not (self.closed or node in self._starting or self._is_heard(node))
            and self._asked.get(node, 0.0) <= lately
        ]

    async def _start(self, node: NodeId) -> None:
        """Start one agent; a node that hangs holds neither the round nor the others up."""
        try:
            async with self._at_once:
                self._asked[node] = self._now()
                if not self.closed:
                    log.info("agent-started", node=node, how=await self._agents.start(node))
        except (LinkError, ActionError, RuntimeError) as error:  # the last: no thread is to be had
            log.warning("agent-not-started", node=node, error=str(error))
        finally:
            self._starting.discard(node)

    def _is_heard(self, node: NodeId) -> bool:
        """Say whether it was ever heard; a silent node that no open incident is about is back."""
        known = self._state.nodes.get(node)
        if self._watch.heard_age(node, self._now()) is None or known is None:
            return False
        about = (fact for incident in self._state.open_incidents() for fact in incident.evidence)
        return not known.silent or any(getattr(fact, "node", None) == node for fact in about)


async def watch_link(
    link: Link,
    learn: Callable[[Fact], None],
    now: Callable[[], Instant],
    *,
    lost: bool = False,
    first_s: Seconds | None = FIRST_JOIN_S,
) -> None:
    """Tell until cancelled when no ray link is there, and when one is.

    `lost`: it was told that none is. One that has never been there is missed after `first_s`; None: never.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(first_s):
            await link.up.wait()
    while True:
        if not (link.up.is_set() or lost):
            lost = True
            learn(LinkLost(now(), link.trouble))
        await link.up.wait()
        if lost:
            lost = False
            learn(LinkBack(now()))
        await link.away.wait()


async def watch_gcs(
    address: str,
    memory: Path,
    learn: Callable[[Fact], None],
    now: Callable[[], Instant],
    *,
    lost: bool = False,
) -> None:
    """Knock at the GCS's door until cancelled; remember in `memory` how to start it while it lives.

    `lost`: it was told that it is dead.
    """
    host, _, port = address.rpartition(":")
    if not host:
        log.warning("gcs-not-watched", address=address, hint="set ray.address to host:port")
        return
    misses, look_at, trouble = 0, 0.0, ""
    while True:
        await asyncio.sleep(GCS_EVERY_S)
        answer = await _alive(address)
        if answer == "ok" and now() >= look_at:
            before, trouble = trouble, await asyncio.to_thread(_remember, host, int(port), memory)
            look_at = now() + GCS_LOOK_AGAIN_S if trouble else float("inf")
            if trouble and trouble != before:
                log.warning("gcs-not-remembered", error=trouble)
        if answer == "unknown":  # we could not ask, which says nothing about it
            continue
        misses = 0 if answer == "ok" else misses + 1
        if misses == GCS_MISSES and not lost:
            lost = True
            learn(GcsLost(now(), address, answer))
        elif lost and answer == "ok":
            lost = False
            learn(GcsBack(now(), address))


async def _alive(address: str) -> str:
    try:
        return await asyncio.to_thread(gcs.alive, address)
    except RuntimeError:  # no thread is to be had
        return "unknown"


def _remember(host: str, port: int, memory: Path) -> str:
    """Remember how to start the GCS; says why not, as when it runs on another machine."""
    try:
        gcs.remember(memory, gcs.find(host, port))
    except gcs.GcsError as error:
        return str(error)
    return ""
