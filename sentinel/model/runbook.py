"""One cause as an executable runbook: what it looks like, whom it blames, what to do."""

from dataclasses import dataclass
from enum import StrEnum

from sentinel.model.ids import Cause
from sentinel.model.incident import Blame
from sentinel.model.policy import Rung
from sentinel.model.severity import Severity


class Remedy(StrEnum):
    """What a runbook asks for; guards in the policy may refuse it."""

    REPLACE = "replace"
    """Replace the rank in place, on its own node."""
    MOVE = "move"
    """Replace the rank on another node."""
    EVICT = "evict"
    """Evict the blamed node and resume."""
    DRAIN = "drain"
    """Evict the blamed node at a step boundary, with no step lost."""
    RESTART = "restart"
    """Resume with the same workers on the same nodes."""
    REPLAY = "replay"
    """Resume and run the failed step once more, to compare."""
    SKIP_BATCH = "skip-batch"
    STOP = "stop"
    """Stop the job: restarting cannot help."""
    RESTART_AGENT = "restart-agent"
    RESTART_GCS = "restart-gcs"
    FREEZE = "freeze"
    """Freeze all actions while it lasts."""
    NONE = "none"

    @property
    def is_for_people(self) -> bool:
        """Whether it repairs nothing: who goes on are people."""
        return self in (Remedy.STOP, Remedy.FREEZE, Remedy.NONE)


class Scope(StrEnum):
    """Whose trouble a cause is: further symptoms join the incident of the same."""

    JOB = "job"
    """A job's, or that of a node which has none: the job's next symptom is the same incident."""
    NODE = "node"
    """The suspected nodes' own: a job's later crash is another incident."""
    CLUSTER = "cluster"
    """What all stand on: one incident, however many nodes have it."""


class Ends(StrEnum):
    """What ends an incident of this cause."""

    STEP = "step"
    """A new step of the job that it is about; without a job the end of its evictions."""
    SIGN = "sign"
    """What it began with is over: a silent node, an outage, a state that a check had found."""


class Symptom(StrEnum):
    """What happened to a job, and needs a cause."""

    EXITED = "exited"
    RAISED = "raised"
    STALLED = "stalled"
    SLOW = "slow"


class PageWhen(StrEnum):
    """When a runbook wakes somebody."""

    AT_ONCE = "at-once"
    IF_REMEDY_FAILS = "if-remedy-fails"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Match:
    """One alternative of what a cause looks like; exactly one field is set."""

    finding: str = ""
    """A finding's code that is not ok."""
    xid: tuple[int, ...] = ()
    log: str = ""
    """A regular expression searched in exceptions and kernel lines."""
    again: str = ""
    """A cause that is met again: of this job within `policy.again_s`, or of all its ranks at once."""
    predicate: str = ""
    """A named function of `sentinel.core.diagnose.predicates`."""


@dataclass(frozen=True, slots=True)
class Runbook:
    """The front matter of `runbooks/<cause>.md`."""

    cause: Cause
    title: str
    matches: tuple[Match, ...]
    blames: Blame
    remedy: Remedy
    page: PageWhen
    confidence: float
    """How sure a match makes us, 0..1."""
    explains: tuple[Cause, ...] = ()
    """Causes that are only this one's symptoms."""
    scope: Scope = Scope.JOB
    ends: Ends = Ends.STEP
    symptoms: tuple[Symptom, ...] = ()
    """Symptoms that this cause only names: another cause of it has to explain this one."""
    trial: bool = False
    """Its remedy is an experiment: the next step is its result, and not only its end."""
    counts: bool = False
    """It leaves open why a rank failed: the failure stays on its node's and its rank's account."""
    stands: bool = False
    """A state has to stand for `policy.stands_s` before it is acted on: one that passes is none."""
    pauses: bool = False
    """Nobody is to blame for it: each further time the job pauses for longer before it forms again."""
    echoes: tuple[Cause, ...] = ()
    """Deaths of nodes that make their neighbours complain of this: soon after one it is only an echo."""
    echoes_within: str = ""
    """The kind of domain in which they do, such as `nvlink`; a node of which nobody knows it may be in it."""
    asks: str = ""
    """The collective check whose findings can name this cause."""
    behind: tuple[Cause, ...] = ()
    """Causes that this may be behind: the check is asked where one is diagnosed, and the remedy waits."""
    severity: Severity = Severity.WARNING
    """Of its pages while no hand is needed; where one is, they are critical."""
    repair: tuple[Rung, ...] = ()
    """What may help a node that it took out, the mildest first; done only where `policy.repair` allows it."""
    strikes: bool = False
    """Each finding counts against its place on the GPU, and another cause may ask how often."""
