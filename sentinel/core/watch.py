"""The one detector: receipt-stamped reports and time in, facts about silence, stalls and stragglers out."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from sentinel.core.events import event_fact
from sentinel.core.progress import STOPPED_STATES
from sentinel.core.state import Job, JobStage, State
from sentinel.core.stragglers import Stragglers
from sentinel.model.fact import Fact, JobAdvanced, JobStalled, JobUnderway, NodeHeard, NodeSilent
from sentinel.model.ids import Instant, JobId, NodeId, Seconds
from sentinel.model.policy import Policy
from sentinel.model.report import RankBeat, Report

STEP_WINDOW = 32
"""Step durations that the running median is taken over."""
LOSS_WINDOW = 64
"""Losses that the status page draws."""
SLOW_PHASES = frozenset({"setup", "load", "save", "snapshot"})
"""Phases in which a rank may take long without being hung."""
STEPS_WITHOUT_NODE = 2
"""New steps since a node fell silent that need its ranks: one may have been under way."""
TOLD_UNDERWAY = 3
"""How often within `resume_timeout_s` a generation is said to be on its way: one telling may be late."""


@dataclass(slots=True)
class _Pulse:
    """What one job's heartbeats told so far."""

    generation: int = -1
    step: int = -1
    """Newest completed step of this generation."""
    stepped_at: Instant = 0.0
    high: int = -1
    """Newest step ever completed, over all generations."""
    pace: deque[Seconds] = field(default_factory=lambda: deque(maxlen=STEP_WINDOW))
    losses: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=LOSS_WINDOW))
    stalled: bool = False
    excused_at: Instant = 0.0
    """When standing still was last no stall."""
    announced: bool = False
    """The generation's first new step was told."""
    began: Instant = 0.0
    """When the generation was first heard of."""
    underway: tuple[Instant, int] = (0.0, -1)
    """When it was last said to be on its way, and at which step."""
    stragglers: Stragglers = field(default_factory=Stragglers)
    silent_since: int | None = None
    """Step at which a seated node was first seen silent; None while all report."""


