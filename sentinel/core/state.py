"""What the fold remembers between facts: nodes, jobs, incidents, deadlines."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from msgspec import Struct

from sentinel.core.crew import Crew, Worker
from sentinel.core.timers import Timer
from sentinel.model import codec
from sentinel.model.action import Action
from sentinel.model.fact import FindingReported, NodeReached
from sentinel.model.finding import Finding
from sentinel.model.ids import ActionId, Cause, IncidentId, Instant, JobId, NodeId, Seconds, WorkerId
from sentinel.model.incident import Incident, Stage
from sentinel.model.policy import Policy
from sentinel.model.runbook import Runbook


@dataclass(frozen=True, slots=True)
class Rules:
    """What decisions are made by: the policy's numbers and the runbooks."""

    policy: Policy
    runbooks: Mapping[Cause, Runbook]
    by_code: Mapping[str, tuple[Runbook, ...]] = field(init=False, repr=False, compare=False)
    """Runbooks by the code of a finding that they match, so that a finding costs no search."""

    def __post_init__(self) -> None:
        found: dict[str, tuple[Runbook, ...]] = {}
        for book in self.runbooks.values():
            for looks in book.matches:
                for code in [looks.finding] if looks.finding else [f"xid-{number}" for number in looks.xid]:
                    found[code] = (*found.get(code, ()), book)
        object.__setattr__(self, "by_code", found)


class Cordon(Struct, frozen=True):
    """Why nothing is placed on a node, and who said so."""

    by: str
    """`operator`, or the incident's id."""
    reason: str
    at: Instant


class Node(Struct):
    """One machine with an agent."""

    id: NodeId
    address: str = ""
    port: int = 0
    gpus: int = 0
    boot: str = ""
    """Of the agent that said hello last."""
    heard: int = 0
    """The highest number of that agent's events that was heard: one told again counts once."""
    cordon: Cordon | None = None
    silent: bool = False
    left: bool = False
    """Sentinel was taken off it; what else is known, such as a cordon, is kept until it joins again."""
    findings: dict[str, Finding] = {}
    """Health that is not ok now, by `check|code|component`; events are not kept here."""
    failures: list[Instant] = []
    """When its ranks crashed or hung; once per generation, however many ranks it was."""
    app_xids: list[tuple[Instant, str]] = []
    """(when, place) of application Xids of our ranks: a component, and what part of it if that was told."""
    link_errors: list[tuple[Instant, str]] = []
    """(when, place) of NVLink errors that count from the second or third on one link."""
    contained: dict[str, int] = {}
    """Contained memory errors by component, since its error counter was 0."""
    recent: list[FindingReported] = []
    """The last findings of any kind, newest last: evidence that may have come before its symptom."""
    told: list[str] = []
    """Marks of the last events of any kind, newest last: one that is told again is no news."""
    counts: dict[str, int] = {}
    """Of those that happened more than once, by their marks, how often they did."""
    vouched: Instant = 0.0
    """When a human took it back last, 0 if nobody did: events from before that are old."""
    reached: NodeReached | None = None
    ranks: list[tuple[JobId, WorkerId]] = []
    """Who is seated here."""
    misstarts: int = 0
    """Workers in a row that did not start here."""

    @property
    def usable(self) -> bool:
        """True when a rank may be placed here."""
        return self.cordon is None and not self.silent and not self.left

    def seats(self, job: JobId) -> bool:
        """Say whether a rank of this job sits here."""
        return any(owner == job for owner, _ in self.ranks)


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


