"""Which worker becomes which rank: survivors stay, a standby on the same node comes first, then a spare."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from sentinel.core.state import Job, Node, State, Worker, WorkerStage
from sentinel.model.action import Seat
from sentinel.model.finding import Health
from sentinel.model.ids import NodeId


@dataclass(frozen=True, slots=True)
class Seated:
    """Every rank has a ready worker."""

    seats: tuple[Seat, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """There is room; these nodes must start workers first (none: they are starting already)."""

    start: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Cannot:
    """The job can't go on, and why."""

    reason: str


@dataclass(slots=True)
class _Table:
    """The seats while they are given out."""

    state: State
    job: Job
    taken: dict[tuple[NodeId, int], int] = field(default_factory=dict)
    given: dict[int, Seat] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def free_gpu(self, node: Node, prefer: int = -1) -> int | None:
        """Return a GPU of the node that no rank has and no finding accuses."""
        order = sorted(range(node.gpus), key=lambda gpu: (gpu != prefer, gpu))
        return next((g for g in order if (node.id, g) not in self.taken and not _bad_gpu(node, g)), None)

    def standbys(self, stage: WorkerStage) -> Iterator[Worker]:
        """Workers of a stage on usable nodes that have no seat yet."""
        for worker in self.job.workers.values():
            usable = worker.node in self.state.nodes and self.state.nodes[worker.node].usable
            if worker.stage is stage and usable and worker.id not in self.used:
                yield worker

    def give(self, rank: int, worker: Worker, gpu: int) -> None:
        """Seat a worker."""
        self.given[rank] = Seat(rank, worker.id, worker.node, gpu)
        self.taken[worker.node, gpu] = rank
        self.used.add(worker.id)


def _bad_gpu(node: Node, gpu: int) -> bool:
    accused = (f for f in node.findings.values() if f.component == f"gpu-{gpu}")
    return any(finding.health is Health.CRITICAL for finding in accused)


def seat(state: State, job: Job, replace: Collection[int], elsewhere: bool = False) -> Seated | Wait | Cannot:
    """Give every rank a worker. Ranks in `replace` get another one; `elsewhere`: on another node."""
    table = _Table(state, job)
    open_ranks = _keep_survivors(table, replace)
    start: list[NodeId] = []
    waiting, homeless = False, []
    for rank in open_ranks:
        old = job.workers.get(job.seats[rank]) if rank < len(job.seats) else None
        avoid = old.node if elsewhere and old and rank in replace else None
        if _seat_ready(table, rank, old, avoid) or (avoid and _swap(table, rank, old)):
            continue
        room = _room(table, old, avoid)
        if room is None:
            homeless.append(rank)
            continue
        waiting = True
        if not _claim_starting(table, room[0], rank, room[1]):
            start.append(room[0].id)
            table.taken[room[0].id, room[1]] = rank
    if homeless and len(table.given) + len(start) < job.world:
        return _shrink(table, job, homeless, waiting, start)
    return Wait(tuple(start)) if waiting else _seated(table)


def _seated(table: _Table) -> Seated:
    seats = sorted(table.given.values(), key=lambda s: s.rank)
    return Seated(tuple(Seat(i, s.worker, s.node, s.gpu) for i, s in enumerate(seats)))


def _keep_survivors(table: _Table, replace: Collection[int]) -> list[int]:
    kept = set()
    for rank, worker in table.job.seated():
        node = table.state.nodes.get(worker.node)
        alive = worker.stage is WorkerStage.RANK and node is not None and node.usable
        if alive and rank not in replace:
            table.give(rank, worker, worker.gpu)
            kept.add(rank)
    return [rank for rank in range(table.job.world) if rank not in kept]


def _seat_ready(table: _Table, rank: int, old: Worker | None, avoid: NodeId | None) -> bool:
    """Seat a warm standby: on the old node if there is one, else on a node without ranks."""
    home = old.node if old else None
    if home and home != avoid and table.state.nodes[home].usable and not _ready_on(table, home):
        starting = any(w.node == home for w in table.standbys(WorkerStage.STARTING))
        if starting:
            return False
    ranked = sorted(
        (w for w in table.standbys(WorkerStage.STANDBY) if w.node != avoid),
        key=lambda w: (w.node != home, w.node, w.id),
    )
    for worker in ranked:
        node = table.state.nodes[worker.node]
        gpu = table.free_gpu(node, old.gpu if old and old.node == worker.node else -1)
        if gpu is not None:
            table.give(rank, worker, gpu)
            return True
    return False


def _ready_on(table: _Table, node: NodeId) -> bool:
    return any(worker.node == node for worker in table.standbys(WorkerStage.STANDBY))


def _swap(table: _Table, rank: int, old: Worker | None) -> bool:
    """No GPU is free elsewhere: exchange places with a rank of another node, through both nodes' standbys."""
    if old is None:
        return False
    mine = next((w for w in table.standbys(WorkerStage.STANDBY) if w.node == old.node), None)
    for other, there in sorted(table.given.items()):
        theirs = next((w for w in table.standbys(WorkerStage.STANDBY) if w.node == there.node), None)
        if mine and theirs and there.node != old.node:
            del table.given[other]
            table.give(rank, theirs, there.gpu)
            table.give(other, mine, old.gpu)
            return True
    return False


def _room(table: _Table, old: Worker | None, avoid: NodeId | None) -> tuple[Node, int] | None:
    home = old.node if old else None
    usable = [node for node in table.state.nodes.values() if node.usable and node.id != avoid]
    for node in sorted(usable, key=lambda n: (n.id != home, n.id)):
        gpu = table.free_gpu(node, old.gpu if old and old.node == node.id else -1)
        if gpu is not None:
            return node, gpu
    return None


def _claim_starting(table: _Table, node: Node, rank: int, gpu: int) -> bool:
    for worker in table.standbys(WorkerStage.STARTING):
        if worker.node == node.id:
            table.used.add(worker.id)
            table.taken[node.id, gpu] = rank
            return True
    return False


def _shrink(
    table: _Table, job: Job, homeless: list[int], waiting: bool, start: list[NodeId]
) -> Seated | Wait | Cannot:
    world = job.world - len(homeless)
    if world < job.min_world:
        return Cannot(
            f"{job.id} needs {job.min_world} ranks and only {world} have a place: no spare node is left"
        )
    return Wait(tuple(start)) if waiting else _seated(table)


def missing_standbys(state: State, job: Job) -> Iterator[NodeId]:
    """Nodes that should start a standby, once per standby that is missing."""
    seated = {worker.node for _, worker in job.seated()}
    for node in sorted(state.nodes.values(), key=lambda n: n.id):
        want = job.standbys if node.id in seated else (node.gpus if job.standbys else 0)
        waiting = (WorkerStage.STARTING, WorkerStage.STANDBY)
        have = sum(1 for w in job.workers.values() if w.node == node.id and w.stage in waiting)
        if node.usable:
            yield from [node.id] * max(0, want - have)
