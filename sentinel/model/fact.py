"""Everything that the controller can learn. Facts are journalled; nothing else is believed."""

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from sentinel.model.collective import Held, MemberFinding, MemberSample
from sentinel.model.finding import Finding
from sentinel.model.ids import ActionId, IncidentId, Instant, JobId, NodeId, Seconds, WorkerId
from sentinel.model.noun import Noun
from sentinel.model.report import RankBeat


class Origin(Struct, frozen=True, gc=False):
    """Which agent's event a fact is made of: an agent tells each until it is acknowledged."""

    source: NodeId
    epoch: str
    """The agent's boot: the next agent counts anew."""
    number: int


class NodeJoined(Noun, frozen=True):
    """An agent introduced itself, for the first time or after a restart."""

    at: Instant
    node: NodeId
    address: str
    port: int
    gpus: int
    boot: str
    labels: Mapping[str, str] = {}
    """Where it sits and what it runs, by kind of domain: `rack` → `r12`."""


class NodeSilent(Noun, frozen=True):
    """No report of this node for longer than the policy allows."""

    at: Instant
    node: NodeId
    silent_s: Seconds
    others_silent: int
    """How many other nodes are silent at this moment."""
    nodes: int


class NodeLeft(Noun, frozen=True):
    """An operator takes Sentinel off this node: that it is silent is no news until it joins again."""

    at: Instant
    node: NodeId


class NodeHeard(Noun, frozen=True):
    """A silent node reports again."""

    at: Instant
    node: NodeId


class NodeCordoned(Noun, frozen=True):
    """Somebody else has the scheduler place nothing on a node; told anew when they say something else."""

    at: Instant
    node: NodeId
    by: str
    reason: str


class NodeUncordoned(Noun, frozen=True):
    """The scheduler has no cordon of anybody else on a node any more."""

    at: Instant
    node: NodeId


class NodePinged(Noun, frozen=True):
    """What the controller's ping of a silent node found: `ok | refused | timeout | unknown` for each port."""

    at: Instant
    node: NodeId
    agent: str
    raylet: str
    step: int
    """Newest step that its ranks answered through Ray with, -1 if none answered."""
    incident: IncidentId | None = None


class FindingReported(Noun, frozen=True):
    """An agent's check found a change."""

    at: Instant
    node: NodeId
    finding: Finding
    origin: Origin | None = None
    """None in journals of before, and where no agent told it; so it is for the other facts that have one."""

    @property
    def happened(self) -> Instant:
        """When what was found happened last: before it was reported, if nobody was there to see."""
        return self.at - self.finding.age_s


class NodeProbed(Noun, frozen=True):
    """The immediate probe of a node is complete; its findings came before this fact."""

    at: Instant
    node: NodeId
    reason: str
    origin: Origin | None = None
    checks: tuple[str, ...] = ()
    """Those that were run; empty where an older release did not say."""
    missing: tuple[str, ...] = ()
    """Those that gave no answer in time."""


class MembersProbed(Noun, frozen=True):
    """Nodes have measured together for a collective check, and its judge has seen all that came of it."""

    at: Instant
    action: ActionId
    """The probe that asked."""
    incident: IncidentId
    """For whose sake; empty if an operator asked."""
    check: str
    samples: tuple[MemberSample, ...]
    findings: tuple[MemberFinding, ...]
    error: str = ""
    """Why the judge has no opinion; empty if it has one."""
    who: str = ""
    """The operator who asked, to whom it was told: it is evidence of nothing else."""
    held: tuple[Held, ...] = ()
    """What of it can be compared with other nodes, and how it stood beside them then."""


class WorkerReady(Noun, frozen=True):
    """A worker process is warm and waits to become a rank."""

    at: Instant
    job: JobId
    worker: WorkerId
    node: NodeId
    gpu: int
    pid: int


class WorkerStopped(Noun, frozen=True):
    """A standby's process stands still: it is not warm any more."""

    at: Instant
    job: JobId
    worker: WorkerId
    node: NodeId
    state: str
    """Process state letter from /proc."""
    beat_age_s: Seconds


class WorkerRuns(Noun, frozen=True):
    """A standby that stood still runs again."""

    at: Instant
    job: JobId
    worker: WorkerId
    node: NodeId