class Job(Struct, dict=True):
    """One training job and its workers."""

    id: JobId
    world: int
    min_world: int
    standbys: int
    trainable: str = ""
    wanted: int = 0
    """World size asked for; `world` may shrink."""
    stage: JobStage = JobStage.WAITING
    generation: int = 0
    seats: list[WorkerId] = []
    """Worker of each rank."""
    workers: dict[WorkerId, Worker] = {}
    born: int = 0
    """Workers ever started; numbers the next one."""
    journal: str = ""
    """Ends their names; empty where nobody said which journal this is."""
    high_step: int = -1
    advanced: Instant = 0.0
    """When its generation had its first new step."""
    median_step_s: Seconds = 0.0
    """As last told; 0 while nobody knows."""
    skip: list[int] = []
    pending: str = ""
    """The incident that waits for workers or nodes to resume the job."""
    lacking: int = 0
    """How many workers must become ready before seating again is worth its time."""
    avoid: list[str] = []
    """`rank@node` places that a moved rank must not return to while the next generation is awaited."""
    slow: list[tuple[Instant, int, NodeId]] = []
    """When which rank was told to be slow on which node: its work is uneven if it is so on every node."""
    failed: list[tuple[Instant, int, NodeId, int]] = []
    """When which rank crashed or hung on which node in which generation, and nothing else explains it.

    It is its own work if that follows it to another node.
    """

    @cached_property
    def crew(self) -> Crew:
        """The workers and seats again, in the order in which they are asked for; no part of a snapshot."""
        return Crew.of(self.workers, self.seats)

    def seated(self) -> Iterator[tuple[int, Worker]]:
        """Ranks with their workers."""
        for rank, worker in enumerate(self.seats):
            if worker in self.workers:
                yield rank, self.workers[worker]

    def at(self, rank: int) -> Worker | None:
        """Return the worker of one rank."""
        return self.workers.get(self.seats[rank]) if 0 <= rank < len(self.seats) else None

    def slow_places(self, rank: int, since: Instant) -> set[NodeId]:
        """Nodes on which this rank was slow."""
        return {node for at, each, node in self.slow if each == rank and at > since}

    def deadline(self) -> str:
        """Name of the deadline by which the present generation must have made a new step."""
        return Timer.RESUME.of(self.id, self.generation)


@dataclass(slots=True)
class State:
    """Everything that decisions depend on; changed by `decide` alone, one fact at a time."""

    now: Instant = 0.0
    nodes: dict[NodeId, Node] = field(default_factory=dict)
    jobs: dict[JobId, Job] = field(default_factory=dict)
    incidents: dict[IncidentId, Incident] = field(default_factory=dict)
    """Open ones, and the resolved ones that a stronger cause could still reopen."""
    opened: int = 0
    """Incidents ever opened; numbers the next one."""
    frozen: str = ""
    """Why no action is taken; empty when actions are allowed."""
    stopped: str = ""
    """Who stopped all actions; empty when nobody did."""
    evictions: list[Instant] = field(default_factory=list)
    unfinished: dict[ActionId, Action] = field(default_factory=dict)
    """Actions without an outcome: a new controller performs them again, which is harmless."""
    deadlines: dict[str, Instant] = field(default_factory=dict)
    silences: dict[str, Instant] = field(default_factory=dict)
    """Node or cause → until when it pages nobody."""
    refusals: int = 0
    """Refusals ever recorded; numbers the next one."""

    def open_incidents(self) -> Iterator[Incident]:
        """Incidents that are not resolved."""
        return (incident for incident in self.incidents.values() if incident.stage is not Stage.RESOLVED)

    def job_on(self, node: NodeId) -> Job | None:
        """Return the job with a rank on this node."""
        known = self.nodes.get(node)
        return self.jobs[known.ranks[0][0]] if known and known.ranks else None

    def worker(self, job: JobId, worker: WorkerId) -> tuple[Job | None, Worker | None]:
        """Return a job and one of its workers, as far as they are known."""
        known = self.jobs.get(job)
        return known, known.workers.get(worker) if known else None

    def job_of(self, incident: Incident) -> Job | None:
        """Return the job that an incident hurts."""
        return self.jobs.get(incident.job) if incident.job else None

    def standing(self) -> list[Node]:
        """Nodes that are here and not cordoned: a cordoned one's silence says nothing."""
        return [node for node in self.nodes.values() if node.cordon is None and not node.left]

    def set_deadline(self, name: str, after: Seconds) -> None:
        """Ask for a `DeadlinePassed` fact."""
        self.deadlines[name] = self.now + after

    def next_deadline(self) -> tuple[Instant, str] | None:
        """Return the earliest deadline and its name."""
        return min(((at, name) for name, at in self.deadlines.items()), default=None)

    def to_bytes(self) -> bytes:
        """Give the snapshot form."""
        return codec.encode(self)

    @classmethod
    def from_bytes(cls, body: bytes) -> "State":
        """Build a state from its snapshot form. Raises CodecError."""
        state: State = codec.decode(cls, body)
        return state

    @classmethod
    def from_plain(cls, plain: Any) -> "State":
        """Build a state from the plain form that a recording holds. Raises CodecError."""
        if isinstance(plain, dict) and "nodes" not in plain:
            raise codec.CodecError("no State: it has no nodes")
        state: State = codec.from_plain(cls, plain)
        return state
