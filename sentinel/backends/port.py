"""What Sentinel asks of a scheduler: its nodes, and, where it can start ranks, a gang on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from sentinel.gang.orders import Formed, FormOrder, Overtaken, WorkerSpec, WorkerStatus
from sentinel.model.fact import Fact
from sentinel.model.ids import Instant, JobId, NodeId, Seconds, WorkerId

NOT_YET = "has not answered yet"
"""How the trouble of a scheduler ends that has neither answered nor refused."""


class BackendError(Exception):
    """The scheduler could not be asked, or refused; the message is one line."""


# --- nodes ---------------------------------------------------------------------------------------------


class NodeCordon(msgspec.Struct, frozen=True):
    """Why a scheduler places nothing new on a node."""

    by: str
    """Who said so, as the scheduler names them."""
    reason: str
    ours: bool = False
    """It is what `cordon` of this very cluster left: whoever else's is never taken back by Sentinel."""


class KnownNode(msgspec.Struct, frozen=True):
    """A node as the scheduler knows it, alive."""

    node: NodeId
    """Its name, which is Sentinel's too."""
    address: str
    """Where others reach it."""
    trains: bool = True
    """It is to have an agent, and may have ranks."""
    cordon: NodeCordon | None = None
    life: str = ""
    """Another one after the node, or the scheduler on it, was started anew; empty where nobody tells."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a back end needs to tell what becomes of the scheduler itself."""

    learn: Callable[[Fact], None]
    now: Callable[[], Instant]
    lost: frozenset[type]
    """Facts about a loss, such as `GcsLost`, that were told before and that nothing has ended since."""
    needed: bool
    """A job needs it; who only watches nodes may do without."""


class Nodes(Protocol):
    """A scheduler's nodes. Whatever is asked here looks first whether it is done already."""

    @property
    def trouble(self) -> str:
        """Say why the scheduler can't be asked; empty while it can."""

    async def run(self, context: Context) -> None:
        """Keep in touch with the scheduler until cancelled, and tell when it is away and back."""

    async def known(self, within: Seconds) -> Sequence[KnownNode]:
        """List the living nodes. Raises BackendError."""

    async def look(self, node: NodeId) -> str:
        """Try the port of the scheduler's own process there: `ok`, `refused`, `timeout` or `unknown`."""

    async def cordon(self, node: NodeId, reason: str) -> str:
        """Let nothing new be placed on a node; says what was done. One that has a cordon keeps that.

        Raises BackendError.
        """

    async def uncordon(self, node: NodeId) -> str:
        """Take back what `cordon` did, and nobody else's; says what was done. Raises BackendError."""

    async def start_agent(
        self, node: NodeId, argv: Sequence[str], env: Mapping[str, str], up_within: Seconds = 0.0
    ) -> int:
        """Start a node's agent, so that it outlives the scheduler's processes; its pid.

        It is waited for until it is up, for so long and as long as its process lives, where that can be seen.

        Raises BackendError, also where agents are started by somebody else.
        """

    async def restart_control_plane(self) -> str:
        """Bring the scheduler's own service back; says what was done. Raises BackendError."""


# --- a gang --------------------------------------------------------------------------------------------


class Member(msgspec.Struct, frozen=True):
    """A worker of the generation that is to be formed."""

    worker: WorkerId
    order: FormOrder
    """The port of its store is not known yet."""


class Pause(msgspec.Struct, frozen=True):
    """A generation that is to stand first."""

    generation: int
    workers: tuple[WorkerId, ...]
    saves: bool = False
    """It leaves a checkpoint: the next one has another size, and can't use its memory snapshots."""


class Attempt(msgspec.Struct, frozen=True):
    """What came of forming a generation."""

    formed: tuple[Formed | Overtaken, ...]
    failed: str
    """Why it did not form, in one line; empty when it did."""
    stuck: tuple[WorkerId, ...]


class Gang(Protocol):
    """Starts workers on nodes and forms generations of them. All raise BackendError."""

    async def start_worker(
        self, spec: WorkerSpec, worker: WorkerId, node: NodeId, gpu: int, memory: str, within: Seconds
    ) -> WorkerStatus:
        """Start a worker, or find the one that was started already; returns once it is warm.

        One that is not warm within that time is killed, for nobody waits for it.
        """

    async def stop_worker(self, job: JobId, worker: WorkerId, within: Seconds) -> None:
        """Kill a worker, warm or not; gone already is fine."""

    async def end_workers(self, job: JobId, journal: str, within: Seconds) -> None:
        """Kill the workers that another journal, now lost, has left; returns when none is known."""

    async def statuses(
        self, job: JobId, workers: Sequence[WorkerId], within: Seconds
    ) -> Mapping[WorkerId, WorkerStatus]:
        """Ask workers how far they are; those that do not answer in time are left out."""

    async def form(
        self, job: JobId, members: Sequence[Member], pause: Pause | None, within: Seconds
    ) -> Attempt:
        """Form a generation of these members, rank 0 first; `pause` is the one that has to stand first."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One scheduler, as far as it can."""

    nodes: Nodes
    gang: Gang | None = None
    """None where it starts no ranks of ours: `job.world` is 0 then."""
