"""What an agent tells the controller: heartbeats, findings and exits of one node."""

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from sentinel.model.collective import Meeting
from sentinel.model.finding import Finding
from sentinel.model.ids import (
    MOST_LABELS,
    Address,
    Count,
    Generation,
    Gpu,
    JobId,
    LabelKind,
    LabelName,
    NodeName,
    Pid,
    Port,
    Rank,
    Span,
    Step,
    Text,
    Word,
    WorkerId,
)
from sentinel.model.noun import Noun

NAME = Meta(max_length=256)
MOST_RANKS = 1024
"""Of one node, in one report."""
MOST_EVENTS = 256
"""In one report; an agent tells 200 at once, and the rest in the next."""


class RankBeat(Struct, frozen=True, gc=False):
    """One rank's heartbeat record as its agent read it."""

    job: Annotated[JobId, NAME]
    rank: Rank
    worker: Annotated[WorkerId, NAME]
    pid: Pid
    gpu: Gpu
    generation: Generation
    step: Step
    """Last completed training step, -1 before the first."""
    phase: Word
    """One of `sentinel.phases.PHASES`."""
    enqueued: Count
    """Collectives that this rank has entered, over all groups."""
    completed: Count
    outside_s: Span
    """Time that the last step spent outside collectives."""
    arrival: Span
    """When this rank entered the last step's closing collective, on its node's clock."""
    loss: float
    beat_age_s: Span
    """Since the rank's own beat thread last ran: large in a stopped process."""
    state: Word
    """Process state letter from /proc: R S D T Z, or X when it is gone."""
    phase_age_s: Span
    """How long the rank has been in this phase."""
    snapshot_step: Step = -1
    """Newest step whose own and peer copies are acknowledged."""
    reason: Text = ""
    """Rank's own words, when it has failed or refuses."""
    damaged: Text = ""
    """Why its record is not believed: only the process state is evidence then, and the rest is of before."""
    world: Count = 0
    """Ranks of its gang, if Sentinel did not start it; 0 if it did."""
    checkpoint_step: Step = -1
    """Newest step whose durable checkpoint it has told to be complete."""


DONE = "exit 0"
"""How a rank ends whose work is done."""
UNKNOWN_END = "unknown"
"""How a process ended whose end the kernel tells its parent alone."""
LEASE_LAPSED_EXIT = 75
"""EX_TEMPFAIL: nothing is wrong with this process, it must merely not go on alone."""
STUCK_EXIT = 76
"""EX_PROTOCOL: what this process waits for can't come."""
STOPPED = frozenset("Tt")
"""Process states, as `/proc` tells them, of one that a signal or a debugger has stopped."""
GONE = frozenset("XZ")
"""And of one that has ended."""
NOT_RUNNING = STOPPED | GONE
STOPPED_ITSELF = frozenset({f"exit {LEASE_LAPSED_EXIT}", f"exit {STUCK_EXIT}"})
"""Ends that say nothing against the node: the process left for its peers' sake."""


class ExitSeen(Noun, frozen=True):
    """A worker process ended."""

    job: Annotated[JobId, NAME]
    rank: Rank
    worker: Annotated[WorkerId, NAME]
    pid: Pid
    generation: Generation
    gpu: Gpu
    how: Word
    """`signal 9`, `exit 1`, or `unknown` where the kernel does not tell a non-parent."""
    age_s: Span = 0.0
    """How long ago that was when it was told, seconds; 0 if it was told at once."""


MISCOMPUTED = "miscomputed"
"""Why all ranks of a gang raise when one of their devices was found to compute wrong."""


AT_START = "start"
"""Kind of an exception by which a worker ends before it is warm: it has no rank yet."""


class RaisedSeen(Noun, frozen=True):
    """A rank's training thread ended with an exception; its process lives."""

    job: Annotated[JobId, NAME]
    rank: Rank
    worker: Annotated[WorkerId, NAME]
    pid: Pid
    generation: Generation
    gpu: Gpu
    step: Step
    kind: Word
    """`user | collective | nan | miscomputed | restore | evicted | start`"""
    error: Text
    """One line, `TypeError: …`."""
    traceback: Text
    values: tuple[float, ...] = ()
    """For `nan` every rank's local loss, in rank order; for `miscomputed` 1 for who did, else 0."""
    age_s: Span = 0.0
    """How long ago that was when it was told, seconds; 0 if it was told at once."""


class FindingSeen(Noun, frozen=True):
    """A finding that is new, changed or cleared (health ok)."""

    finding: Finding


class ProbedSeen(Noun, frozen=True):
    """The immediate probe that an exit or the controller asked for is complete."""

    checks: tuple[str, ...]
    reason: Word
    """`exit:<pid>` or the asking action's id."""
    missing: tuple[str, ...] = ()
    """Checks that gave no answer in time."""