class Watch:
    """Turns reports into facts. Pure: `now` comes from the caller, only facts are journalled."""

    def __init__(self, policy: Policy, started: Instant) -> None:
        self._policy = policy
        self._quiet_until = started + policy.grace_s
        self._heard: dict[NodeId, Instant] = {}
        self._beats: dict[NodeId, tuple[RankBeat, ...]] = {}
        self._pulses: dict[JobId, _Pulse] = {}

    def heard_age(self, node: NodeId, now: Instant) -> Seconds | None:
        """Seconds since the node's last report."""
        return now - self._heard[node] if node in self._heard else None

    def beats(self, node: NodeId) -> Sequence[RankBeat]:
        """Newest heartbeats of a node."""
        return self._beats.get(node, ())

    def median_step(self, job: JobId) -> Seconds | None:
        """Give the running median of a job's step time."""
        pulse = self._pulses.get(job)
        return median(pulse.pace) if pulse and pulse.pace else None

    def step_age(self, job: JobId, now: Instant) -> Seconds | None:
        """Seconds since the job's last new step."""
        pulse = self._pulses.get(job)
        return now - pulse.stepped_at if pulse and pulse.step >= 0 else None

    def losses(self, job: JobId) -> Sequence[tuple[int, float]]:
        """Give (step, loss) of the last steps that reports told of, oldest first."""
        pulse = self._pulses.get(job)
        return tuple(pulse.losses) if pulse else ()

    def hello(self, node: NodeId, now: Instant) -> None:
        """A node introduced itself: it is heard, and what it said before is old."""
        self._heard[node] = now
        self._beats.pop(node, None)

    def report(self, report: Report, state: State, now: Instant) -> list[Fact]:
        """Take one report in; its events become facts, its beats move the pulses."""
        facts: list[Fact] = []
        self._heard[report.node] = now
        node = state.nodes.get(report.node)
        if node is not None and node.silent:
            facts.append(NodeHeard(now, report.node))
        self._beats[report.node] = report.beats
        for beat in report.beats:
            facts += self._beat(beat, state, now)
        facts += (fact for _, event in report.events if (fact := event_fact(event, report.node, now)))
        return facts

    def tick(self, state: State, now: Instant) -> list[Fact]:
        """Say what the passing of time alone shows."""
        if now < self._quiet_until:
            return []
        return [*self._silent(state, now), *self._stalled(state, now), *self._underway(state, now)]

    # --- silence ---------------------------------------------------------------------------------------

    def _silent(self, state: State, now: Instant) -> Iterator[Fact]:
        limit = self._policy.silent_s
        present = [name for name, node in state.nodes.items() if not node.left]
        ages = {node: now - self._heard.get(node, self._quiet_until - limit) for node in present}
        silent = {node: age for node, age in ages.items() if age > limit}
        for node, age in silent.items():
            if not state.nodes[node].silent:
                yield NodeSilent(now, node, round(age, 3), len(silent) - 1, len(present))

    # --- progress --------------------------------------------------------------------------------------

    def _beat(self, beat: RankBeat, state: State, now: Instant) -> Iterable[Fact]:
        job = state.jobs.get(beat.job)
        worker = job.workers.get(beat.worker) if job else None
        if job is None or worker is None or worker.rank < 0 or beat.rank < 0:
            return ()
        pulse = self._pulses.get(job.id)
        if pulse is None:  # what was reached before this watch began is nothing new
            pulse = self._pulses[job.id] = _Pulse(high=max(job.high_step, beat.step))
        if beat.generation != job.generation:
            pulse.high = max(pulse.high, beat.step)
            return ()
        if pulse.generation != job.generation:
            self._new_generation(pulse, job, now)
        if beat.step <= pulse.step:
            return ()
        self._stepped(pulse, beat.step, now)
        pulse.losses.append((beat.step, beat.loss))
        return [*self._advanced(pulse, job, state, now), *self._slow(pulse, job, now)]

    def _new_generation(self, pulse: _Pulse, job: Job, now: Instant) -> None:
        pulse.generation, pulse.step, pulse.stepped_at = job.generation, -1, now
        pulse.began, pulse.underway = now, (now, -1)
        pulse.stalled = pulse.announced = False
        pulse.silent_since = None
        pulse.stragglers.new_generation()

    def _stepped(self, pulse: _Pulse, step: int, now: Instant) -> None:
        if pulse.step >= 0 and now > pulse.stepped_at:
            pulse.pace.append((now - pulse.stepped_at) / (step - pulse.step))
        pulse.step, pulse.stepped_at = step, now

    def _advanced(self, pulse: _Pulse, job: Job, state: State, now: Instant) -> Iterator[Fact]:
        new = pulse.step > pulse.high
        pulse.high = max(pulse.high, pulse.step)
        first = not pulse.announced or pulse.stalled or job.stage is JobStage.BROKEN
        if new and (first or self._without_node(pulse, state)):
            pulse.announced, pulse.stalled = True, False
            yield JobAdvanced(now, job.id, job.generation, pulse.step)

    def _without_node(self, pulse: _Pulse, state: State) -> bool:
        """Say, once per silence, that steps go on that need a silent node's ranks: so it lives."""
        if not any(node.silent and node.ranks for node in state.nodes.values()):
            pulse.silent_since = None
            return False
        if pulse.silent_since is None:
            pulse.silent_since = pulse.step
        return pulse.step == pulse.silent_since + STEPS_WITHOUT_NODE

    def _stalled(self, state: State, now: Instant) -> Iterator[Fact]:
        for job in state.jobs.values():
            pulse = self._pulses.get(job.id)
            if pulse is None or pulse.stalled or pulse.generation != job.generation:
                continue
            pace = median(pulse.pace) if pulse.pace else 0.0
            limit = max(self._policy.stall_s, self._policy.stall_factor * pace)
            if now - pulse.stepped_at <= limit or (age := self._still(job, pulse)) <= limit:
                continue
            beats = list(self._job_beats(job, now))
            if not beats:
                continue  # nobody is heard: that is silence, and says nothing about the job
            if self._excused(job, pulse, [beat for beat, _ in beats], age):
                pulse.excused_at = now
            if now - pulse.excused_at <= limit:  # a slow save has just ended: the step still has to be made
                continue
            pulse.stalled = True
            told, nodes = tuple(beat for beat, _ in beats), tuple(node for _, node in beats)
            yield JobStalled(now, job.id, job.generation, round(age, 3), round(pace, 4), told, nodes)

    def _underway(self, state: State, now: Instant) -> Iterator[Fact]:
        every = self._policy.resume_timeout_s / TOLD_UNDERWAY
        for job in state.jobs.values():
            pulse = self._pulses.get(job.id)
            if job.stage is not JobStage.FORMING or pulse is None or pulse.generation != job.generation:
                continue
            if now >= pulse.underway[0] + every and self._goes_on(job, pulse, now):
                pulse.underway = now, pulse.step
                yield JobUnderway(now, job.id, job.generation, pulse.step)

    def _goes_on(self, job: Job, pulse: _Pulse, now: Instant) -> bool:
        """Say whether a generation repeats steps, has one under way that takes its time, or is loading."""
        pace = median(pulse.pace) if pulse.pace else 0.0
        if pulse.step > pulse.underway[1] or now - pulse.stepped_at <= self._policy.stall_factor * pace:
            return True
        beats = (beat for beat, _ in self._job_beats(job, now) if beat.generation == job.generation)
        loads = any(beat.phase in SLOW_PHASES for beat in beats)
        return loads and now - pulse.began <= self._policy.slow_phase_s

    def _still(self, job: Job, pulse: _Pulse) -> Seconds:
        """How long the ranks' own reports show no new step; while no report comes, nothing is shown."""
        nodes = {worker.node for _, worker in job.seated()}
        return max((self._heard.get(node, 0.0) for node in nodes), default=0.0) - pulse.stepped_at

    def _excused(self, job: Job, pulse: _Pulse, beats: Sequence[RankBeat], age: Seconds) -> bool:
        """Say whether standing still is no stall: set-up, load, save and a first step take their time.

        So does any step while nobody knows how long this job's steps take. A stopped process is no
        excuse, whatever phase the others wait in.
        """
        if job.stage not in (JobStage.RUNNING, JobStage.FORMING):
            return True
        if any(beat.state in STOPPED_STATES for beat in beats) or age >= self._policy.slow_phase_s:
            return False
        if job.stage is JobStage.FORMING or not pulse.pace:
            return True
        return any(beat.phase in SLOW_PHASES for beat in beats)

    def _job_beats(self, job: Job, now: Instant) -> Iterator[tuple[RankBeat, NodeId]]:
        """Beats of a job's ranks from nodes that report now; a silent node's last word is no evidence."""
        ranks = {worker.id: rank for rank, worker in job.seated()}
        for node in dict.fromkeys(worker.node for _, worker in job.seated()):
            if now - self._heard.get(node, 0.0) > self._policy.silent_s / 2:
                continue
            for beat in self._beats.get(node, ()):
                if ranks.get(beat.worker) == beat.rank:
                    yield beat, node

    # --- stragglers ------------------------------------------------------------------------------------

    def _slow(self, pulse: _Pulse, job: Job, now: Instant) -> Iterator[Fact]:
        if pulse.stragglers.due(job.world, now):
            beats = [pair for pair in self._job_beats(job, now) if pair[0].generation == job.generation]
            yield from pulse.stragglers.weigh(job, beats, self._policy, now)
