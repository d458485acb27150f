"""Jobs that Sentinel did not start: a gang is seen when all its ranks beat."""

from collections.abc import Iterable, Iterator

from sentinel.core.state import State
from sentinel.core.state.crew import WorkerStage
from sentinel.model.fact import GangSeen, RankSeen
from sentinel.model.ids import Instant, JobId, NodeId
from sentinel.model.report import RankBeat

ENDED = frozenset("XZ")


class Gangs:
    """Which watched ranks beat that have no seat yet."""

    def __init__(self) -> None:
        self._jobs: dict[JobId, None] = {}
        """Jobs with such a rank."""

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
            if sizes[job] == {len(ranks)} and [seen.rank for seen in ranks] == list(range(len(ranks))):
                yield GangSeen(now, job, tuple(ranks))


def _is_gone(beat: RankBeat, state: State) -> bool:
    """Say whether it was seen to end, or is to be ended by whoever starts the job again."""
    worker = state.crew.get(beat.job, beat.worker)
    return worker is not None and worker.stage is WorkerStage.GONE
