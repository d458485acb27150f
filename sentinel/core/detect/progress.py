"""What one job's heartbeats have shown: its step, its pace, who moves and who is behind."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from sentinel.core.detect.slowness import Slowness
from sentinel.core.detect.stragglers import Stragglers
from sentinel.core.state import State
from sentinel.core.state.rows import Job, JobStage
from sentinel.model.fact import JobAdvanced, JobPaced
from sentinel.model.ids import Instant, NodeId, Seconds, WorkerId
from sentinel.model.policy import Policy
from sentinel.model.report import NOT_RUNNING, STOPPED, RankBeat

LOSS_WINDOW = 64
"""Losses that the status page draws."""
NOBODY = -2
"""In the place of a step, which is -1 before the first."""


@dataclass(slots=True)
class Spoken:
    """The newest step that any node ever reported, and the newest that another node did."""

    node: NodeId | None = None
    best: int = NOBODY
    others: int = NOBODY

    def tell(self, node: NodeId, step: int) -> None:
        """A node tells of a step."""
        if node == self.node:
            self.best = max(self.best, step)
        elif step > self.best:
            self.node, self.best, self.others = node, step, self.best
        else:
            self.others = max(self.others, step)


@dataclass(slots=True)
class Progress:
    """What one job's heartbeats have shown so far."""

    slowness: Slowness
    durations: deque[Seconds]
    """Of the last steps, for the running median."""
    generation: int = -1
    step: int = -1
    """Newest completed step of this generation."""
    stepped_at: Instant = 0.0
    high: int = -1
    """Newest step ever completed, over all generations."""
    high_at: Instant = 0.0
    """When that was made, as far as is known."""
    base: int = -1
    """The same when this generation began."""
    spoken: Spoken = field(default_factory=Spoken)
    opened: bool = False
    """Whether it is known what was reached before this watch began."""
    measured: Instant = 0.0
    """From then on the time between reports is the time between steps."""
    losses: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=LOSS_WINDOW))
    stalled: bool = False
    reported: tuple[int, ...] = ()
    """Ranks that the others waited for when that was reported."""
    behind: tuple[tuple[int, ...], Instant] = ((), 0.0)
    """Ranks that the others wait for since then, and since when."""
    excused_at: Instant = 0.0
    """When standing still was last no stall."""
    motion: dict[WorkerId, tuple[int, Instant]] = field(default_factory=dict)
    """Collectives that each rank has completed, and when the last one was heard of."""
    announced: bool = False
    """The generation's first new step was reported."""
    began: Instant = 0.0
    """When the generation was first heard of."""
    underway: tuple[Instant, int] = (0.0, -1)
    """When it was last said to be on its way, and at which step."""
    stragglers: Stragglers = field(default_factory=Stragglers)
    silent_since: int | None = None
    """Step at which a seated node was first seen silent; None while all report."""

    @classmethod
    def of(cls, job: Job, policy: Policy) -> "Progress":
        """Go on from what an earlier watch has reported."""
        return cls(Slowness.of(job, policy), deque(maxlen=policy.pace_steps), high=job.high_step)

    def others(self, ranks: tuple[int, ...], now: Instant, within: Seconds) -> bool:
        """Say whether a stall that was reported, and left alone, is one of other ranks by now."""
        if ranks != self.behind[0]:
            self.behind = ranks, now
        return bool(ranks) and ranks != self.reported and now - self.behind[1] > within

    def pace(self, job: Job) -> Seconds:
        """Give the median of the last steps; before the first, what an earlier watch knew; 0 for unknown."""
        return median(self.durations) if self.durations else job.median_step_s

    def limit(self, shortest: Seconds, beats: Sequence[RankBeat], policy: Policy) -> Seconds:
        """Give how long no new step may come: `shortest` where a process is stopped for good, and not slow.

        While all run, the first steps of a generation take longer than others.
        """
        if any(beat.state in STOPPED and beat.beat_age_s > policy.beat_stale_s for beat in beats):
            return shortest
        usual = max(shortest, policy.stall_s)
        is_warm = self.step - self.base > policy.warm_up_steps
        if is_warm or any(beat.state in NOT_RUNNING for beat in beats):
            return usual
        return max(usual, policy.warm_up_stall_s)

    def moves(self, job: Job, beats: Sequence[RankBeat], policy: Policy, now: Instant) -> bool:
        """Say whether every rank has just completed a collective."""
        within = max(policy.motion_s, self.pace(job))
        return all(now - self.motion.get(beat.worker, (0, 0.0))[1] <= within for beat in beats)

    def begin(self, generation: int, world: int, now: Instant) -> None:
        """A new generation is heard of."""
        self.generation, self.step, self.stepped_at, self.base = generation, -1, now, self.high
        self.began, self.underway = now, (now, -1)
        self.stalled = self.announced = False
        self.silent_since = None
        self.stragglers.new_generation()
        self.slowness.new_generation(world)
        self.motion.clear()

    def open(self, step: int) -> None:
        """Say what was reached before this watch began: it is nothing new."""
        self.high, self.opened = max(self.high, step), True

    def reach(self, step: int, at: Instant) -> None:
        """A step is heard of that was made at that time."""
        if step > self.high:
            self.high, self.high_at = step, at

    def within(self, step: int) -> int:
        """Give the step that a gang can be at: no rank is two ahead of those on all other nodes."""
        return min(step, max(self.spoken.others, self.base) + 1)

    def take(self, beat: RankBeat, step: int, now: Instant, age_s: Seconds = 0.0) -> bool:
        """Take in a rank's heartbeat, of which so much is believed; true when it tells of a new step.

        `age_s`: how long ago that was made, where that is known.
        """
        if beat.completed > self.motion.get(beat.worker, (-1, 0.0))[0]:
            self.motion[beat.worker] = beat.completed, now
        if step <= self.step:
            return False
        if step > self.high:
            self.high_at = now - age_s
        if self.step >= 0 and now > self.stepped_at >= self.measured:
            self.durations.append((now - self.stepped_at) / (step - self.step))
        earliest = self.stepped_at if self.step >= 0 else float("-inf")
        self.step, self.stepped_at = step, max(earliest, now - age_s)
        if step == beat.step:
            self.losses.append((step, beat.loss))
        return True

    def advanced(self, job: Job, state: State, policy: Policy, now: Instant) -> Iterator[JobAdvanced]:
        """Report a step that is news: a generation's first, one after a stall, or while a node is silent."""
        new = self.step > self.high
        self.high = max(self.high, self.step)
        first = not self.announced or self.stalled or job.stage is JobStage.BROKEN
        if new and (first or self._without_node(state, policy)):
            self.announced, self.stalled = True, False
            yield JobAdvanced(now, job.id, job.generation, self.step)

    def _without_node(self, state: State, policy: Policy) -> bool:
        """Say, once for each silent node, that steps go on that need a silent node's ranks: so it lives."""
        if not any(node.silent and state.workers.sitting(node.id) for node in state.nodes.values()):
            self.silent_since = None
            return False
        if self.silent_since is None:
            self.silent_since = self.step
        return self.step == self.silent_since + policy.steps_without_node

    def paced(self, job: Job, policy: Policy, now: Instant) -> Iterator[JobPaced]:
        """Tell how long a step takes, once it is known and when it has changed."""
        known, pace, change = job.median_step_s, self.pace(job), policy.pace_change
        if len(self.durations) >= policy.paced_steps and not known / change <= pace <= known * change:
            yield JobPaced(now, job.id, round(pace, 4))
