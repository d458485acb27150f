"""The one seat table: every worker of every job, and by it who sits where, who waits where, who is gone."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import compress, groupby, starmap, zip_longest
from operator import attrgetter, is_not
from typing import TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from sentinel.core.state.tables import Fold, Index, Marks, Table
from sentinel.model.action import Seat
from sentinel.model.ids import Instant, JobId, NodeId, WorkerId

K = TypeVar("K")
T = TypeVar("T")
WorkerKey: TypeAlias = tuple[JobId, WorkerId]
Seats: TypeAlias = tuple[Seat | None, ...]


class WorkerStage(StrEnum):
    """A worker's life."""

    STARTING = "starting"
    STANDBY = "standby"
    RANK = "rank"
    GONE = "gone"


_RANK, _GONE = (
    WorkerStage.RANK,
    WorkerStage.GONE,
)  # a member costs more to look up than all else that is asked
_WAITING = WorkerStage.STARTING, WorkerStage.STANDBY


class Worker(Struct, frozen=True, gc=False):
    """One process that is or may become a rank."""

    id: WorkerId
    node: NodeId
    stage: WorkerStage = WorkerStage.STARTING
    pid: int = 0
    gpu: int = -1
    """Where it computes; while it has no seat, where it warmed up; -1 if its node tells of no GPU."""
    rank: int = -1
    """Its seat, which it keeps when it is gone until the next generation; -1 while it has none."""
    seated: int = 0
    """Generation in which it got its seat."""
    since: Instant = 0.0
    spent: bool = False
    """Its own code raised: after a CUDA error a process never computes again."""
    job: JobId = JobId("")
    unwanted: bool = False
    """It is to be stopped: it was called stuck, or it did not start in time."""
    fell_short: bool = False
    """Its process ended before it was warm, and who asked for it has not said so yet."""
    may_run: bool = False
    """It was ordered to stop while nobody could see it end: it is ordered again."""
    unfit: bool = False
    """A standby whose process stands still."""
    done: bool = False
    """A rank whose process ended with 0: the job is finished when all are."""

    @property
    def is_done(self) -> bool:
        """Whether its rank's work is done; who got no seat in the next generation has none."""
        return self.done and self.rank >= 0

    @property
    def key(self) -> WorkerKey:
        """What it is found by."""
        return self.job, self.id

    @property
    def is_living(self) -> bool:
        """Whether it has not ended and was not told to."""
        return self.stage is not _GONE

    @property
    def waits(self) -> bool:
        """Whether it may be given a seat, now or when it is warm."""
        return self.stage in _WAITING


