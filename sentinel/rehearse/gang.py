"""A virtual job's processes: who sits where, who holds the others up, and which step they have reached."""

from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from sentinel.model.ids import Instant, JobId, NodeId, Seconds, WorkerId
from sentinel.model.report import NOT_RUNNING, STOPPED, ExitSeen, RankBeat
from sentinel.phases import SLOW_PHASES

COLLECTIVES = 4
"""That a virtual step has."""
OUTSIDE = 0.4
"""Share of a step that is spent outside collectives."""
STUCK_BEAT_S = 3.0
"""A beat thread that has not run for so long does not compute either."""


@dataclass(slots=True)
class Process:
    """One worker of a job, as the node that it runs on sees it."""

    job: JobId
    worker: WorkerId
    node: NodeId
    gpu: int
    pid: int
    rank: int = -1
    generation: int = 0
    alive: bool = True
    raised: bool = False
    """Its training ended with an exception in this generation."""
    slow: float = 1.0
    stutter: tuple[Seconds, Seconds] = (0.0, 1.0)
    """For how long it is stopped, and how often."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Fields of its heartbeat record that the scenario has set."""
    stopped: Instant | None = None
    """When it was stopped, and its beats with it."""

    def shows(self, fields: dict[str, Any], now: Instant) -> None:
        """Set fields of its heartbeat record; none: they are again as they are by themselves."""
        self.fields = {**self.fields, **fields} if fields else {}
        is_stopped = self.fields.get("state") in STOPPED
        self.stopped = (self.stopped or now) if is_stopped else None

    def end(self, how: str) -> ExitSeen:
        """Say how it ended."""
        about = (self.rank, self.worker, self.pid, self.generation, self.gpu)
        return ExitSeen(self.job, *about, how)

    @property
    def stands_still(self) -> bool:
        """Whether its record says that it does not compute."""
        set_ = self.fields
        if set_.get("damaged"):  # then nothing but the process state says how it is
            return set_.get("state", "S") in NOT_RUNNING
        return (
            set_.get("state", "S") in NOT_RUNNING
            or set_.get("beat_age_s", 0.0) > STUCK_BEAT_S
            or set_.get("phase", "compute") in SLOW_PHASES | {"data", "failed"}
        )


@dataclass(slots=True)
class Fault:
    """What raises whenever its step is trained."""

    error: str
    kind: str
    step: int = -1
    """Where it raised first; before that, at the next step."""


@dataclass(slots=True)
class Gang:
    """The ranks of one job; steps are counted up to the present moment when somebody looks."""

    job: JobId
    step_s: Seconds
    generation: int = 0
    seats: list[Process] = field(default_factory=list)
    step: int = -1
    """Newest completed step of this generation."""
    high: int = -1
    """Newest step ever completed."""
    since: Instant = 0.0
    """When that step was completed, or will have begun."""
    moved: Instant = 0.0
    """When a step was completed, or the generation formed."""
    drag: float = 1.0
    """How many times its usual time a step takes, for the network's sake."""
    work: float = 1.0
    """And for what every rank has to do."""
    held: bool = False
    broken: bool = False
    """A rank of this generation is gone, and its peers are about to notice."""
    watched: bool = False
    """Somebody else starts its ranks: they tell how many they are, and end when one does."""
    faults: dict[int | str, Fault] = field(default_factory=dict)
    """Of ranks, and of whoever sits on a node."""
    _blocked: frozenset[int] | None = None
    _slowest: float = 1.0

    def skip(self, steps: tuple[int, ...]) -> None:
        """Leave the batches of these steps out, and so what is not a number in them."""
        for who, fault in list(self.faults.items()):
            if fault.kind == "nan" and fault.step in steps:
                del self.faults[who]

    def fault_of(self, process: Process) -> Fault | None:
        """Return what this process will raise with."""
        return self.faults.get(process.rank) or self.faults.get(process.node)

    def begin(self, generation: int, seats: list[Process], step: int, at: Instant) -> None:
        """Form a generation that goes on after `step`."""
        for process in self.seats:
            process.rank = -1
        self.generation, self.seats, self.step, self.since = generation, seats, step, at
        self.moved, self.broken = at, False
        for rank, process in enumerate(seats):
            process.rank, process.generation, process.raised = rank, generation, False
        self.touch()

    def touch(self) -> None:
        """Something about its processes has changed: look at them again."""
        self._blocked = None

    def blocked(self, cut: frozenset[NodeId]) -> frozenset[int]:
        """Ranks that all others wait for."""
        if self._blocked is None:
            idle = (p for p in self.seats if not p.alive or p.raised or p.stands_still or p.node in cut)
            self._blocked = frozenset(p.rank for p in idle)
            self._slowest = max((p.slow for p in self.seats), default=1.0)
        return self._blocked

    @property
    def at_pace(self) -> bool:
        """Whether steps take what they usually do, whatever single ranks do."""
        return self.drag == self.work == 1.0

    def moves(self, cut: frozenset[NodeId]) -> bool:
        """Whether steps are made."""
        return bool(self.seats) and not self.held and not self.blocked(cut)

    def settle(self, now: Instant, cut: frozenset[NodeId]) -> list[Process]:
        """Count the steps up to now; give the ranks that raise instead of completing the next one."""
        if not self.moves(cut):
            self.since = max(self.since, now)
            return []
        pace = self.step_s * (1 + OUTSIDE * (self._slowest - 1)) * self.drag * self.work
        steps = max(0, int((now - self.since) / pace + 1e-6))
        seats = self.seats if self.faults else ()
        faulty = {p.rank: max(fault.step, self.step + 1) for p in seats if (fault := self.fault_of(p))}
        until = min(faulty.values(), default=self.step + steps + 1)
        raising = [p for p in seats if faulty.get(p.rank) == until <= self.step + steps]
        steps = min(steps, until - 1 - self.step)
        self.step += steps
        self.since = min(self.since + steps * pace, max(self.since, now))  # rounding goes beyond now
        self.moved = now if steps else self.moved
        self.high = max(self.high, self.step)
        return raising

    def beat(self, process: Process, now: Instant, cut: frozenset[NodeId]) -> RankBeat:
        """Give a process's heartbeat record."""
        seated = process.rank >= 0 and process.generation == self.generation
        blocked = self.blocked(cut)
        waits = seated and not self.held and bool(blocked) and process.rank not in blocked
        entered = COLLECTIVES * (self.step + 1) if seated else 0
        step = self.step if seated else -1
        beat = RankBeat(
            job=self.job,
            rank=process.rank,
            worker=process.worker,
            pid=process.pid,
            gpu=process.gpu,
            generation=process.generation,
            step=step,
            phase=_phase(process, seated, waits, forms=now < self.since),
            enqueued=entered + waits,
            completed=entered,
            outside_s=OUTSIDE * self.step_s * process.slow * self.work,
            arrival=now,
            loss=1.0,
            beat_age_s=0.1 if process.stopped is None else now - process.stopped,
            state="S",
            phase_age_s=max(0.0, now - self.moved),
            snapshot_step=step,
            world=len(self.seats) if self.watched else 0,
        )
        return replace(beat, **process.fields) if process.fields else beat


def _phase(process: Process, seated: bool, waits: bool, *, forms: bool) -> str:
    if not seated:
        return "standby"
    if process.raised:
        return "failed"
    if forms:
        return "load"
    return "collective" if waits else "compute"
