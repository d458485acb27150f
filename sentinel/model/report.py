"""What an agent tells the controller: heartbeats, findings and exits of one node."""

from typing import TypeAlias

from msgspec import Struct

from sentinel.model.finding import Finding
from sentinel.model.ids import Int, JobId, NodeId, Seconds, WorkerId
from sentinel.model.noun import Noun


class RankBeat(Struct, frozen=True):
    """One rank's heartbeat record as its agent read it."""

    job: JobId
    rank: Int
    worker: WorkerId
    pid: Int
    gpu: Int
    generation: Int
    step: Int
    """Last completed training step, -1 before the first."""
    phase: str
    """`setup | load | data | compute | collective | snapshot | save | pause | standby | failed`"""
    enqueued: Int
    """Collectives that this rank has entered, over all groups."""
    completed: Int
    outside_s: Seconds
    """Time that the last step spent outside collectives."""
    arrival: float
    """When this rank entered the last step's closing collective, on its node's clock."""
    loss: float
    beat_age_s: Seconds
    """Since the rank's own beat thread last ran: large in a stopped process."""
    state: str
    """Process state letter from /proc: R S D T Z, or X when it is gone."""
    phase_age_s: Seconds
    """How long the rank has been in this phase."""
    snapshot_step: Int = -1
    """Newest step whose own and peer copies are acknowledged."""
    reason: str = ""
    """Rank's own words, when it has failed or refuses."""


LEASE_LAPSED_EXIT = 75
"""EX_TEMPFAIL: nothing is wrong with this process, it must merely not go on alone."""
STUCK_EXIT = 76
"""EX_PROTOCOL: what this process waits for can't come."""
STOPPED = frozenset("Tt")
"""Process states, as `/proc` tells them, of one that a signal or a debugger has stopped."""
NOT_RUNNING = STOPPED | frozenset("XZ")
"""And of one that is gone."""
STOPPED_ITSELF = frozenset({f"exit {LEASE_LAPSED_EXIT}", f"exit {STUCK_EXIT}"})
"""Ends that say nothing against the node: the process left for its peers' sake."""


class ExitSeen(Noun, frozen=True):
    """A worker process ended."""

    job: JobId
    rank: Int
    worker: WorkerId
    pid: Int
    generation: Int
    gpu: Int
    how: str
    """`signal 9`, `exit 1`, or `unknown` where the kernel does not tell a non-parent."""


class RaisedSeen(Noun, frozen=True):
    """A rank's training thread ended with an exception; its process lives."""

    job: JobId
    rank: Int
    worker: WorkerId
    pid: Int
    generation: Int
    gpu: Int
    step: Int
    kind: str
    """`user | collective | nan | restore | evicted`"""
    error: str
    """One line, `TypeError: …`."""
    traceback: str
    values: tuple[float, ...] = ()
    """For `nan`: every rank's local loss in rank order."""


class FindingSeen(Noun, frozen=True):
    """A finding that is new, changed or cleared (health ok)."""

    finding: Finding


class ProbedSeen(Noun, frozen=True):
    """The immediate probe that an exit or the controller asked for is complete."""

    checks: tuple[str, ...]
    reason: str
    """`exit:<pid>` or the asking action's id."""


class OrderDone(Noun, frozen=True):
    """What became of an order that the controller gave this agent."""

    order: str
    """The order's action id."""
    ok: bool
    detail: str
    data: tuple[str, ...] = ()


class Unreadable(Noun, frozen=True):
    """What a controller finds in the place of an event that it can't read, as of a newer agent."""

    error: str


Event: TypeAlias = ExitSeen | RaisedSeen | FindingSeen | ProbedSeen | OrderDone | Unreadable


class Hello(Noun, frozen=True):
    """An agent's first message on a connection."""

    node: NodeId
    boot: str
    """The kernel's boot id and the moment at which the agent started: changes when either restarts.

    A pid would not do: in a container of its own every agent has the same.
    """
    address: str
    port: Int
    """Where the agent serves memory snapshots."""
    gpus: Int
    metrics_port: Int = 0


class Report(Noun, frozen=True):
    """One periodic message: every beat of the node, and the events not yet acknowledged."""

    node: NodeId
    boot: str
    seq: Int
    beats: tuple[RankBeat, ...]
    events: tuple[tuple[Int, Event], ...]
    """(event number, event); numbers grow by one, the controller acknowledges the last it has journalled."""


class Ack(Noun, frozen=True):
    """Controller to agent: events up to this number are journalled. Also renews the node's lease."""

    event: Int
    boot: str = ""
    """Whose events: one that was meant for the agent before this one says nothing of its own."""


class ProbeNow(Noun, frozen=True):
    """Controller to agent: run every check that is marked `on_exit`, then report `ProbedSeen`."""

    reason: str


class KillWorker(Noun, frozen=True):
    """Controller to agent: SIGKILL this worker, only if pid and worker still belong together.

    pid 0: whichever process has the worker's name, for it was not ready and has told its pid to nobody.
    """

    order: str
    worker: WorkerId
    pid: Int


class StacksNow(Noun, frozen=True):
    """Controller to agent: dump the stacks of these (rank, pid) without stopping them."""

    order: str
    processes: tuple[tuple[Int, Int], ...]
    deadline: Seconds


class Leave(Noun, frozen=True):
    """Controller to agent: the job has ended, so remove records and snapshots, and exit."""

    order: str


Order: TypeAlias = Ack | ProbeNow | KillWorker | StacksNow | Leave
