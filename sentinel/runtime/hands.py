"""What actions are done with, and how they fail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from sentinel.adapters.outboxes import Outboxes
from sentinel.adapters.transport import Reports
from sentinel.gang.orders import WorkerSpec
from sentinel.model.ids import JobId, NodeId, Seconds, node_name
from sentinel.model.report import RankBeat
from sentinel.runtime.link import Link
from sentinel.runtime.ray_requests import Nodes, RayNode

log = structlog.get_logger(logger_name="hands")
MOST_MISNAMED = 100


class ActionError(Exception):
    """An action could not be done; the message is one line. `data` becomes the outcome's."""

    def __init__(self, detail: str, data: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.data = data


@dataclass(frozen=True, slots=True)
class RestartCommand:
    """The command that starts a watched job again."""

    line: str = ""
    """For `sh -c`; empty for none."""
    within_s: Seconds = 60.0
    log: Path = Path("restart.log")
    """What it says last."""


@dataclass(frozen=True)
class Hands:
    """What actions are done with."""

    link: Link
    reports: Reports
    outboxes: Outboxes
    spec: WorkerSpec
    agent_argv: Callable[[NodeId], list[str]]
    memory_of: Callable[[NodeId], Path]
    gcs_command: Path
    beats: Callable[[NodeId], Sequence[RankBeat]]
    """What a node's processes last showed."""
    slow_phase_s: Seconds
    """How long a generation may set up and load."""
    word: Callable[[JobId, int], bytes]
    """Our word that we have ordered a generation of a job."""
    restart: RestartCommand = field(default_factory=RestartCommand)
    """What starts a watched job again."""
    raylets: dict[NodeId, tuple[str, int]] = field(default_factory=dict)
    """Where each node's raylet listens, as Ray last said."""
    misnamed: set[str] = field(default_factory=set)
    """Ray's nodes that can't be Sentinel's, as far as it was said."""

    async def ray_nodes(self, timeout: Seconds) -> list[RayNode]:
        """Ask Ray which nodes live, and keep where their raylets listen. Raises LinkError."""
        nodes = [
            node for node in await self.link.ask(Nodes(), timeout) if node.alive and self._named(node.node)
        ]
        self.raylets.update({node.node: (node.address, node.port) for node in nodes})
        return nodes

    def _named(self, node: NodeId) -> bool:
        """Whether a name that Ray gives can be a node's; one that can't is said once."""
        try:
            node_name(node)
        except ValueError as error:
            if node not in self.misnamed and len(self.misnamed) < MOST_MISNAMED:
                self.misnamed.add(node)
                log.error("node-passed-over", error=str(error), hint="ray start --node-name")
            return False
        return True
