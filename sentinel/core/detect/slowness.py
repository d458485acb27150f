"""When all ranks of a job have become slow, and which of them the others waited for meanwhile."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from sentinel.core.detect.looks import Looks, outside
from sentinel.core.detect.tempo import Change, Lap, Tempo
from sentinel.core.state.rows import Job, JobStage
from sentinel.model.fact import JobAtPace, JobSlowed
from sentinel.model.ids import Instant, NodeId
from sentinel.model.policy import Policy
from sentinel.model.report import RankBeat

Beats: TypeAlias = Sequence[tuple[RankBeat, NodeId]]


@dataclass(slots=True)
class Slowness:
    """The pace of one job, and the looks at its ranks."""

    tempo: Tempo
    looks: Looks = field(default_factory=Looks)

    @classmethod
    def of(cls, job: Job, policy: Policy) -> "Slowness":
        """Go on from what an earlier watch has reported."""
        slowness = cls(Tempo.of(policy))
        if job.usual_step_s:
            slowness.tempo.expect(job.usual_step_s, job.world, policy)
        return slowness

    def new_generation(self, world: int) -> None:
        """Ranks may sit elsewhere, and warm up."""
        self.looks.new_generation()
        self.tempo.new_generation(world)

    def stepped(
        self, step: int, job: Job, beats: Callable[[], Beats], now: Instant, policy: Policy
    ) -> Iterator[JobSlowed | JobAtPace]:
        """Take a new step; tell when the pace has dropped, and when it is the usual one again."""
        tempo = self.tempo
        if job.stage is not JobStage.RUNNING:
            tempo.pause()
        if (ended := tempo.lap(step, now, policy)) is None:
            return
        lap = Lap(*ended, outside(beats()), self.looks.close())
        change = tempo.take(lap, now, policy, was_slow=job.usual_step_s > 0)
        if change is Change.SLOWED:
            yield self._slowed(job, now)
        elif change is Change.AT_PACE:
            yield JobAtPace(now, job.id, job.generation, round(tempo.step_s, 4), round(tempo.usual_s, 4))

    def _slowed(self, job: Job, now: Instant) -> JobSlowed:
        tempo, laps = self.tempo, self.tempo.recent
        return JobSlowed(
            now,
            job.id,
            job.generation,
            round(tempo.step_s, 4),
            round(tempo.usual_s, 4),
            round(sum(lap.seconds for lap in laps), 3),
            sum(lap.steps for lap in laps),
            round(tempo.outside_s, 4),
            round(tempo.usual_outside_s, 4),
            tuple(self.looks.named(tempo.tally, tempo.before)),
        )
