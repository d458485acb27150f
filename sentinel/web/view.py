"""What the pages show: plain frozen values that the controller fills in."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from msgspec import Struct

from sentinel.core.state.rows import Baseline
from sentinel.logbook.row import Row, as_of
from sentinel.logbook.tally import Entry
from sentinel.model.collective import Held, MemberFinding, MemberSample
from sentinel.model.finding import Health
from sentinel.model.ids import Instant, NodeId, Seconds
from sentinel.model.severity import Severity


@dataclass(frozen=True, slots=True)
class NodeView:
    """One machine as the controller sees it now."""

    node: str
    health: Health
    """The worst of its findings; `unknown` for a node that never reported."""
    report_age_s: Seconds | None
    """Since its newest report, None before the first."""
    silent: bool = False
    cordon: str = ""
    """Why nothing is placed here, and who said so; empty when it is schedulable."""
    maintained: str = ""
    """Who expects it to be silent, and why; empty for nobody."""
    maintained_s: Seconds = 0.0
    """For how much longer."""
    gpus: int = 0
    findings: tuple[str, ...] = ()
    """What is not ok, one line each."""
    full: str = ""
    """What a cordoned node waits for until no process of a job is left there; empty when none is."""
    spare: bool = False
    """It could take ranks now, and has none."""
    metrics: str = ""
    """`host:port` of its agent's metrics; empty where it serves none, or has not said hello yet."""
    proof: str = ""
    """How far its newest proof is that it is well, who asked for it, and what came of it; empty for none."""
    proof_stage: str = ""
    """`under way | passed | failed | could not be run`; empty for none."""
    proof_at: Instant = 0.0
    """When that was asked for; 0 for none."""
    probation_s: Seconds = 0.0
    """For how much longer its first failure takes it out, after it came back by proof."""
    repairing: str = ""
    """The repair that is under way, such as `gpu-reset`; empty for none."""

    @property
    def needs_a_look(self) -> bool:
        """Whether anything is to be said of it."""
        return bool(self.silent or self.cordon or self.maintained or self.health is not Health.OK)


class SeatView(Struct, frozen=True, gc=False):
    """One rank's place and where it is in training."""

    rank: int
    node: str
    gpu: int
    worker: str
    step: int = -1
    phase: str = ""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What the heartbeats of a job's seated ranks say at this moment."""

    heard: int = 0
    """Ranks whose heartbeat is no older than `policy.silent_s`."""
    age_s: Seconds | None = None
    """Since the newest of them; None before the first."""
    phases: Mapping[str, int] = field(default_factory=dict)
    """How many ranks are in which phase."""
    outside_s: tuple[Seconds, Seconds, Seconds] | None = None
    """Time of the last step that ranks spent outside collectives: least, median, most; None if none says."""
    checkpoint_step: int = -1
    """Newest step whose durable checkpoint a rank has told to be complete."""


@dataclass(frozen=True, slots=True)
class JobView:
    """One training job."""

    job: str
    stage: str
    """`waiting | forming | running | broken | stopped | finished`"""
    generation: int
    step: int
    """Last step completed by all ranks, -1 before the first."""
    wanted: int
    """World size asked for; fewer seats mean that the job has shrunk."""
    seats: tuple[SeatView, ...] = ()
    standbys: tuple[tuple[str, str], ...] = ()
    """(worker, node) of every warm standby."""
    losses: tuple[tuple[int, float], ...] = ()
    """(step, global mean loss) of recent steps, oldest first."""
    median_step_s: Seconds | None = None
    step_age_s: Seconds | None = None
    """Since the last new step."""
    snapshot_step: int = -1
    """Newest step that a complete memory snapshot holds."""
    needs: str = ""
    """What a job that does not train waits for; empty for any other."""
    grows: str = ""
    """What a job with fewer ranks than wanted waits for; empty for any other."""
    watched: bool = False
    """Somebody else started it."""
    pulse: Pulse = Pulse()
    tokens_per_s: float | None = None
    """At the present pace; None where the settings do not say how many a step has."""
    flops_share: float | None = None
    """Of the ranks' peak arithmetic, 0 to 1; None where the settings do not say what a step needs."""

    @property
    def is_degraded(self) -> bool:
        """Whether it goes on with fewer ranks than wanted."""
        return self.stage in ("running", "forming") and len(self.seats) < self.wanted


@dataclass(frozen=True, slots=True)
class IncidentView:
    """One incident that is not resolved."""

    incident: str
    opened: Instant
    stage: str
    title: str
    cause: str = ""
    """Empty until diagnosed."""
    where: str = ""
    why: str = ""
    confidence: float = 0.0
    acked_by: str = ""
    severity: str = Severity.WARNING.value
    """`critical | warning | info`"""
    done: tuple[str, ...] = ()
    """Actions so far, one line each, oldest first: how long after it was opened, and what."""
    earlier: tuple[str, ...] = ()
    """What people were told before, one line each, oldest first."""
    left: tuple[str, ...] = ()
    """What is left for people, one line each."""
    node: str = ""
    """Its first suspect; empty for none."""
    awaits: str = ""
    """What has to be so, or to stay so, until it is over; empty while the job has not recovered."""
    over_in_s: Seconds = 0.0
    """How long still; 0 where no time is set."""
    acked_why: str = ""
    """What they said with it."""