class RankExited(Noun, frozen=True):
    """A worker process ended; rank -1 for a standby."""

    at: Instant
    job: JobId
    rank: int
    worker: WorkerId
    node: NodeId
    gpu: int
    pid: int
    generation: int
    how: str
    origin: Origin | None = None
    age_s: Seconds = 0.0
    """How long before that was; 0 where it was told at once, or an older release did not say."""

    @property
    def happened(self) -> Instant:
        """When the process ended: before it was told, if nobody was there to hear."""
        return self.at - self.age_s


class RankRaised(Noun, frozen=True):
    """A rank's training ended with an exception while its process lives on."""

    at: Instant
    job: JobId
    rank: int
    worker: WorkerId
    node: NodeId
    gpu: int
    pid: int
    generation: int
    step: int
    kind: str
    """`user | collective | nan | miscomputed | restore | start`; of the last rank, generation, step are -1"""
    error: str
    traceback: str
    values: tuple[float, ...] = ()
    origin: Origin | None = None
    age_s: Seconds = 0.0
    """How long before that was; 0 where it was told at once, or an older release did not say."""

    @property
    def happened(self) -> Instant:
        """When it was raised: before it was told, if nobody was there to hear."""
        return self.at - self.age_s


class JobStalled(Noun, frozen=True):
    """No rank has completed a step for longer than the policy allows; the beats decide who is behind."""

    at: Instant
    job: JobId
    generation: int
    stalled_s: Seconds
    median_step_s: Seconds
    beats: tuple[RankBeat, ...]
    nodes: tuple[NodeId, ...]
    """The node of each beat, in the same order."""

    @property
    def happened(self) -> Instant:
        """When its last step was made."""
        return self.at - self.stalled_s


class JobAdvanced(Noun, frozen=True):
    """The first new step of a generation: one that was never completed before."""

    at: Instant
    job: JobId
    generation: int
    step: int


class JobUnderway(Noun, frozen=True):
    """A forming generation has no new step yet, and is on its way to one: it loads or repeats old steps."""

    at: Instant
    job: JobId
    generation: int
    step: int
    """Newest completed step of this generation, -1 before the first."""


class JobPaced(Noun, frozen=True):
    """How long a job's steps take: told once that is known, and when it has changed much."""

    at: Instant
    job: JobId
    median_step_s: Seconds


class RankSlow(Noun, frozen=True):
    """One rank needs longer outside collectives than its peers, step after step."""

    at: Instant
    job: JobId
    rank: int
    node: NodeId
    gpu: int
    generation: int
    outside_s: Seconds
    peers_s: Seconds
    steps: int


class RankAtPace(Noun, frozen=True):
    """A rank that was reported to be slow has kept up with its peers, for as many steps."""

    at: Instant
    job: JobId
    rank: int
    node: NodeId
    generation: int
    steps: int


class RankLooks(Struct, frozen=True, gc=False):
    """How often a rank was looked at, and was what the others waited for."""

    rank: int
    node: NodeId
    gpu: int
    looks: int
    held: int
    """Looks at which it was stopped, or all others had entered a collective that it had not."""
    stopped: int
    """Of these, at which it was stopped or stuck in the kernel, or its beat thread stood still."""
    usual: float
    """Share of the looks at which it is held while the job keeps its usual pace."""


class JobSlowed(Noun, frozen=True):
    """All of a job's steps take much longer than they usually do; told once a generation."""

    at: Instant
    job: JobId
    generation: int
    step_s: Seconds
    usual_s: Seconds
    for_s: Seconds
    """How long that has gone on."""
    steps: int
    """Steps in that time."""
    outside_s: Seconds
    """Time of a step that even the rank with the least of it spends outside collectives."""
    usual_outside_s: Seconds
    ranks: tuple[RankLooks, ...] = ()
    """Ranks that were held more than they usually are, the most held first."""


class JobAtPace(Noun, frozen=True):
    """A job that was slow keeps its usual pace again, or has been slow for so long that this is usual."""

    at: Instant
    job: JobId
    generation: int
    step_s: Seconds
    usual_s: Seconds