class WorkerTable:
    """Workers by key, and each generation's seats; the rest is found again from them, and never kept."""

    def __init__(
        self,
        fold: Fold,
        rows: Iterable[Worker] = (),
        seats: Mapping[JobId, Sequence[WorkerId]] | None = None,
    ) -> None:
        self.rows: Table[WorkerKey, Worker] = Table(fold, kind="workers")
        self._seats: Index[JobId, Seats] = Index(fold)
        self._sitting: Index[NodeId, tuple[WorkerKey, ...]] = Index(fold)
        self._waiting: Index[tuple[JobId, NodeId], tuple[WorkerKey, ...]] = Index(fold)
        """Starting workers and standbys, oldest first."""
        self._gone: Marks[WorkerKey] = Marks(fold)
        self._spent: Marks[WorkerKey] = Marks(fold)
        """Whose own code raised, while they live."""
        self._counts: Index[JobId, int] = Index(fold)
        """How many workers each job has."""
        self._done: Index[JobId, int] = Index(fold)
        """How many ranks of each job have ended with 0."""
        self._to_stop: Marks[WorkerKey] = Marks(fold)
        self._doubtful: Marks[tuple[JobId, NodeId]] = Marks(fold)
        """Where a standby may be missing; a memo, which never says too little."""
        self._open: Marks[NodeId] = Marks(fold)
        """Nodes on which a rank may be placed."""
        self._spare: Marks[NodeId] = Marks(fold, kind="spare")
        """Of these, those without a rank."""
        for worker in rows:
            self.put(worker)
        for job, names in (seats or {}).items():
            held = (self.get(job, name) for name in names)
            self._seats.put(job, tuple(_seat_of(worker) if worker else None for worker in held))

    # --- questions -------------------------------------------------------------------------------------

    def get(self, job: JobId, worker: WorkerId) -> Worker | None:
        """Return one worker."""
        return self.rows.get((job, worker))

    def has(self, job: JobId) -> bool:
        """Say whether a job has any worker, if only one that is gone."""
        return job in self._counts

    def of(self, job: JobId) -> list[Worker]:
        """All workers of a job, in the order in which they were started."""
        return [worker for worker in self.rows.values() if worker.job == job]

    def seats(self, job: JobId) -> Seats:
        """Give each rank's seat in the newest generation; None where its worker is not known any more."""
        return self._seats.get(job, ())

    def at(self, job: JobId, rank: int) -> Worker | None:
        """Return the worker of one rank."""
        seats = self.seats(job)
        seat = seats[rank] if 0 <= rank < len(seats) else None
        return self.rows[job, seat.worker] if seat else None

    def seated(self, job: JobId) -> Iterator[tuple[int, Worker]]:
        """Ranks with their workers."""
        for seat in self.seats(job):
            if seat is not None:
                yield seat.rank, self.rows[job, seat.worker]

    def seated_count(self, job: JobId) -> int:
        """Count the ranks that have a worker."""
        return len([*filter(None, self.seats(job))])

    def sitting(self, node: NodeId) -> list[Worker]:
        """Who is seated on a node, of whichever job."""
        return [self.rows[key] for key in self._sitting.get(node, ())]

    def is_hosted(self, job: JobId, node: NodeId) -> bool:
        """Say whether a rank of this job sits on the node."""
        return any(owner == job for owner, _ in self._sitting.get(node, ()))

    def waiting(self, job: JobId, node: NodeId) -> list[Worker]:
        """A node's starting workers and standbys, oldest first."""
        return [self.rows[key] for key in self._waiting.get((job, node), ())]

    def warm(self, job: JobId, node: NodeId) -> list[Worker]:
        """Of these, those that are or may become warm: not who stands still."""
        return [worker for worker in self.waiting(job, node) if not worker.unfit]

    def hosts(self, job: JobId) -> list[NodeId]:
        """Nodes with starting workers or standbys."""
        return [node for owner, node in self._waiting if owner == job]

    def gone(self, job: JobId) -> list[Worker]:
        """Who has ended, or is to end, and is not forgotten."""
        return [self.rows[key] for key in self._gone if key[0] == job]

    def spent(self, job: JobId) -> list[Worker]:
        """Living workers that get no seat in another generation."""
        return [self.rows[key] for key in self._spent if key[0] == job]

    def done(self, job: JobId) -> int:
        """Count the ranks whose work is done."""
        return self._done.get(job, 0)

    def to_stop(self, job: JobId) -> list[Worker]:
        """Who is to be told to stop, by name."""
        return sorted((self.rows[key] for key in self._to_stop if key[0] == job), key=lambda w: w.id)

    def doubtful(self, job: JobId) -> list[NodeId]:
        """Nodes where a standby may be missing, by name."""
        return sorted(node for owner, node in self._doubtful if owner == job)

    def has_spare(self) -> bool:
        """Say whether there is a node on which a rank may be placed, and none is."""
        return len(self._spare) > 0

    # --- changes ---------------------------------------------------------------------------------------

    def put(self, worker: Worker) -> Worker:
        """Put a worker in the place of what was known of it; gives it back."""
        key = worker.job, worker.id
        before = self.rows.get(key)
        self.rows.put(key, worker)
        if before is None:
            self._counts.put(worker.job, self._counts.get(worker.job, 0) + 1)
        elif before.unfit != worker.unfit:
            self.look_again_at(worker.job, worker.node)
        self._relocate(before, worker, key)
        self._requeue(before, worker, key)
        if (held := _marks(before)) != (marks := _marks(worker)):
            for table, had, has in zip((self._gone, self._spent, self._to_stop), held, marks, strict=True):
                if had is not has:
                    table.note(key, has)
        if more := worker.is_done - (before is not None and before.is_done):
            self._done.put(worker.job, self.done(worker.job) + more)
        return worker

    def forget(self, worker: Worker) -> None:
        """Drop a worker, and its seat if it has one."""
        if worker.rank >= 0:
            seats = self.seats(worker.job)
            held = tuple(None if seat and seat.worker == worker.id else seat for seat in seats)
            self._seats.put(worker.job, held)
        self.put(replace(worker, stage=WorkerStage.GONE, rank=-1, may_run=False))
        self._gone.drop(worker.key)
        self.rows.drop(worker.key)
        if left := self._counts[worker.job] - 1:
            self._counts.put(worker.job, left)
        else:
            self._counts.drop(worker.job)

    def dismiss(self, worker: Worker, now: Instant) -> Worker:
        """Its process ended, or is to end."""
        return self.put(replace(self.rows[worker.key], stage=WorkerStage.GONE, since=now))

    def form(self, job: JobId, generation: int, seats: Sequence[Seat]) -> None:
        """Seat a generation: the one place that says who sits where."""
        left, taken = changes(self.seats(job), seats)
        for seat in left:
            self.put(replace(self.rows[job, seat.worker], rank=-1))
        for node, here in groupby(taken, attrgetter("node")):
            self._seat(job, node, generation, {seat.worker: seat for seat in here})
        self._seats.put(job, tuple(seats))

    def _seat(self, job: JobId, node: NodeId, generation: int, seats: dict[WorkerId, Seat]) -> None:
        """Seat a node's workers: who sits and who waits there is written once for all of them."""
        queue = self._waiting.get((job, node), ())
        risen = {
            key: _seated(self.rows[key], seats.pop(key[1]), generation) for key in queue if key[1] in seats
        }
        for seat in seats.values():  # who has a seat already, and gets another one
            self.put(_seated(self.rows[job, seat.worker], seat, generation))
        if risen:
            self.rows.put_all(risen)
            self._sitting.put(node, tuple(sorted({*self._sitting.get(node, ()), *risen})))
            _keep(self._waiting, (job, node), tuple(key for key in queue if key not in risen))
            self._count_spare(node)
            self.look_again_at(job, node)

    def start_over(self, job: JobId) -> None:
        """Forget the seats of a job that has no worker any more."""
        self._seats.drop(job)

    def opens(self, node: NodeId, *, may_sit: bool) -> None:
        """Take note whether ranks may be placed on a node."""
        self._open.note(node, may_sit)
        self._count_spare(node)

    def _count_spare(self, node: NodeId) -> None:
        self._spare.note(node, node in self._open and node not in self._sitting)

    def misses_none(self, job: JobId, node: NodeId) -> None:
        """No standby is missing there, until something about the node changes."""
        self._doubtful.drop((job, node))

    def look_again_at(self, job: JobId, node: NodeId) -> None:
        """Something about a node has changed: standbys may be missing there."""
        self._doubtful.put((job, node), True)

    def _relocate(self, before: Worker | None, worker: Worker, key: WorkerKey) -> None:
        sat, sits = before is not None and before.rank >= 0, worker.rank >= 0
        if sat == sits:
            return
        here = {*self._sitting.get(worker.node, ())} ^ {key}
        _keep(self._sitting, worker.node, tuple(sorted(here)))  # in the same order after a restart
        self._count_spare(worker.node)
        self.look_again_at(worker.job, worker.node)

    def _requeue(self, before: Worker | None, worker: Worker, key: WorkerKey) -> None:
        waited, waits = before is not None and before.stage in _WAITING, worker.stage in _WAITING
        if waited == waits:
            return
        place = worker.job, worker.node
        queue = self._waiting.get(place, ())
        if waits:
            self._waiting.put(place, (*queue, key))
        else:
            _keep(self._waiting, place, tuple(other for other in queue if other != key))
            self.look_again_at(*place)


def _marks(worker: Worker | None) -> tuple[bool, bool, bool]:
    """Say whether it is gone, whether its own code raised while it lives, and whether it is to stop."""
    if worker is None:
        return False, False, False
    gone = worker.stage is _GONE
    return gone, worker.spent and not gone, worker.may_run or (worker.unwanted and not gone)


def _seated(worker: Worker, seat: Seat, generation: int) -> Worker:
    return replace(worker, stage=_RANK, gpu=seat.gpu, rank=seat.rank, seated=generation)


def _seat_of(worker: Worker) -> Seat:
    return Seat(worker.rank, worker.id, worker.node, worker.gpu)


def changes(before: Sequence[Seat | None], seats: Sequence[Seat]) -> tuple[list[Seat], list[Seat]]:
    """Return the seats that are given up and the new ones; who stays keeps the same seat."""
    another = starmap(is_not, zip_longest(before, seats))  # thousands stay, and are the same
    changed = [(old, new) for old, new in compress(zip_longest(before, seats), another) if old != new]
    return [old for old, _ in changed if old], [new for _, new in changed if new]


def _keep(table: Table[K, tuple[T, ...]], key: K, items: tuple[T, ...]) -> None:
    if items:
        table.put(key, items)
    else:
        table.drop(key)
