"""What is known of a node and of a job: frozen rows of the state's tables."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from sentinel.core.state.timers import Timer
from sentinel.model.fact import FindingReported, NodeCordoned, NodePinged, NodeSilent
from sentinel.model.finding import NODE, Finding, Health
from sentinel.model.ids import Cause, IncidentId, Instant, JobId, NodeId, Seconds, WorkerId
from sentinel.model.policy import Rung

OPERATOR = "operator"
"""By whom a human's drain is."""
SCHEDULER = "scheduler"
"""By whom a cordon is that somebody else, man or program, has set in the scheduler."""


_CRITICAL = Health.CRITICAL  # asked with each finding, and a member is slow to look up


class Cordon(Struct, frozen=True, gc=False):
    """Why nothing is placed on a node, and who said so."""

    by: str
    """`operator`, `scheduler`, or the incident's id."""
    reason: str
    at: Instant
    gently: bool = False
    """Ranks leave at a step boundary, and the node is emptied when none is left."""
    who: str = ""
    """The operator's name; empty where none asked, or an older release did not say."""
    found: tuple[tuple[str, str, str], ...] = ()
    """(check, code, component) of what a check had found, if that was why."""
    measured: tuple[str, ...] = ()
    """Collective checks that had found it."""

    @property
    def is_ours(self) -> bool:
        """Whether Sentinel decided it: what others have cordoned it neither counts nor takes back."""
        return self.by not in (OPERATOR, SCHEDULER)

    @property
    def said_by(self) -> str:
        """Whose word it is: `operator ann`, `scheduler`, or the incident's id."""
        return f"{self.by} {self.who}".rstrip()


class Silence(Struct, frozen=True):
    """Until when a node or a cause pages nobody, and who said so."""

    until: Instant
    who: str = ""
    """Empty where an older release did not say."""
    reason: str = ""


class Outside(Struct, frozen=True, gc=False):
    """What the scheduler was told of a node's cordon by us."""

    cordon: Cordon | None = None
    """The one that it may have: told, and not known to be taken back."""
    orders: int = 0
    """How often it was told; numbers the next time."""
    is_known: bool = True
    """What it was told last has ended well."""
    tries: int = 0
    """Times in a row that this failed."""
    since: Instant = 0.0
    """When it failed first."""
    why: str = ""
    """How it failed last."""


class Maintenance(Struct, frozen=True, gc=False):
    """Until when a node is expected to be silent, and who said so."""

    until: Instant
    who: str
    reason: str = ""


class ProofStage(StrEnum):
    """How far a proof is."""

    UNDER_WAY = "under way"
    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "could not be run"


class Proof(Struct, frozen=True, gc=False):
    """Whether a node that is out has shown that it is well: its newest proof."""

    who: str
    """Who asked for it; Sentinel itself after a repair of its own."""
    reason: str
    at: Instant
    """When."""
    left: tuple[str, ...] = ()
    """What is still to be run, in order: a collective check, or nothing for all of its agent's own."""
    order: str = ""
    """The action that is under way; empty while it waits for the node to be empty."""
    stage: ProofStage = ProofStage.UNDER_WAY
    said: str = ""
    """What it failed by, why it could not be run and what helps, or what was measured."""

    @property
    def waits(self) -> bool:
        """Whether its next part is to be ordered."""
        return self.is_under_way and not self.order

    @property
    def is_under_way(self) -> bool:
        """Whether it has no result yet."""
        return self.stage is ProofStage.UNDER_WAY


class Preflight(Struct, frozen=True, gc=False):
    """What a node that nobody needs is to be measured by, and how far that is."""

    left: tuple[str, ...]
    """Collective checks still to be run, in order."""
    order: str = ""
    """The action that is under way; empty while the next one waits for the node to be free."""
    doubted: str = ""
    """The check that found something, which counts if it does so twice."""
    said: str = ""
    """What was measured until now."""


