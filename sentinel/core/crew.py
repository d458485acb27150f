"""A job's workers by what is asked of them: found again from the job itself, never part of a snapshot."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import zip_longest

from msgspec import Struct

from sentinel.model.action import Seat
from sentinel.model.ids import Instant, NodeId, WorkerId


class WorkerStage(StrEnum):
    """A worker's life."""

    STARTING = "starting"
    STANDBY = "standby"
    RANK = "rank"
    GONE = "gone"


class Worker(Struct):
    """One process that is or may become a rank."""

    id: WorkerId
    node: NodeId
    stage: WorkerStage = WorkerStage.STARTING
    pid: int = 0
    gpu: int = -1
    """Where it computes; while it has no seat, where it warmed up; -1 if its node tells of no GPU."""
    rank: int = -1
    """Its seat; -1 while it has none."""
    seated: int = 0
    """Generation in which it got its seat."""
    since: Instant = 0.0
    spent: bool = False
    """Its own code raised: after a CUDA error a process never computes again."""


@dataclass(slots=True)
class Crew:
    """Who sits where, who waits where, who is gone: so that replacing one rank costs no look at all."""

    table: list[Seat | None] = field(default_factory=list)
    """Each rank's seat; None where its worker is not known any more."""
    idle: dict[NodeId, dict[WorkerId, Worker]] = field(default_factory=dict)
    """Starting workers and standbys of each node that has any, oldest first."""
    gone: dict[WorkerId, Worker] = field(default_factory=dict)
    spent: set[WorkerId] = field(default_factory=set)
    """Whose own code raised, while they live."""
    complete: set[NodeId] = field(default_factory=set)
    """Nodes seen to miss no standby, until something about them changes."""

    @classmethod
    def of(cls, workers: Mapping[WorkerId, Worker], seats: Sequence[WorkerId]) -> "Crew":
        """Look at everybody once."""
        crew = cls()
        for rank, name in enumerate(seats):
            worker = workers.get(name)
            crew.table.append(Seat(rank, name, worker.node, worker.gpu) if worker else None)
        for worker in workers.values():
            if worker.stage is WorkerStage.GONE:
                crew.gone[worker.id] = worker
                continue
            if worker.spent:
                crew.spent.add(worker.id)
            if worker.stage is not WorkerStage.RANK:
                crew.expect(worker)
        return crew

    def expect(self, worker: Worker) -> None:
        """Take in a new worker."""
        self.idle.setdefault(worker.node, {})[worker.id] = worker

    def dismiss(self, worker: Worker, now: Instant) -> None:
        """Its process ended, or is to end."""
        self._waits_no_more(worker)
        worker.stage, worker.since = WorkerStage.GONE, now
        self.gone[worker.id] = worker
        self.spent.discard(worker.id)

    def spend(self, worker: Worker) -> None:
        """Its own code raised, heard perhaps after its end: it gets no seat in another generation."""
        worker.spent = True
        if worker.stage is not WorkerStage.GONE:
            self.spent.add(worker.id)

    def sit(self, worker: Worker, seat: Seat, generation: int) -> None:
        """Make a worker a rank."""
        self._waits_no_more(worker)
        worker.stage, worker.gpu, worker.rank = WorkerStage.RANK, seat.gpu, seat.rank
        worker.seated = generation

    def _waits_no_more(self, worker: Worker) -> None:
        pool = self.idle.get(worker.node, {})
        pool.pop(worker.id, None)
        if not pool:
            self.idle.pop(worker.node, None)
        self.complete.discard(worker.node)

    def changes(self, seats: Iterable[Seat]) -> tuple[list[Seat], list[Seat]]:
        """Return the seats that are given up and the new ones; who stays keeps the very same seat."""
        pairs = [(old, new) for old, new in zip_longest(self.table, seats) if old is not new]
        return [old for old, _ in pairs if old], [new for _, new in pairs if new]
