"""Whether a standby's process runs: one that stands still is not warm."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sentinel.core.state.workers import Worker, WorkerKey, WorkerStage
from sentinel.model.fact import WorkerRuns, WorkerStopped
from sentinel.model.ids import Instant
from sentinel.model.policy import Policy
from sentinel.model.report import NOT_RUNNING, RankBeat


@dataclass(slots=True)
class Standbys:
    """When each standby that stands still was last seen so."""

    stopped: dict[WorkerKey, Instant] = field(default_factory=dict)

    def look(
        self, beat: RankBeat, worker: Worker, policy: Policy, now: Instant
    ) -> Iterator[WorkerStopped | WorkerRuns]:
        """Tell of a change."""
        if worker.stage is not WorkerStage.STANDBY:
            return
        stale = beat.beat_age_s > policy.beat_stale_s and not beat.damaged
        if beat.state in NOT_RUNNING or stale:
            if worker.key not in self.stopped:
                since = now - policy.runs_again_s  # last seen stopped before that: it runs again, or ended
                self.stopped = {key: at for key, at in self.stopped.items() if at > since}
            self.stopped[worker.key] = now
            if not worker.unfit:
                yield WorkerStopped(now, worker.job, worker.id, worker.node, beat.state, beat.beat_age_s)
        elif worker.unfit and now - self.stopped.get(worker.key, 0.0) >= policy.runs_again_s:
            yield WorkerRuns(now, worker.job, worker.id, worker.node)
