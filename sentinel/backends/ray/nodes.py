"""Ray's nodes: what the GCS says of them, and the one thing that can't be said to it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sentinel.adapters.ping import ping
from sentinel.backends.port import BackendError, Context, KnownNode, NodeCordon
from sentinel.backends.ray import gcs
from sentinel.backends.ray.link import Link
from sentinel.backends.ray.requests import Nodes, RayNode, StartAgent
from sentinel.backends.ray.watch_gcs import watch_gcs
from sentinel.backends.ray.watch_link import FIRST_JOIN_S, watch_link
from sentinel.model.fact import GcsLost, LinkLost
from sentinel.model.ids import NodeId, Seconds

START_WITHIN_S = 30.0
LOOK_WITHIN_S = 5.0


class RayNodes:
    """Nodes of a Ray cluster.

    A drain of Ray ends in the node's end and can't be taken back, so Sentinel never asks for one. Nothing of
    ours comes to a node by Ray's choice either: all is placed by hard affinity, and a cordon is the
    controller's own.
    """

    def __init__(self, link: Link, address: str, memory: Path) -> None:
        """`address`: the GCS's; `memory`: the file that says how to start it again."""
        self._link, self._address, self._memory = link, address, memory
        self._raylets: dict[NodeId, tuple[str, int]] = {}
        """Where each node's raylet listens, as Ray last said."""

    @property
    def trouble(self) -> str:
        """Say why Ray can't be asked; empty while it can."""
        return self._link.trouble

    async def run(self, context: Context) -> None:
        """Keep a link to Ray, and tell when it or the GCS is away."""
        around = context.learn, context.now
        first_s = FIRST_JOIN_S if context.needed else None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._link.run())
            tasks.create_task(watch_link(self._link, *around, lost=LinkLost in context.lost, first_s=first_s))
            lost, needed = GcsLost in context.lost, context.needed
            tasks.create_task(watch_gcs(self._address, self._memory, *around, lost=lost, needed=needed))

    async def known(self, within: Seconds) -> Sequence[KnownNode]:
        """List the nodes that live."""
        nodes = [node for node in await self._link.ask(Nodes(), within) if node.alive]
        self._raylets.update({node.node: (node.address, node.port) for node in nodes})
        return [KnownNode(node.node, node.address, node.trains, _cordon(node), node.id) for node in nodes]

    async def look(self, node: NodeId) -> str:
        """Try the raylet's port."""
        return await ping(*self._raylets.get(node, ("", 0)))

    async def cordon(self, node: NodeId, reason: str) -> str:  # noqa: ARG002 - there is nobody to tell it
        """Say who keeps the node out of use."""
        found = await self._cordon_of(node)
        return f"cordoned by {found.by} already: {found.reason}" if found else "cordoned here"

    async def uncordon(self, node: NodeId) -> str:
        """Say who still keeps the node out of use."""
        found = await self._cordon_of(node)
        return f"{found.by} still has it cordoned: {found.reason}" if found else "uncordoned here"

    async def _cordon_of(self, node: NodeId) -> NodeCordon | None:
        """Look at what Ray says; one that can't be asked has nothing to be told all the same."""
        try:
            known = await self.known(LOOK_WITHIN_S)
        except BackendError:
            return None
        return next((each.cordon for each in known if each.node == node), None)

    async def start_agent(
        self, node: NodeId, argv: Sequence[str], env: Mapping[str, str], up_within: Seconds = 0.0
    ) -> int:
        """Launch it by a task on its node."""
        asked = StartAgent(node, tuple(argv), dict(env), up_within)
        return await self._link.order(asked, START_WITHIN_S + up_within)

    async def restart_control_plane(self) -> str:
        """Start the GCS again as it was started."""
        try:
            return f"pid {await asyncio.to_thread(gcs.restart, self._memory)}"
        except gcs.GcsError as error:
            raise BackendError(str(error)) from None


def _cordon(node: RayNode) -> NodeCordon | None:
    """Ray says until when it empties a node, and neither why nor who asked."""
    if node.drained_by is None:
        return None
    until = f" until {datetime.fromtimestamp(node.drained_by, UTC):%Y-%m-%d %H:%M} UTC"
    return NodeCordon("ray", f"it is being drained{until if node.drained_by else ''}")
