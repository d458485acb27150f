"""Everything that the controller can do. Doing an action twice is harmless: its id says which it is."""

from typing import TypeAlias, get_args

from msgspec import Struct

from sentinel.model.ids import ActionId, IncidentId, JobId, NodeId, Seconds, WorkerId
from sentinel.model.noun import Noun


class Page(Noun, frozen=True):
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
    cause: str = ""
    """The runbook's name; empty where none is known."""


class CordonNode(Noun, frozen=True):
    """Have the scheduler place nothing new on a node."""

    id: ActionId
    incident: IncidentId
    node: NodeId
    reason: str
    """Who wants it so, and why."""


class Evict(Noun, frozen=True):
    """Empty a node that is cordoned: stop what runs there and give the places away."""

    id: ActionId
    incident: IncidentId
    node: NodeId
    reason: str


class Readmit(Noun, frozen=True):
    """Take back what a `CordonNode` did."""

    id: ActionId
    incident: IncidentId
    node: NodeId


class Seat(Struct, frozen=True):
    """One rank's place in a generation."""

    rank: int
    worker: WorkerId
    node: NodeId
    gpu: int


class Resume(Noun, frozen=True):
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


class RestartJob(Noun, frozen=True):
    """Run the command that starts a watched job again: what is left of its ranks is that command's to end."""

    id: ActionId
    incident: IncidentId
    job: JobId
    generation: int
    """The one that broke."""
    cause: str
    avoid: tuple[NodeId, ...]
    """Nodes on which nothing is to be placed now."""


class StartWorker(Noun, frozen=True):
    """Start a warm standby on a node."""

    id: ActionId
    incident: IncidentId
    job: JobId
    worker: WorkerId
    node: NodeId
    gpu: int
    """Where it warms up; -1 if its node tells of no GPU."""
    generation: int


class StopWorker(Noun, frozen=True):
    """End a worker process, stopped or not: SIGKILL through its agent, and its actor's name freed."""

    id: ActionId
    incident: IncidentId
    job: JobId
    worker: WorkerId
    node: NodeId
    pid: int


class StopJob(Noun, frozen=True):
    """End all ranks of a job and do not resume it."""

    id: ActionId
    incident: IncidentId
    job: JobId
    reason: str


class CollectStacks(Noun, frozen=True):
    """Dump the stacks of these processes without stopping them; the outcome's data are the stacks."""

    id: ActionId
    incident: IncidentId
    processes: tuple[tuple[NodeId, int, int], ...]
    """(node, rank, pid)"""
    deadline: Seconds


class Probe(Noun, frozen=True):
    """Have a node's agent run all its quick checks now, or `members` measure together for one check."""

    id: ActionId
    incident: IncidentId
    node: NodeId
    """Empty if it is a collective check that is asked."""
    check: str = ""
    """The collective check; empty for a node's quick checks."""
    members: tuple[NodeId, ...] = ()
    deadline: Seconds = 0.0
    """What is not measured after so long is not waited for."""


class Ping(Noun, frozen=True):
    """Ping a silent node from the controller: its agent's port, its raylet's, its ranks through Ray."""

    id: ActionId
    incident: IncidentId
    node: NodeId


class RestartAgent(Noun, frozen=True):
    """Start the agent of a node whose agent is dead."""

    id: ActionId
    incident: IncidentId
    node: NodeId


class RestartGcs(Noun, frozen=True):
    """Bring Ray's GCS back from its durable store."""

    id: ActionId
    incident: IncidentId


class Refusal(Noun, frozen=True):
    """What was not done, and why; recorded like an action, performed by nobody."""

    id: ActionId
    incident: IncidentId
    wanted: str
    reason: str
    guard: str = ""
    """Which guard said no: what it refuses is on record once, until it has allowed it in between."""


Action: TypeAlias = (
    Page
    | CordonNode
    | Evict
    | Readmit
    | Resume
    | RestartJob
    | StartWorker
    | StopWorker
    | StopJob
    | CollectStacks
    | Probe
    | Ping
    | RestartAgent
    | RestartGcs
    | Refusal
)

DEEDS = get_args(Action)
"""Their classes, for `isinstance`."""

KINDS = (
    "page",
    "cordon",
    "evict",
    "readmit",
    "resume",
    "restart-job",
    "start-worker",
    "stop-worker",
    "stop-job",
    "stacks",
    "probe",
    "ping",
    "restart-agent",
    "restart-gcs",
)
"""Kinds as action ids name them; a refusal is no action."""


def action_id(incident: str, kind: str, target: str, attempt: int) -> ActionId:
    """Identity of an action: the same (incident, kind, target, attempt) is the same deed."""
    return ActionId(f"{incident}/{kind}/{target}/{attempt}")


def kind_of(action: ActionId) -> str:
    """Give an action's kind: ids read `incident/kind/target/attempt`."""
    return action.split("/", 2)[1] if "/" in action else action