class Measured(Struct, frozen=True, gc=False):
    """What one node measured last of one figure."""

    node: NodeId
    at: Instant
    values: tuple[float, ...]
    """Of each of its components."""
    under: str = ""
    """With which driver and libraries."""
    is_out: bool = False
    """It was out of use then, so that it is known to be an odd one."""


class Baseline(Struct, frozen=True, gc=False):
    """What nodes of one kind of hardware give of one figure."""

    measured: tuple[Measured, ...] = ()
    """Each node once, whoever measured last at the end."""
    usual: float = 0.0
    """Their median, as it was when it last changed; 0 while they are too few."""
    was: float = 0.0
    """What it was before that; 0 if it has not changed."""
    changed: Instant = 0.0
    """When that was seen."""


class Eviction(Struct, frozen=True, gc=False):
    """One of the times that a node was evicted."""

    at: Instant
    cause: str
    incident: str


def kernel_of(boot: str) -> str:
    """Return the kernel's part of a boot id, which is another one after the machine has started again."""
    return boot.rpartition("-")[0]


class Node(Struct, frozen=True, gc=False):
    """One machine with an agent."""

    id: NodeId
    address: str = ""
    port: int = 0
    gpus: int = 0
    boot: str = ""
    """Of the agent that said hello last."""
    heard: int = 0
    """The highest number of that agent's events that was heard: one reported again counts once."""
    cordon: Cordon | None = None
    drained: NodeCordoned | None = None
    """What the scheduler says of it: this counts while it has no other cordon."""
    maintained: Maintenance | None = None
    """Nothing is placed here until then, and what it looks like accuses nobody."""
    silent: bool = False
    fell: NodeSilent | None = None
    """How it fell silent last."""
    lives: bool = False
    """It is silent and its ranks are known to train: they keep their seats; nothing new comes here."""
    about: IncidentId | None = None
    """The incident that it is part of while it is silent."""
    pings: int = 0
    """How often it was pinged while it was silent; numbers the next ping."""
    pinged_before: int = 0
    """The same when it fell silent last."""
    evicts: int = 0
    """How often its eviction was ordered under the present cordon."""
    forgiven: int = 0
    """Of these, how many had been ordered when a human said last that it is to be tried again."""
    is_empty: bool = False
    """Its eviction under the present cordon has ended well."""
    outside: Outside = Outside()
    left: bool = False
    """Sentinel was taken off it; what else is known, such as a cordon, is kept until it joins again."""
    findings: Mapping[str, Finding] = {}
    """Health that is not ok now, by `check|code|component`; events are not kept here."""
    failures: tuple[Instant, ...] = ()
    """When its ranks crashed or hung; once per event, however many ranks it was."""
    app_xids: tuple[tuple[Instant, str], ...] = ()
    """(when, place) of application Xids of our ranks: a component, and what part of it if that is known."""
    link_errors: tuple[tuple[Instant, str], ...] = ()
    """(when, place) of NVLink errors that count from the second or third on one link."""
    contained: Mapping[str, int] = {}
    """Contained memory errors by component, since its error counter was 0."""
    recent: tuple[FindingReported, ...] = ()
    """The last findings of any kind, newest last: evidence that may have come before its symptom."""
    events: tuple[str, ...] = ()
    """Marks of the last events of any kind, newest last: one that is reported again is no news."""
    counts: Mapping[str, int] = {}
    """Of those that happened more than once, by their marks, how often they did."""
    vouched: Instant = 0.0
    """When a human took it back last, 0 if nobody did: events from before that are old."""
    pinged: NodePinged | None = None
    misstarts: int = 0
    """Workers in a row that did not start here."""
    shunned: bool = False
    """Whether those were so many that others are started elsewhere, until one starts here."""
    trusted: bool = False
    """Whether one is tried here all the same."""
    start_error: str = ""
    """Why the last of them did not start."""
    proof: Proof | None = None
    proves: int = 0
    """Orders of proofs ever given; numbers the next one."""
    probation: Instant = 0.0
    """Until when its first failure takes it out, after it came back by proof."""
    history: tuple[Eviction, ...] = ()
    """Its newest evictions, oldest first."""
    rungs: tuple[Rung, ...] = ()
    """Repairs that were tried under the present cordon."""
    repairing: str = ""
    """The repair that is under way; of a reboot until the node is back."""
    repairs: int = 0
    """Repairs ever ordered; numbers the next one."""
    preflight: Preflight | None = None
    """Its pre-flight, while one is due or under way."""
    preflights: int = 0
    """Orders of pre-flights ever given; numbers the next one."""
    preflight_at: Instant = 0.0
    """When the last one ended, 0 if none has since the machine has started."""
    preflight_said: str = ""
    """What came of that, in words."""
    labels: Mapping[str, str] = {}
    """Domains that it is in, each of which may fail as a whole: kind → name."""

    @property
    def usable(self) -> bool:
        """True when a rank may be placed here."""
        return not (self.cordon or self.maintained or self.silent or self.left or self.is_unfit)

    @property
    def is_unfit(self) -> bool:
        """Whether a finding accuses the node as a whole: nothing is placed here until it has passed."""
        return bool(self.findings) and NODE in self.accused

    @property
    def may_lack(self) -> bool:
        """Whether anything can be missing here at all: of most nodes there is nothing to ask."""
        known = self.silent or self.cordon is not None or self.preflight is not None
        return known or self.lacks_telling

    @property
    def is_kept_out(self) -> bool:
        """Whether a cordon is on it that the scheduler can't know by itself."""
        return self.cordon is not None and self.cordon.by != SCHEDULER

    @property
    def to_scheduler(self) -> str:
        """What the scheduler is to know of it, in words."""
        return "cordoned" if self.is_kept_out else "given back"

    @property
    def lacks_telling(self) -> bool:
        """Whether the scheduler may have it otherwise."""
        return not self.outside.is_known or self.is_kept_out != (self.outside.cordon is not None)

    @property
    def accused(self) -> frozenset[str]:
        """Components that a finding accuses, such as `gpu-3`, or `node`: no rank is placed there."""
        return frozenset([f.component for f in self.findings.values() if f.health is _CRITICAL])

    @property
    def is_proved(self) -> bool:
        """Whether a proof of it is under way."""
        return self.proof is not None and self.proof.is_under_way

    @property
    def may_start(self) -> bool:
        """True when a worker may be started here."""
        return self.usable and (self.trusted or not self.shunned)

    @property
    def may_spare(self) -> bool:
        """True when a rank may be placed here, as far as is known: workers start."""
        return self.usable and self.gpus > 0 and not self.shunned