class GcsLost(Noun, frozen=True):
    """Ray's GCS does not answer."""

    at: Instant
    address: str
    detail: str
    silent_s: Seconds = 0.0
    """How long it had not answered by then, as far as anybody counted."""


class GcsBack(Noun, frozen=True):
    """Ray's GCS answers again."""

    at: Instant
    address: str


class LinkLost(Noun, frozen=True):
    """The ray link has ended or hangs: nothing can be done in Ray until there is another one."""

    at: Instant
    detail: str
    silent_s: Seconds = 0.0
    """How long it had not answered by then, if it hung."""


class LinkBack(Noun, frozen=True):
    """A ray link has joined Ray."""

    at: Instant


class JobSubmitted(Noun, frozen=True):
    """An operator or the configuration asks for a job."""

    at: Instant
    job: JobId
    world: int
    trainable: str
    standbys: int
    """Warm standbys to keep per node."""
    min_world: int
    journal: str = ""
    """Ends the names of its workers, so that those of another journal are never taken for them."""
    priority: int = 0
    """Of jobs that want the same GPUs the one with the highest gets them; it preempts none that runs."""
    watched: bool = False
    """Somebody else starts it: its ranks are seen, not seated."""
    restarts: bool = False
    """A watched one can be started again by a command."""


class RankSeen(Struct, frozen=True, gc=False):
    """Where a rank was seen that Sentinel did not start."""

    rank: int
    worker: WorkerId
    node: NodeId
    gpu: int
    pid: int


class GangSeen(Noun, frozen=True):
    """All ranks of a job that somebody else started beat, and they are not those of before."""

    at: Instant
    job: JobId
    ranks: tuple[RankSeen, ...]
    """By rank, from 0 on."""


class Commanded(Noun, frozen=True):
    """An operator's word, one of `core.commands.CommandName`."""

    at: Instant
    command: str
    target: str
    who: str
    reason: str = ""
    until: Instant = 0.0


class Outcome(Noun, frozen=True):
    """What became of an action."""

    at: Instant
    action: ActionId
    ok: bool
    detail: str
    data: tuple[str, ...] = ()
    """Evidence that the action produced, such as stacks."""


class DeadlinePassed(Noun, frozen=True):
    """A deadline that `decide` itself set has passed."""

    at: Instant
    deadline: str


class ControllerStarted(Noun, frozen=True):
    """A controller took over this journal; nobody is silent before a grace period has passed."""

    at: Instant
    pid: int
    policy_hash: str
    runbooks_hash: str
    incidents: int = 0
    """Highest number of an incident in the logbook: a journal that is new beside it goes on from there."""
    away_s: Seconds = 0.0
    """Since the journal's last line: at most for so long there was no controller."""


class ControllerPaused(Noun, frozen=True):
    """The controller stood still, stopped or starved, and goes on: what it did not see proves nothing."""

    at: Instant
    for_s: Seconds


class DefectMet(Noun, frozen=True):
    """Sentinel has a defect: a fact could not be learned, or nothing be decided from it. Actions freeze."""

    at: Instant
    where: str
    """The module of Sentinel in which it showed."""
    fact: str
    """The kind of fact."""
    error: str


class JournalFailed(Noun, frozen=True):
    """The journal's disk is full or failing: actions freeze, training goes on."""

    at: Instant
    detail: str


class JournalBack(Noun, frozen=True):
    """The journal took everything again that was kept while it failed."""

    at: Instant


Fact: TypeAlias = (
    NodeJoined
    | NodeSilent
    | NodeLeft
    | NodeHeard
    | NodeCordoned
    | NodeUncordoned
    | NodePinged
    | FindingReported
    | NodeProbed
    | MembersProbed
    | WorkerReady
    | WorkerStopped
    | WorkerRuns
    | RankExited
    | RankRaised
    | JobStalled
    | JobAdvanced
    | JobUnderway
    | JobPaced
    | RankSlow
    | RankAtPace
    | JobSlowed
    | JobAtPace
    | GcsLost
    | GcsBack
    | LinkLost
    | LinkBack
    | JobSubmitted
    | GangSeen
    | Commanded
    | Outcome
    | DeadlinePassed
    | ControllerStarted
    | ControllerPaused
    | DefectMet
    | JournalFailed
    | JournalBack
)