@dataclass(frozen=True, slots=True)
class DecisionView:
    """One action that was decided lately."""

    at: Instant
    """When it was decided."""
    what: str
    incident: str
    refused: bool = False
    outcome: str = ""
    """Empty while it is being performed."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Who pages nobody for a while."""

    target: str
    """A node or a cause."""
    until: Instant
    who: str = ""
    """Who asked for it; empty where an older release did not say."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """Everything on the status page, at one moment."""

    now: Instant
    cluster: str
    started: Instant
    """When this controller took over."""
    nodes: tuple[NodeView, ...] = ()
    jobs: tuple[JobView, ...] = ()
    incidents: tuple[IncidentView, ...] = ()
    """Open and mitigating ones, newest first."""
    decisions: tuple[DecisionView, ...] = ()
    """Newest first."""
    frozen: str = ""
    """Why Sentinel takes no action by itself; empty when it acts."""
    stopped: str = ""
    """Who stopped all actions; empty when nobody did."""
    observe_only: bool = False
    ray_trouble: str = ""
    """Why Ray can't be asked; empty while it can."""
    slack_trouble: str = ""
    """Why buttons in Slack do not work; empty while they do, or nobody wants them. Pages go out anyway."""
    left: tuple[str, ...] = ()
    """What is left for people, of resolved incidents, too: one line each."""
    silences: tuple[Silence, ...] = ()
    """In the order in which they were asked for."""
    url: str = ""
    """Where the pages are."""


def current(status: Status, rows: Iterable[Row]) -> list[Row]:
    """Give the logbook's rows with what is known now of incidents whose end is in no entry."""
    opened = {incident.incident for incident in status.incidents}
    return [as_of(row, status.now, opened) for row in rows]


class View(Protocol):
    """The controller, as far as the pages look at it.

    `status`, `why` and `uncounted` are called in the loop that owns the state, and return at once; the
    logbook is read in threads.
    """

    def status(self) -> Status:
        """Give the present state of everything."""

    def why(self, name: str) -> Sequence[tuple[str, str]] | None:
        """Say what decides about a node, job or incident now: (kind, text); None for a name of nothing."""

    def search(self, query: str) -> Sequence[Row]:
        """Give the rows that a query finds, newest first; all for an empty one. Raises QueryError."""

    def entry(self, incident: str) -> str | None:
        """Give an incident's logbook entry as Markdown, None when there is none."""

    def row(self, incident: str) -> Row | None:
        """Give an incident's line of the logbook, None when there is none."""

    def counted(self) -> Sequence[Entry]:
        """Give the tally, as far as it is written. Raises OSError."""

    def uncounted(self) -> Sequence[Entry]:
        """Give what the tally does not hold yet, until now; called in the loop that owns the state."""


@dataclass(frozen=True, slots=True)
class Command:
    """What an operator asks for; the controller stamps it and makes it a fact."""

    command: str
    """One of `core.commands.CommandName`."""
    target: str = ""
    who: str = "operator"
    reason: str = ""
    for_s: Seconds = field(default=0.0)
    """How long a silence or a maintenance lasts."""
    once: bool = False
    """Refuse it where it is so already, and say who did it: a button may be pressed twice."""


class CommandRefusedError(Exception):
    """A command makes no sense now; the text says why, in one line."""


class AskedProbe(Struct, frozen=True):
    """What an operator wants to have measured."""

    check: str
    nodes: tuple[str, ...] = ()
    """Empty: all that no job needs."""
    who: str = "operator"
    disturb: bool = False
    """Also beside ranks of a job."""


class ProbeView(Struct, frozen=True):
    """How far a probe is that an operator asked for."""

    name: str
    check: str
    nodes: tuple[NodeId, ...]
    disturbs: tuple[str, ...]
    """Who trains there meanwhile."""
    deadline_s: Seconds
    samples: tuple[MemberSample, ...] = ()
    findings: tuple[MemberFinding, ...] = ()
    held: tuple[Held, ...] = ()
    error: str = ""
    ended: bool = False


class Prober(Protocol):
    """Measures what an operator asks for."""

    async def begin(self, asked: AskedProbe) -> ProbeView:
        """Begin. Raises CommandRefusedError."""

    def view(self, name: str) -> ProbeView | None:
        """Say how far a probe is."""

    def baselines(self) -> Mapping[str, Baseline]:
        """Say what nodes of each kind have measured until now."""


LogReader: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the last lines of each log of a node, a text each, whose first line says whose it is and where.

Raises CommandRefusedError.
"""
Commander: TypeAlias = Callable[[Command], Awaitable[str]]
"""Carries a command out and says what was done. Raises CommandRefusedError."""
