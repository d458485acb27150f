"""Whether a standby's process runs: one that stands still is not warm."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sentinel.core.detect.laggards import BEAT_STALE_S
from sentinel.core.state.crew import Worker, WorkerKey, WorkerStage
from sentinel.model.fact import WorkerRuns, WorkerStopped
from sentinel.model.ids import Instant
from sentinel.model.report import NOT_RUNNING, RankBeat

RUNS_AGAIN_S = 2.0
"""It has to be seen running for so long: one that is stopped again and again is told once."""
FORGET_S = 60.0
"""Who was not seen stopped for so long runs, or is gone."""


@dataclass(slots=True)
class Standbys:
    """When each standby that stands still was last seen so."""

    stopped: dict[WorkerKey, Instant] = field(default_factory=dict)

    def look(self, beat: RankBeat, worker: Worker, now: Instant) -> Iterator[WorkerStopped | WorkerRuns]:
        """Tell of a change."""
        if worker.stage is not WorkerStage.STANDBY:
            return
        stale = beat.beat_age_s > BEAT_STALE_S and not beat.damaged
        if beat.state in NOT_RUNNING or stale:
            if worker.key not in self.stopped:
                self.stopped = {key: at for key, at in self.stopped.items() if at > now - FORGET_S}
            self.stopped[worker.key] = now
            if not worker.unfit:
                yield WorkerStopped(now, worker.job, worker.id, worker.node, beat.state, beat.beat_age_s)
        elif worker.unfit and now - self.stopped.get(worker.key, 0.0) >= RUNS_AGAIN_S:
            yield WorkerRuns(now, worker.job, worker.id, worker.node)
