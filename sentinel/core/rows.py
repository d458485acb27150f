"""What is known of a node and of a job: frozen rows of the state's tables."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from sentinel.core.timers import Timer
from sentinel.model.fact import FindingReported, NodeReached
from sentinel.model.finding import Finding
from sentinel.model.ids import Instant, JobId, NodeId, Seconds


class Cordon(Struct, frozen=True):
    """Why nothing is placed on a node, and who said so."""

    by: str
    """`operator`, or the incident's id."""
    reason: str
    at: Instant


class Node(Struct, frozen=True):
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
    findings: Mapping[str, Finding] = {}
    """Health that is not ok now, by `check|code|component`; events are not kept here."""
    failures: tuple[Instant, ...] = ()
    """When its ranks crashed or hung; once per generation, however many ranks it was."""
    app_xids: tuple[tuple[Instant, str], ...] = ()
    """(when, place) of application Xids of our ranks: a component, and what part of it if that was told."""
    link_errors: tuple[tuple[Instant, str], ...] = ()
    """(when, place) of NVLink errors that count from the second or third on one link."""
    contained: Mapping[str, int] = {}
    """Contained memory errors by component, since its error counter was 0."""
    recent: tuple[FindingReported, ...] = ()
    """The last findings of any kind, newest last: evidence that may have come before its symptom."""
    told: tuple[str, ...] = ()
    """Marks of the last events of any kind, newest last: one that is told again is no news."""
    counts: Mapping[str, int] = {}
    """Of those that happened more than once, by their marks, how often they did."""
    vouched: Instant = 0.0
    """When a human took it back last, 0 if nobody did: events from before that are old."""
    reached: NodeReached | None = None
    misstarts: int = 0
    """Workers in a row that did not start here."""

    @property
    def usable(self) -> bool:
        """True when a rank may be placed here."""
        return self.cordon is None and not self.silent and not self.left


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


class Job(Struct, frozen=True):
    """One training job; its workers are in the state's crew."""

    id: JobId
    world: int
    min_world: int
    standbys: int
    trainable: str = ""
    wanted: int = 0
    """World size asked for; `world` may shrink."""
    stage: JobStage = JobStage.WAITING
    generation: int = 0
    born: int = 0
    """Workers ever started; numbers the next one."""
    journal: str = ""
    """Ends their names; empty where nobody said which journal this is."""
    high_step: int = -1
    advanced: Instant = 0.0
    """When its generation had its first new step."""
    median_step_s: Seconds = 0.0
    """As last told; 0 while nobody knows."""
    usual_step_s: Seconds = 0.0
    """What its steps took before they were told to be slow; 0 while they are not."""
    skip: tuple[int, ...] = ()
    pending: str = ""
    """The incident that waits for workers or nodes to resume the job."""
    lacking: int = 0
    """How many workers must become ready before seating again is worth its time."""
    avoid: tuple[str, ...] = ()
    """`rank@node` places that a moved rank must not return to while the next generation is awaited."""
    slow: tuple[tuple[Instant, int, NodeId], ...] = ()
    """When which rank was told to be slow on which node: its work is uneven if it is so on every node."""
    failed: tuple[tuple[Instant, int, NodeId, int], ...] = ()
    """When which rank crashed or hung on which node in which generation, and nothing else explains it.

    It is its own work if that follows it to another node.
    """

    def slow_places(self, rank: int, since: Instant) -> set[NodeId]:
        """Nodes on which this rank was slow."""
        return {node for at, each, node in self.slow if each == rank and at > since}

    def deadline(self) -> str:
        """Name of the deadline by which the present generation must have made a new step."""
        return Timer.RESUME.of(self.id, self.generation)
