"""Everything that the controller can do. Doing an action twice is harmless: its id says which it is."""

from dataclasses import dataclass
from typing import TypeAlias

from sentinel.model.ids import ActionId, IncidentId, JobId, NodeId, Seconds, WorkerId


@dataclass(frozen=True, slots=True)
class Page:
    """Open or edit the incident's one message; a higher revision replaces a lower one."""

    id: ActionId
    incident: IncidentId
    revision: int
    title: str
    body: str
    stage: str
    """`open | mitigating | resolved`"""
    thread: str = ""
    """Details for the message's thread, posted once per revision; empty for none."""


@dataclass(frozen=True, slots=True)
class Evict:
    """Cordon the node, stop its ranks and give their places away."""

    id: ActionId
    incident: IncidentId
    node: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class Readmit:
    """Take a cordon back."""

    id: ActionId
    incident: IncidentId
    node: NodeId


@dataclass(frozen=True, slots=True)
class Seat:
    """One rank's place in a generation."""

    rank: int
    worker: WorkerId
    node: NodeId
    gpu: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Form a generation of the gang from these workers and go on from the newest good state."""

    id: ActionId
    incident: IncidentId
    job: JobId
    generation: int
    seats: tuple[Seat, ...]
    replay: bool = False
    """Run the failed step once more and compare before going on."""
    pause: tuple[WorkerId, ...] = ()
    """Workers of the running generation that stop at their next step boundary first: no step is lost."""
    skip: tuple[int, ...] = ()
    """Steps whose batch is left out."""


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Start a warm standby on a node."""

    id: ActionId
    incident: IncidentId
    job: JobId
    worker: WorkerId
    node: NodeId
    gpu: int
    """Where it warms up; -1 if its node tells of no GPU."""
    generation: int


@dataclass(frozen=True, slots=True)
class StopWorker:
    """End a worker process, stopped or not: SIGKILL through its agent, and its actor's name freed."""

    id: ActionId
    incident: IncidentId
    job: JobId
    worker: WorkerId
    node: NodeId
    pid: int


@dataclass(frozen=True, slots=True)
class StopJob:
    """End all ranks of a job and do not resume it."""

    id: ActionId
    incident: IncidentId
    job: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class CollectStacks:
    """Dump the stacks of these processes without stopping them; the outcome's data are the stacks."""

    id: ActionId
    incident: IncidentId
    processes: tuple[tuple[NodeId, int, int], ...]
    """(node, rank, pid)"""
    deadline: Seconds


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask a node's agent to run all its quick checks now."""

    id: ActionId
    incident: IncidentId
    node: NodeId


@dataclass(frozen=True, slots=True)
class Reach:
    """Look at a silent node from the controller: its agent's door, its raylet's, its ranks through Ray."""

    id: ActionId
    incident: IncidentId
    node: NodeId


@dataclass(frozen=True, slots=True)
class RestartAgent:
    """Start the agent of a node whose agent is dead."""

    id: ActionId
    incident: IncidentId
    node: NodeId


@dataclass(frozen=True, slots=True)
class RestartGcs:
    """Bring Ray's GCS back from its durable store."""

    id: ActionId
    incident: IncidentId


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was not done, and why; recorded like an action, performed by nobody."""

    id: ActionId
    incident: IncidentId
    wanted: str
    reason: str


Action: TypeAlias = (
    Page
    | Evict
    | Readmit
    | Resume
    | StartWorker
    | StopWorker
    | StopJob
    | CollectStacks
    | Probe
    | Reach
    | RestartAgent
    | RestartGcs
    | Refusal
)


def action_id(incident: str, kind: str, target: str, attempt: int) -> ActionId:
    """Identity of an action: the same (incident, kind, target, attempt) is the same deed."""
    return ActionId(f"{incident}/{kind}/{target}/{attempt}")
