"""What actions are done with, and how they fail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from sentinel.adapters.dispatcher import Dispatcher
from sentinel.adapters.transport import Reports
from sentinel.backends.port import Backend, Gang, KnownNode, Nodes
from sentinel.gang.orders import WorkerSpec
from sentinel.model.ids import JobId, NodeId, Seconds, node_name
from sentinel.model.report import RankBeat

log = structlog.get_logger(logger_name="hands")
MOST_MISNAMED = 100


class ActionError(Exception):
    """An action could not be done; the message is one line. `data` becomes the outcome's."""

    def __init__(self, detail: str, data: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.data = data


@dataclass(frozen=True, slots=True)
class OperatorsCommand:
    """A command of the settings, such as the one that starts a watched job again."""

    key: str
    """Which setting it is."""
    line: str = ""
    """For `sh -c`; empty for none."""
    within_s: Seconds = 60.0
    log: Path = Path("command.log")
    """What it says last."""


@dataclass(frozen=True)
class Hands:
    """What actions are done with."""

    backend: Backend
    reports: Reports
    dispatcher: Dispatcher
    spec: WorkerSpec
    agent_argv: Callable[[NodeId], list[str]]
    memory_of: Callable[[NodeId], Path]
    beats: Callable[[NodeId], Sequence[RankBeat]]
    """What a node's processes last showed."""
    slow_phase_s: Seconds
    """How long a generation may set up and load."""
    word: Callable[[JobId, int], bytes]
    """Our word that we have ordered a generation of a job."""
    restart: OperatorsCommand = OperatorsCommand("job.restart_command")
    """What starts a watched job again."""
    reboot: OperatorsCommand = OperatorsCommand("operations.reboot_command")
    """What reboots a node."""
    addresses: dict[NodeId, str] = field(default_factory=dict)
    """Where each node is, as the scheduler last said."""
    misnamed: set[str] = field(default_factory=set)
    """The scheduler's nodes that can't be Sentinel's, as far as it was said."""

    @property
    def nodes(self) -> Nodes:
        """The scheduler's nodes."""
        return self.backend.nodes

    @property
    def gang(self) -> Gang:
        """Who starts ranks. Raises ActionError where nobody does."""
        if self.backend.gang is None:
            raise ActionError("this back end starts no ranks")
        return self.backend.gang

    async def known_nodes(self, within: Seconds) -> list[KnownNode]:
        """Ask the scheduler which nodes live, and keep where they are. Raises BackendError."""
        nodes = [node for node in await self.nodes.known(within) if self._named(node.node)]
        self.addresses.update({node.node: node.address for node in nodes})
        return nodes

    def _named(self, node: NodeId) -> bool:
        """Whether a name that a scheduler gives can be a node's; one that can't is said once."""
        try:
            node_name(node)
        except ValueError as error:
            if node not in self.misnamed and len(self.misnamed) < MOST_MISNAMED:
                self.misnamed.add(node)
                log.error("node-passed-over", error=str(error), hint="name it otherwise in the scheduler")
            return False
        return True