class OrderDone(Noun, frozen=True):
    """What became of an order that the controller gave this agent."""

    order: Word
    """The order's action id."""
    ok: bool
    detail: Text
    data: tuple[str, ...] = ()


class Unreadable(Noun, frozen=True):
    """What a controller finds in the place of an event that it can't read, as of a newer agent."""

    error: Text


Event: TypeAlias = ExitSeen | RaisedSeen | FindingSeen | ProbedSeen | OrderDone | Unreadable


class Hello(Noun, frozen=True):
    """An agent's first message on a connection."""

    node: NodeName
    boot: Word
    """The kernel's boot id and the moment at which the agent started: changes when either restarts.

    A pid would not do: in a container of its own every agent has the same.
    """
    address: Address
    port: Port
    """Where the agent serves memory snapshots."""
    gpus: Annotated[int, Meta(ge=0, le=4096)]
    metrics_port: Port = 0
    labels: Annotated[Mapping[LabelKind, LabelName], Meta(max_length=MOST_LABELS)] = {}
    """What the node itself says of where it sits: kind of domain → name."""


class Report(Noun, frozen=True):
    """One periodic message: every beat of the node, and the events not yet acknowledged."""

    node: NodeName
    boot: Word
    seq: Count
    beats: Annotated[tuple[RankBeat, ...], Meta(max_length=MOST_RANKS)]
    events: Annotated[tuple[tuple[Count, Event], ...], Meta(max_length=MOST_EVENTS)]
    """(event number, event); numbers grow by one, the controller acknowledges the last it has journalled."""
    sent: Span = 0.0
    """By the node's own clock, Unix seconds; it says how far that is off, and dates nothing. 0: not told."""


class Ack(Noun, frozen=True):
    """Controller to agent: events up to this number are journalled. Also renews the node's lease."""

    event: Count
    boot: Word = ""
    """Whose events: one that was meant for the agent before this one says nothing of its own."""
    journal: Word = ""
    """The id of the journal; another one holds nothing of what was told before."""


class ProbeNow(Noun, frozen=True):
    """Controller to agent: run every check that is marked `on_exit`, then report `ProbedSeen`."""

    reason: Word
    within: Span = 0.0
    """If it is given, run all other checks, too, and wait so long for them, seconds."""


class GetReady(Noun, frozen=True):
    """Controller to agent: load what a collective check measures with; the answer says that it is there."""

    order: Word
    check: Word
    within: Span


class MeasureNow(Noun, frozen=True):
    """Controller to agent: measure together with other nodes; the answer's data are the values, as JSON."""

    order: Word
    check: Word
    meeting: Meeting


class MeasureNoMore(Noun, frozen=True):
    """Controller to agent: stop at once what a probe has ordered to be measured; the node is needed."""

    order: Word
    probe: Word
    """Orders of it are called `probe#round`, or `probe#ready`."""


class KillWorker(Noun, frozen=True):
    """Controller to agent: SIGKILL this worker, only if pid and worker still belong together.

    pid 0: whichever process has the worker's name, for it was not ready and has told its pid to nobody.
    """

    order: Word
    worker: Annotated[WorkerId, NAME]
    pid: Pid


class StacksNow(Noun, frozen=True):
    """Controller to agent: dump the stacks of these (rank, pid) without stopping them."""

    order: Word
    processes: tuple[tuple[Rank, Pid], ...]
    deadline: Span


MOST_LINES = 10_000
"""Of each log in one answer."""


class LogsNow(Noun, frozen=True):
    """Controller to agent: give the end of its own log and of its ranks' logs, of ended ones, too."""

    order: Word
    lines: Annotated[int, Meta(ge=1, le=MOST_LINES)]
    """Of each."""


class ResetGpus(Noun, frozen=True):
    """Controller to agent: reset these GPUs, only if no rank lives here and no process uses them."""

    order: Word
    gpus: Annotated[tuple[Gpu, ...], Meta(max_length=64)]


class Leave(Noun, frozen=True):
    """Controller to agent: the job has ended, so remove records and snapshots, and exit."""

    order: Word


class Refused(Noun, frozen=True):
    """Controller to whoever has connected: it is not believed, and why."""

    why: str


class Join(Noun, frozen=True):
    """A new agent's only message, sent with a join token: the node's name, and the key that it made."""

    node: NodeName
    public: Annotated[str, Meta(pattern=r"^[!-~]{40}\Z")]
    """CURVE public key, 40 characters of Z85."""


class Joined(Noun, frozen=True):
    """Controller to a new agent: its key is known from now on; here is what else it needs."""

    snapshot_key: bytes


Order: TypeAlias = (
    Ack
    | ProbeNow
    | GetReady
    | MeasureNow
    | MeasureNoMore
    | KillWorker
    | StacksNow
    | LogsNow
    | ResetGpus
    | Leave
)