UNPROVED = {"proof": None, "probation": 0.0, "rungs": (), "repairing": ""}
"""What a node says that has shown nothing, and on which nothing was tried, since it went out or came back."""

STARTS = {"misstarts": 0, "shunned": False, "trusted": False, "start_error": ""}
"""What a node says on which workers start, as far as is known."""


class JobStage(StrEnum):
    """What a job is doing."""

    WAITING = "waiting"
    """For workers or nodes."""
    FORMING = "forming"
    """A generation is ordered and has no new step yet."""
    RUNNING = "running"
    BROKEN = "broken"
    """A rank failed and no new generation is ordered yet."""
    STOPPED = "stopped"
    FINISHED = "finished"
    """All its ranks ended with 0."""


class Want(Struct, frozen=True, gc=False):
    """How a job's next generation is to be formed, and for which incident's sake."""

    incident: IncidentId
    replace: tuple[WorkerId, ...] = ()
    """Workers whose place another one gets."""
    elsewhere: bool = False
    """On another node, where that costs no rank its place."""
    replay: bool = False
    """The failed step is run once more, to compare."""
    gently: bool = False
    """The running generation goes on until this one can take over at a step boundary."""


class Job(Struct, frozen=True, gc=False):
    """One training job; its workers are in the state's table of workers."""

    id: JobId
    world: int
    min_world: int
    standbys: int
    trainable: str = ""
    wanted: int = 0
    """World size asked for; `world` may shrink."""
    priority: int = 0
    """Who has more is planned first; of equal ones, who was submitted first."""
    stage: JobStage = JobStage.WAITING
    generation: int = 0
    born: int = 0
    """Workers ever started; numbers the next one."""
    journal: str = ""
    """Ends their names; empty where nobody said which journal this is."""
    watched: bool = False
    """Somebody else starts its ranks: where they sit is seen, and not ordered."""
    restarts: bool = False
    """A command starts it again, if it is watched."""
    restarted: int = -1
    """The generation for whose sake that command ran last: it does so once for each."""
    high_step: int = -1
    advanced: Instant = 0.0
    """When its generation had its first new step."""
    median_step_s: Seconds = 0.0
    """As last told; 0 while nobody knows."""
    usual_step_s: Seconds = 0.0
    """What its steps took before they were told to be slow; 0 while they are not."""
    paced_s: Seconds = 0.0
    """What they took before it broke; 0 while nobody knows, or while that says nothing any more."""
    flaps: int = 0
    """Breaks in a row, each after a new step, that nobody was to blame for."""
    flapped: Instant = 0.0
    """When the last of them was answered."""
    paused: int = -1
    """The generation that broke before its last pause."""
    skip: tuple[int, ...] = ()
    shrunk: tuple[IncidentId, ...] = ()
    """For which incidents' sake it went on with fewer ranks, since it was last as large as wanted."""
    want: "Want | None" = None
    """Its next generation, while it is not ordered."""
    lacking: int = 0
    """How many workers must become ready before seating again is worth its time."""
    warms_s: Seconds = 0.0
    """How long its last worker took from being started until it was warm; 0 while none has been."""
    stopped_at: Instant = 0.0
    """When it was stopped; who gets ready later is stopped, too."""
    halted: str = ""
    """Which human stops it, and why; empty for none."""
    slow: tuple[tuple[Instant, int, NodeId], ...] = ()
    """When which rank was reported to be slow on which node: its work is uneven if it is so on every node."""
    straggler: int = -1
    """The rank that was reported to be slow in this generation, until it keeps up."""
    causes: Mapping[Cause, tuple[Instant, int]] = {}
    """When each cause was last diagnosed of it, and which generation that had broken."""
    failed: tuple[tuple[Instant, int, NodeId, int], ...] = ()
    """When which rank crashed or hung on which node in which generation, and nothing else explains it.

    It is its own work if that follows it to another node.
    """

    @property
    def is_over(self) -> bool:
        """Whether nothing is to be done for it any more: it finished, or was stopped."""
        return self.stage in (JobStage.STOPPED, JobStage.FINISHED)

    def slow_places(self, rank: int, since: Instant) -> set[NodeId]:
        """Nodes on which this rank was slow."""
        return {node for at, each, node in self.slow if each == rank and at > since}

    @property
    def upkeep(self) -> IncidentId:
        """In whose name work is done that is done for no incident's sake."""
        return IncidentId(f"upkeep-{self.id}")

    @property
    def starts(self) -> bool:
        """Whether it is only being started: nothing has gone wrong with it yet."""
        new = self.stage is JobStage.WAITING if self.want is None else self.want.incident == self.upkeep
        return new and self.high_step < 0

    @property
    def is_degraded(self) -> bool:
        """Whether it goes on with fewer ranks than wanted."""
        return not self.is_over and self.world < self.wanted

    def deadline(self) -> str:
        """Name of the deadline by which the present generation must have made a new step."""
        return Timer.RESUME.of(self.id, self.generation)


ANEW = {
    "shrunk": (),
    "halted": "",
    "high_step": -1,
    "median_step_s": 0.0,
    "paced_s": 0.0,
    "causes": {},
    "flaps": 0,
}
"""What a job says of which nothing is known yet, because it is started anew."""
