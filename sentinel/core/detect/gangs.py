"""Jobs that Sentinel did not start: a gang is seen when all its ranks beat."""

from collections.abc import Iterable, Iterator

from sentinel.core.state import State
from sentinel.core.state.workers import WorkerKey, WorkerStage
from sentinel.model.fact import GangSeen, RankExited, RankSeen
from sentinel.model.ids import Instant, JobId, NodeId
from sentinel.model.policy import Policy
from sentinel.model.report import UNKNOWN_END, RankBeat, Report

ENDED = frozenset("XZ")
MOST_JOBS = 64
"""Jobs that are watched at a time: a node may tell of any, and each is kept."""


class Gangs:
    """Which watched ranks beat that have no seat yet, and which have one and beat no more."""

    def __init__(self) -> None:
        self._jobs: dict[JobId, None] = {}
        """Jobs with such a rank."""
        self._unshown: dict[WorkerKey, Instant] = {}
        """Seated workers that their node does not show, and since when."""

    def met(self, job: JobId) -> None:
        """A watched rank beats whose worker is new."""
        self._jobs[job] = None

    def seen(
        self, beats: Iterable[tuple[NodeId, RankBeat]], state: State, now: Instant
    ) -> Iterator[GangSeen]:
        """Tell of each gang that is whole; `beats` are those of nodes that report now.

        While two processes say that they are the same rank, or say another number of ranks than the others,
        nobody knows which of them is the gang.
        """
        if not self._jobs:
            return
        jobs, self._jobs = self._jobs, {}
        found: dict[JobId, list[RankSeen]] = {job: [] for job in jobs}
        sizes: dict[JobId, set[int]] = {job: set() for job in jobs}
        for node, beat in beats:
            if beat.job in found and beat.world and beat.state not in ENDED and not _is_gone(beat, state):
                found[beat.job].append(RankSeen(beat.rank, beat.worker, node, beat.gpu, beat.pid))
                sizes[beat.job].add(beat.world)
        for job, ranks in found.items():
            ranks.sort(key=lambda seen: seen.rank)
            new = job not in state.jobs
            if new and sum(each.watched for each in state.jobs.values()) >= MOST_JOBS:
                continue
            if sizes[job] == {len(ranks)} and [seen.rank for seen in ranks] == list(range(len(ranks))):
                yield GangSeen(now, job, tuple(ranks))

    def gone(self, report: Report, state: State, policy: Policy, now: Instant) -> Iterator[RankExited]:
        """Tell of ranks that their node's agent does not show for long: they ended while no agent was there.

        Their launcher may have been the only one to see it; of our own ranks a record is left.
        """
        if not any(job.watched for job in state.jobs.values()):
            return
        shown = {(beat.job, beat.worker) for beat in report.beats}
        for worker in state.workers.sitting(report.node):
            if worker.key in shown or not (worker.is_living and state.jobs[worker.job].watched):
                self._unshown.pop(worker.key, None)
            elif now - self._unshown.setdefault(worker.key, now) > policy.silent_s:
                place = worker.rank, worker.id, worker.node, worker.gpu, worker.pid
                yield RankExited(now, worker.job, *place, state.jobs[worker.job].generation, UNKNOWN_END)


def _is_gone(beat: RankBeat, state: State) -> bool:
    """Say whether it was seen to end, or is to be ended by whoever starts the job again."""
    worker = state.workers.get(beat.job, beat.worker)
    return worker is not None and worker.stage is WorkerStage.GONE
