"""The one detector: stamped reports and time in; silent nodes, stalls and stragglers out, as facts."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from statistics import median
from typing import TypeGuard

from msgspec.structs import replace

from sentinel.core.detect.clocks import Clocks
from sentinel.core.detect.events import event_fact
from sentinel.core.detect.gangs import Gangs
from sentinel.core.detect.laggards import laggards
from sentinel.core.detect.progress import NOBODY, Progress
from sentinel.core.detect.reboots import rebooted
from sentinel.core.detect.standbys import Standbys
from sentinel.core.state import State
from sentinel.core.state.rows import Job, JobStage
from sentinel.model.fact import Fact, JobStalled, JobUnderway, NodeHeard, NodeJoined, NodeSilent, Origin
from sentinel.model.ids import Instant, JobId, NodeId, Seconds
from sentinel.model.policy import Policy
from sentinel.model.report import NOT_RUNNING, Event, FindingSeen, Hello, RankBeat, Report
from sentinel.phases import SLOW_PHASES


class Watch:
    """Turns reports into facts. Pure: `now` comes from the caller, only facts are journalled."""

    def __init__(self, policy: Policy, started: Instant) -> None:
        self._policy = policy
        self._quiet_until = started + policy.grace_s
        self._slept_s: Seconds = 0.0
        """How long nobody looked before that; 0 for a watch that is new."""
        self._heard: dict[NodeId, Instant] = {}
        self._beats: dict[NodeId, tuple[RankBeat, ...]] = {}
        self._progress: dict[JobId, Progress] = {}
        self._standbys = Standbys()
        self._gangs = Gangs()
        self._clocks = Clocks(policy)
        self._gathered: dict[JobId, list[tuple[RankBeat, NodeId]]] = {}

    def heard_age(self, node: NodeId, now: Instant) -> Seconds | None:
        """Seconds since the node's last report."""
        return now - self._heard[node] if node in self._heard else None

    def beats(self, node: NodeId) -> Sequence[RankBeat]:
        """Newest heartbeats of a node."""
        return self._beats.get(node, ())

    def median_step(self, job: JobId) -> Seconds | None:
        """Give the running median of a job's step time."""
        progress = self._progress.get(job)
        return median(progress.durations) if progress and progress.durations else None

    def step_age(self, job: JobId, now: Instant) -> Seconds | None:
        """Seconds since the job's last new step."""
        progress = self._progress.get(job)
        return now - progress.stepped_at if progress and progress.step >= 0 else None

    def reached(self, job: JobId) -> tuple[int, Instant, Seconds] | None:
        """Give a job's highest step, when its newest one was made, and how long one usually takes, or 0."""
        progress = self._progress.get(job)
        if progress is None:
            return None
        return progress.high, progress.high_at, progress.slowness.tempo.usual_s

    def losses(self, job: JobId) -> Sequence[tuple[int, float]]:
        """Give (step, loss) of the last steps that reports told of, oldest first."""
        progress = self._progress.get(job)
        return tuple(progress.losses) if progress else ()

    def hello(self, hello: Hello, state: State, now: Instant) -> list[Fact]:
        """A node introduced itself: if that is news, it is heard, and what it said before is old."""
        known = state.nodes.get(hello.node)
        said = (hello.boot, hello.port, hello.address, hello.gpus, hello.labels)
        same = known is not None and (known.boot, known.port, known.address, known.gpus, known.labels) == said
        if known is not None and same and not (known.silent or known.left):
            return []
        self._heard[hello.node] = now
        self._beats.pop(hello.node, None)
        place = hello.address, hello.port, hello.gpus, hello.boot, hello.labels
        again = rebooted(known, hello, state, now) if known is not None else ()
        return [NodeJoined(now, hello.node, *place), *again]

    def report(self, report: Report, state: State, now: Instant) -> list[Fact]:
        """Take one report in; its events become facts, its beats show progress."""
        facts: list[Fact] = []
        blind = now < self._quiet_until
        late_s = min(self._slept_s, self._clocks.late(report, now)) if blind else 0.0
        self._heard[report.node] = now
        node = state.nodes.get(report.node)
        if node is not None and node.silent:
            facts.append(NodeHeard(now, report.node))
        self._beats[report.node] = tuple(_placed(beat, state) for beat in report.beats)
        self._gathered.clear()
        for beat in self._beats[report.node]:
            facts += self._beat(beat, state, now, _step_age(beat, report) + late_s if blind else 0.0)
        for number, event in _current(report):
            fact = event_fact(event, Origin(report.node, report.boot, number), now, late_s)
            facts += [fact] if fact else []
        facts += self._gangs.gone(report, state, self._policy, now)
        facts += self._clocks.take(report, node, now)
        return facts

    def slept(self, now: Instant, for_s: Seconds) -> None:
        """Nobody looked for so long: that makes no node silent, and reports that wait are old ones."""
        self._quiet_until = max(self._quiet_until, now + min(self._policy.grace_s, for_s))
        self._slept_s = for_s
        for progress in self._progress.values():
            progress.measured = self._quiet_until

    def tick(self, state: State, now: Instant) -> list[Fact]:
        """Say what the passing of time alone shows, and which gangs are whole by now."""
        gangs = list(self._gangs.seen(self._heard_beats(now), state, now))
        for gang in gangs:
            if (job := state.jobs.get(gang.job)) is None or job.is_over:
                self._progress.pop(gang.job, None)  # another run of it: its steps may begin anew
        if now < self._quiet_until:
            return [*gangs]
        return [*gangs, *self._silent(state, now), *self._stalled(state, now), *self._underway(state, now)]

    # --- silent nodes ----------------------------------------------------------------------------------

    def _silent(self, state: State, now: Instant) -> Iterator[Fact]:
        limit = self._policy.silent_s
        present = [name for name, node in state.nodes.items() if not node.left]
        ages = {node: now - self._heard.get(node, self._quiet_until - limit) for node in present}
        silent = {node: age for node, age in ages.items() if age > limit}
        for node, age in silent.items():
            if not state.nodes[node].silent:
                yield NodeSilent(now, node, round(age, 3), len(silent) - 1, len(present))

    # --- progress --------------------------------------------------------------------------------------

    def _beat(self, beat: RankBeat, state: State, now: Instant, step_age_s: Seconds) -> Iterable[Fact]:
        job = state.jobs.get(beat.job)
        worker = state.workers.get(job.id, beat.worker) if job else None
        if job is None or worker is None:
            if beat.world and (job is None or job.watched):
                self._gangs.met(beat.job)
            return ()
        if worker.rank < 0:
            return self._standbys.look(beat, worker, self._policy, now)
        if beat.rank < 0 or beat.damaged:
            return ()
        progress = self._progress.get(job.id)
        if progress is None:
            progress = self._progress[job.id] = Progress.of(job, self._policy)
        if (step := self._believed(beat, worker.node, job, progress, state, now)) is None:
            return ()
        if not progress.opened:
            progress.open(step)
        if beat.generation != job.generation:
            progress.reach(step, now - step_age_s)
            return ()
        if progress.generation != job.generation:
            progress.begin(job.generation, job.world, now)
        looks = progress.slowness.looks
        looks.take(beat, worker.node, self._policy)
        if looks.due(now, self._policy):
            looks.weigh(job, self._generations_beats(job, state, now), now)
        if not progress.take(beat, step, now, step_age_s):
            return ()
        beats = partial(self._generations_beats, job, state, now)
        seen = (
            progress.advanced(job, state, self._policy, now),
            self._slow(progress, job, state, now),
            progress.paced(job, self._policy, now),
            progress.slowness.stepped(progress.step, job, beats, now, self._policy),
        )
        return chain.from_iterable(seen)

    def _believed(
        self, beat: RankBeat, node: NodeId, job: Job, progress: Progress, state: State, now: Instant
    ) -> int | None:
        """Give the step that a beat shows; None as long as one node alone tells where the job was before."""
        progress.spoken.tell(node, beat.step)
        step = progress.within(beat.step)
        if step == beat.step and progress.opened:
            return step
        if not self._is_seconded(job, node, state, now):
            return beat.step
        return step if progress.opened or progress.spoken.others > NOBODY else None

    def _is_seconded(self, job: Job, node: NodeId, state: State, now: Instant) -> bool:
        """Say whether another node with ranks of the job speaks, or soon may."""
        within = self._policy.silent_s / 2
        others = (seat.node for seat in state.workers.seats(job.id) if seat and seat.node != node)
        return any(now - self._heard.get(other, self._quiet_until) <= within for other in others)

    def _stalled(self, state: State, now: Instant) -> Iterator[Fact]:
        least = min(self._policy.stopped_s, self._policy.stall_s)
        for job in state.jobs.values():
            progress = self._progress.get(job.id)
            if progress is None or progress.generation != job.generation:
                continue
            if progress.stalled and job.stage is not JobStage.RUNNING:
                continue  # its stall has an incident already
            pace = progress.pace(job)
            shortest = max(least, self._policy.stall_factor * pace)
            if now - progress.stepped_at <= shortest:
                continue
            beats = list(self._job_beats(job, state, now))
            if not beats:
                continue  # no node reports: that says nothing about the job
            limit = progress.limit(shortest, [beat for beat, _ in beats], self._policy)
            if now - progress.stepped_at <= limit or (age := self._still(job, progress, state)) <= limit:
                continue
            if self._excused(job, progress, [beat for beat, _ in beats], now, age):
                progress.excused_at = now
            if now - progress.excused_at <= limit:  # a slow save has just ended, the step still has to come
                continue
            ranks = laggards([beat for beat, _ in beats], job.world, self._policy).ranks
            usual = max(shortest, self._policy.stall_s)
            if age < self._policy.slow_phase_s and any(_moves(b, usual) for b, _ in beats if b.rank in ranks):
                continue  # whom the others wait for has moved since: it is late, and does not stand still
            if progress.stalled and not progress.others(ranks, now, limit):
                continue
            progress.stalled, progress.reported = True, ranks
            shown, nodes = tuple(beat for beat, _ in beats), tuple(node for _, node in beats)
            yield JobStalled(now, job.id, job.generation, round(age, 3), round(pace, 4), shown, nodes)

    def _underway(self, state: State, now: Instant) -> Iterator[Fact]:
        every = self._policy.resume_timeout_s / self._policy.underway_tellings
        for job in state.jobs.values():
            progress = self._progress.get(job.id)
            if job.stage is not JobStage.FORMING or progress is None or progress.generation != job.generation:
                continue
            if now >= progress.underway[0] + every and self._goes_on(job, progress, state, now):
                progress.underway = now, progress.step
                yield JobUnderway(now, job.id, job.generation, progress.step)

    def _goes_on(self, job: Job, progress: Progress, state: State, now: Instant) -> bool:
        """Say whether a generation repeats steps, has one under way that takes its time, or is loading."""
        pace = progress.pace(job)
        if (
            progress.step > progress.underway[1]
            or now - progress.stepped_at <= self._policy.stall_factor * pace
        ):
            return True
        beats = (beat for beat, _ in self._job_beats(job, state, now) if beat.generation == job.generation)
        loads = any(beat.phase in SLOW_PHASES for beat in beats)
        return loads and now - progress.began <= self._policy.slow_phase_s

    def _still(self, job: Job, progress: Progress, state: State) -> Seconds:
        """How long the ranks' own reports show no new step; while no report comes, nothing is shown."""
        nodes = {worker.node for _, worker in state.seated(job)}
        return max((self._heard.get(node, 0.0) for node in nodes), default=0.0) - progress.stepped_at

    def _excused(
        self, job: Job, progress: Progress, beats: Sequence[RankBeat], now: Instant, age: Seconds
    ) -> bool:
        """Say whether standing still is no stall: slow phases and a first step take their time.

        So does any step while nobody knows how long this job's steps take, and one in which all ranks' other
        collectives come and go, as in an evaluation. A stopped process is no excuse, whatever phase the
        others wait in.
        """
        if job.stage not in (JobStage.RUNNING, JobStage.FORMING):
            return True
        if any(beat.state in NOT_RUNNING for beat in beats) or age >= self._policy.slow_phase_s:
            return False
        if job.stage is JobStage.FORMING or not progress.pace(job):
            return True
        believed = [beat for beat in beats if not beat.damaged]
        return any(beat.phase in SLOW_PHASES for beat in believed) or progress.moves(
            job, believed, self._policy, now
        )

    def _heard_beats(self, now: Instant) -> Iterator[tuple[NodeId, RankBeat]]:
        """Beats of nodes that report now."""
        for node, beats in self._beats.items():
            if now - self._heard[node] <= self._policy.silent_s / 2:
                yield from ((node, beat) for beat in beats)

    def _job_beats(self, job: Job, state: State, now: Instant) -> Iterator[tuple[RankBeat, NodeId]]:
        """Beats of a job's ranks from nodes that report now; a silent node's last word is no evidence."""
        seated = [worker for _, worker in state.seated(job)]
        ranks = {worker.id: worker.rank for worker in seated}
        for node in dict.fromkeys(worker.node for worker in seated):
            if now - self._heard.get(node, 0.0) > self._policy.silent_s / 2:
                continue
            for beat in self._beats.get(node, ()):
                if ranks.get(beat.worker) == beat.rank:
                    yield beat, node

    # --- slowness --------------------------------------------------------------------------------------

    def _slow(self, progress: Progress, job: Job, state: State, now: Instant) -> Iterator[Fact]:
        if progress.stragglers.due(job.world, self._policy, now):
            beats = self._generations_beats(job, state, now)
            yield from progress.stragglers.weigh(job, beats, state.nodes, self._policy, now)

    def _generations_beats(self, job: Job, state: State, now: Instant) -> list[tuple[RankBeat, NodeId]]:
        """Beats of the newest generation's ranks that are believed, gathered once for each report."""
        if job.id not in self._gathered:
            beats = self._job_beats(job, state, now)
            newest = (pair for pair in beats if pair[0].generation == job.generation)
            self._gathered[job.id] = [pair for pair in newest if not pair[0].damaged]
        return self._gathered[job.id]


