"""Which worker becomes which rank: survivors stay, a standby on the same node comes first, then a spare."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from sentinel.core.state import Job, JobStage, Node, State, Worker, WorkerStage
from sentinel.model.action import Seat
from sentinel.model.finding import Health
from sentinel.model.ids import NodeId

START_ATTEMPTS = 3
"""A node where this many workers in a row did not start gets no more of them."""


@dataclass(frozen=True, slots=True)
class Seated:
    """Every rank has a ready worker."""

    seats: tuple[Seat, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """There is room; these nodes must start workers first (none: they are starting already)."""

    start: tuple[NodeId, ...]
    lacking: int
    """How many ranks wait for a worker."""


@dataclass(frozen=True, slots=True)
class Cannot:
    """The job can't go on, and why."""

    reason: str


@dataclass(slots=True)
class _Table:
    """The seats while they are given out."""

    state: State
    job: Job
    given: dict[int, Seat] = field(default_factory=dict)
    taken: set[tuple[NodeId, int]] = field(default_factory=set)
    """(node, GPU) with a rank, of this job or another."""
    ready: dict[NodeId, list[Worker]] = field(default_factory=dict)
    """Warm standbys without a seat, per usable node."""
    starting: dict[NodeId, list[Worker]] = field(default_factory=dict)
    full: set[NodeId] = field(default_factory=set)
    """Nodes that are known to have no free GPU."""

    def __post_init__(self) -> None:
        pools = {WorkerStage.STANDBY: self.ready, WorkerStage.STARTING: self.starting}
        for worker in self.job.workers.values():
            if worker.stage in pools and self.usable(worker.node):
                pools[worker.stage].setdefault(worker.node, []).append(worker)
        self.taken |= elsewhere_taken(self.state, self.job)

    def usable(self, node: NodeId) -> bool:
        """Say whether a rank may be placed there."""
        return node in self.state.nodes and self.state.nodes[node].usable

    def free_gpu(self, node: Node, prefer: int = -1) -> int | None:
        """Return a GPU of the node that no rank has and no finding accuses."""
        if node.id in self.full:
            return None
        order = sorted(range(node.gpus), key=lambda gpu: (gpu != prefer, gpu))
        free = next((g for g in order if (node.id, g) not in self.taken and not _bad_gpu(node, g)), None)
        if free is None:
            self.full.add(node.id)
        return free

    def give(self, rank: int, worker: Worker, gpu: int) -> None:
        """Seat a worker."""
        self.given[rank] = Seat(rank, worker.id, worker.node, gpu)
        self.taken.add((worker.node, gpu))
        if worker in self.ready.get(worker.node, ()):
            self.ready[worker.node].remove(worker)


def elsewhere_taken(state: State, job: Job) -> set[tuple[NodeId, int]]:
    """GPUs that other jobs' ranks have."""
    others = (j for j in state.jobs.values() if j.id != job.id and j.stage is not JobStage.STOPPED)
    return {(worker.node, worker.gpu) for other in others for _, worker in other.seated()}


def _bad_gpu(node: Node, gpu: int) -> bool:
    accused = (f for f in node.findings.values() if f.component == f"gpu-{gpu}")
    return any(finding.health is Health.CRITICAL for finding in accused)


def seat(state: State, job: Job, replace: Collection[int]) -> Seated | Wait | Cannot:
    """Give every rank a worker. Ranks in `replace` get another one, not on a node that `job.avoid` names."""
    table = _Table(state, job)
    start: list[NodeId] = []
    lacking = homeless = 0
    for rank in _keep_survivors(table, replace):
        old = job.workers.get(job.seats[rank]) if rank < len(job.seats) else None
        avoid = old.node if old and f"{rank}@{old.node}" in job.avoid else None
        # A swap tells more than a move to a spare: whoever sits on the old node now is the counter-test.
        if (avoid and _swap(table, rank, old)) or _seat_ready(table, rank, old, avoid):
            continue
        room = _room(table, old, avoid)
        if room is None:
            homeless += 1
            continue
        lacking += 1
        table.taken.add((room[0].id, room[1]))
        if not _claim_starting(table, room[0]):
            start.append(room[0].id)
    if job.world - homeless < max(1, job.min_world if homeless else 1):
        left = job.world - homeless
        return Cannot(f"{job.id} needs {job.min_world} ranks and only {left} have a place: no spare is left")
    return Wait(tuple(start), lacking) if lacking else _seated(table)


def _seated(table: _Table) -> Seated:
    seats = sorted(table.given.values(), key=lambda s: s.rank)
    return Seated(tuple(Seat(i, s.worker, s.node, s.gpu) for i, s in enumerate(seats)))


def _keep_survivors(table: _Table, replace: Collection[int]) -> list[int]:
    for rank, worker in table.job.seated():
        if worker.stage is WorkerStage.RANK and table.usable(worker.node) and rank not in replace:
            table.give(rank, worker, worker.gpu)
    return [rank for rank in range(table.job.world) if rank not in table.given]


def _seat_ready(table: _Table, rank: int, old: Worker | None, avoid: NodeId | None) -> bool:
    """Seat a warm standby: on the old node if there is one or one is starting, else on another node."""
    home = old.node if old and old.node != avoid else None
    if home and not table.ready.get(home) and table.starting.get(home):
        return False
    for name in sorted((n for n, pool in table.ready.items() if pool), key=lambda n: (n != home, n)):
        gpu = table.free_gpu(table.state.nodes[name], old.gpu if old and name == old.node else -1)
        if gpu is not None and name != avoid:
            table.give(rank, min(table.ready[name], key=lambda worker: worker.since), gpu)
            return True
    return False


def _swap(table: _Table, rank: int, old: Worker | None) -> bool:
    """Exchange places with a rank of another node, through both nodes' standbys."""
    if old is None or not table.ready.get(old.node) or (old.node, old.gpu) in table.taken:
        return False
    for other, there in sorted(table.given.items()):
        if table.ready.get(there.node) and there.node != old.node:
            table.give(rank, table.ready[there.node][0], there.gpu)
            table.give(other, table.ready[old.node][0], old.gpu)
            return True
    return False


def _room(table: _Table, old: Worker | None, avoid: NodeId | None) -> tuple[Node, int] | None:
    home = table.state.nodes.get(old.node) if old else None
    for node in [home, *table.state.nodes.values()] if home else table.state.nodes.values():
        if node is None or not node.usable or node.id == avoid or node.misstarts >= START_ATTEMPTS:
            continue
        gpu = table.free_gpu(node, old.gpu if old and node is home else -1)
        if gpu is not None:
            return node, gpu
    return None


def _claim_starting(table: _Table, node: Node) -> bool:
    pool = table.starting.get(node.id)
    return bool(pool and pool.pop(0))


def missing_standbys(state: State, job: Job) -> Iterator[NodeId]:
    """Nodes that should start a standby, once per standby that is missing."""
    waiting = (WorkerStage.STARTING, WorkerStage.STANDBY)
    have = Counter(worker.node for worker in job.workers.values() if worker.stage in waiting)
    seated = {worker.node for _, worker in job.seated()}
    for node in sorted(state.nodes.values(), key=lambda n: n.id):
        want = job.standbys if node.id in seated else (node.gpus if job.standbys else 0)
        if node.usable and node.misstarts < START_ATTEMPTS:
            yield from [node.id] * max(0, want - have[node.id])
