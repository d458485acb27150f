"""Everything that the controller can do. Doing an action twice is harmless: its id says which it is."""

from typing import TypeAlias

from msgspec import Struct

from sentinel.model.ids import ActionId, IncidentId, JobId, NodeId, Seconds, WorkerId
from sentinel.model.noun import Noun
from sentinel.model.policy import Rung


class Deed(Noun, frozen=True):
    """What all actions have in common, so that one question tells them from what nobody performs."""

    id: ActionId
    incident: IncidentId


class Page(Deed, frozen=True):
    """Open or edit the incident's one message; a higher revision replaces a lower one."""

    revision: int
    title: str
    body: str
    stage: str
    """`open | mitigating | resolved`"""
    thread: str = ""
    """Details for the message's thread, posted once per revision; empty for none."""
    cause: str = ""
    """The runbook's name; empty where none is known."""
    severity: str = ""
    """`critical | warning | info`; empty where an older release did not say."""
    job: str = ""
    """Whose trouble it is; empty if no job's. This and what follows is known on the page's way out."""
    nodes: tuple[str, ...] = ()
    """Those that are suspected."""
    acked_by: str = ""
    """Who has said that they have it; empty until somebody does."""
    asked: str = ""
    """Who was asked and who is next, in a line."""
    news: str = ""
    """What it is instead, such as `Morning digest`, where it is no incident's page and wakes nobody."""


class CordonNode(Deed, frozen=True):
    """Have the scheduler place nothing new on a node."""

    node: NodeId
    reason: str
    """Who wants it so, and why."""


class Evict(Deed, frozen=True):
    """Empty a node that is cordoned: stop what runs there and give the places away."""

    node: NodeId
    reason: str


class Readmit(Deed, frozen=True):
    """Take back what a `CordonNode` did."""

    node: NodeId


OfCordon: TypeAlias = CordonNode | Readmit
"""What the scheduler is told of a node."""


class Seat(Struct, frozen=True, gc=False):
    """One rank's place in a generation."""

    rank: int
    worker: WorkerId
    node: NodeId
    gpu: int


class Resume(Deed, frozen=True):
    """Form a generation of the gang from these workers and go on from the newest good state."""

    job: JobId
    generation: int
    seats: tuple[Seat, ...]
    replay: bool = False
    """Run the failed step once more and compare before going on."""
    pause: tuple[WorkerId, ...] = ()
    """Workers of the running generation that stop at their next step boundary first: no step is lost."""
    skip: tuple[int, ...] = ()
    """Steps whose batch is left out."""


class RestartJob(Deed, frozen=True):
    """Run the command that starts a watched job again: what is left of its ranks is that command's to end."""

    job: JobId
    generation: int
    """The one that broke."""
    cause: str
    avoid: tuple[NodeId, ...]
    """Nodes on which nothing is to be placed now."""


class StartWorker(Deed, frozen=True):
    """Start a warm standby on a node."""

    job: JobId
    worker: WorkerId
    node: NodeId
    gpu: int
    """Where it warms up; -1 if its node tells of no GPU."""
    generation: int


class StopWorker(Deed, frozen=True):
    """End a worker process, stopped or not: SIGKILL through its agent, and its actor's name freed."""

    job: JobId
    worker: WorkerId
    node: NodeId
    pid: int


class StopJob(Deed, frozen=True):
    """End all ranks of a job and do not resume it."""

    job: JobId
    reason: str


class CollectStacks(Deed, frozen=True):
    """Dump the stacks of these processes without stopping them; the outcome's data are the stacks."""

    processes: tuple[tuple[NodeId, int, int], ...]
    """(node, rank, pid)"""
    deadline: Seconds


class Probe(Deed, frozen=True):
    """Have a node's agent run all its quick checks now, or `members` measure together for one check."""

    node: NodeId
    """Empty if it is a collective check that is asked, but for the pre-flight of an idle node."""
    check: str = ""
    """The collective check; empty for a node's quick checks."""
    members: tuple[NodeId, ...] = ()
    deadline: Seconds = 0.0
    """What is not measured after so long is not waited for."""


class Ping(Deed, frozen=True):
    """Ping a silent node from the controller: its agent's port, its raylet's, its ranks through Ray."""

    node: NodeId


class Prove(Deed, frozen=True):
    """Have a node that is out and empty show that it is well: by all its own checks, or a collective one."""

    node: NodeId
    check: str = ""
    """The collective check; empty for all that its agent runs."""
    members: tuple[NodeId, ...] = ()
    """Who measures together."""
    deadline: Seconds = 0.0


class CallOff(Deed, frozen=True):
    """Have a node stop at once what it measures for a `Probe` of its own: it is needed."""

    node: NodeId
    probe: ActionId


class Repair(Deed, frozen=True):
    """Try one rung of the ladder on a node that is out and empty."""

    node: NodeId
    rung: Rung
    gpus: tuple[int, ...] = ()
    """Those that are to be reset."""


class RestartAgent(Deed, frozen=True):
    """Start the agent of a node whose agent is dead."""

    node: NodeId


class RestartGcs(Deed, frozen=True):
    """Bring Ray's GCS back from its durable store."""


class Refusal(Deed, frozen=True):
    """What was not done, and why; recorded like an action, performed by nobody."""

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
    | Prove
    | CallOff
    | Repair
    | RestartAgent
    | RestartGcs
    | Refusal
)

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
    "prove",
    "call-off",
    "repair",
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