def _placed(beat: RankBeat, state: State) -> RankBeat:
    """Put a watched rank's beat into the generation in which it was seen: its starter counts anew."""
    worker = state.workers.get(beat.job, beat.worker) if beat.world else None
    if worker is None or worker.rank < 0:
        return beat
    return replace(beat, generation=state.jobs[beat.job].generation)


def _step_age(beat: RankBeat, report: Report) -> Seconds:
    """Say how long ago a rank made its last step, when it was told; 0 where that is not known.

    A rank that has failed has entered this phase since; else its node's clock says it, of both.
    """
    if beat.phase == "failed":
        return max(0.0, beat.phase_age_s)
    return max(0.0, report.sent - beat.arrival) if report.sent and beat.arrival else 0.0


def _current(report: Report) -> list[tuple[int, Event]]:
    """Leave out states that have changed since: a spool tells what was, and what was repaired meanwhile."""
    newest = {event.finding.key: event for _, event in report.events if _is_state(event)}
    return [(n, each) for n, each in report.events if not _is_state(each) or newest[each.finding.key] is each]


def _moves(beat: RankBeat, within: Seconds) -> bool:
    """Say whether a rank has entered another phase of its step meanwhile, and so does not stand still."""
    return beat.state not in NOT_RUNNING and beat.phase_age_s <= within and beat.beat_age_s <= within


def _is_state(event: Event) -> TypeGuard[FindingSeen]:
    return isinstance(event, FindingSeen) and not event.finding.event
