"""Which worker becomes which rank: survivors stay, a standby on the same node comes first, then a spare."""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, compress, islice, takewhile
from operator import not_
from types import MappingProxyType
from typing import NamedTuple

from msgspec import Struct

from sentinel.core.state import State
from sentinel.core.state.rows import Job, Node
from sentinel.core.state.workers import Worker, WorkerStage
from sentinel.model.action import Seat
from sentinel.model.counted import counted
from sentinel.model.ids import JobId, NodeId
from sentinel.model.policy import Policy

_STANDBY = WorkerStage.STANDBY  # asked for each worker, and a member is slow to look up


@dataclass(frozen=True, slots=True)
class Seated:
    """Every rank has a ready worker."""

    seats: tuple[Seat, ...]


class Room(Struct, frozen=True, gc=False):
    """Where a worker can start: a node, and the GPU on which it warms up."""

    node: NodeId
    gpu: int


@dataclass(frozen=True, slots=True)
class Wait:
    """There is room; workers must start in these places first (none: they are starting already)."""

    start: tuple[Room, ...]
    lacking: int
    """How many ranks wait for a worker."""


@dataclass(frozen=True, slots=True)
class Later:
    """What may be its place is kept for jobs that come first: when those are seated it is seen."""

    first: JobId


@dataclass(frozen=True, slots=True)
class Cannot:
    """The job can't go on, and why."""

    reason: str


class _Pool(NamedTuple):
    """A node's workers without a seat, oldest first."""

    ready: list[Worker]
    starting: list[Worker]


@dataclass(slots=True)
class _Table:
    """The seats while they are given out; only nodes that are asked for are looked at."""

    state: State
    job: Job
    policy: Policy
    vacant: frozenset[int]
    """Ranks whose worker does not stay."""
    given: list[Seat | None]
    """Who stays, and who got a seat since."""
    first: tuple[JobId, ...] = ()
    """Jobs whose turn is before this one's, and who wait for workers to take a place."""
    kept_for: JobId | None = None
    """One of these, for whom a GPU that was asked for is kept."""
    pools: dict[NodeId, _Pool] = field(default_factory=dict)
    places: dict[NodeId, set[int]] = field(default_factory=dict)
    """GPUs with a rank, of this job or another."""
    full: set[NodeId] = field(default_factory=set)
    """Nodes that are known to have no free GPU; while seats are given out, none becomes free again."""
    hosts: deque[NodeId] | None = None
    """Nodes that may have a warm standby and a free GPU, by name; at the front the others leave for good."""
    rooms: deque[Node] | None = None
    """Nodes on which a worker may start and a GPU may be free, in the same way."""

    def free(self, node: Node) -> list[int]:
        """GPUs of a node that no rank has and no finding accuses."""
        taken = self.taken(node.id)
        free = [gpu for gpu in range(node.gpus) if gpu not in taken]
        return [gpu for gpu in free if not _bad_gpu(node, gpu)] if node.findings else free

    def pool(self, node: NodeId) -> _Pool:
        """Workers of a usable node that wait there for a seat."""
        found = self.pools.get(node)
        if found is None:
            known = self.state.nodes.get(node)
            warm = self.state.workers.warm(self.job.id, node) if known and known.usable else []
            ready = [worker for worker in warm if worker.stage is _STANDBY]
            starting = [worker for worker in warm if worker.stage is not _STANDBY]
            found = self.pools[node] = _Pool(ready, starting)
        return found

    def ready(self, node: NodeId) -> list[Worker]:
        """Warm standbys of a usable node without a seat."""
        return self.pool(node).ready

    def starting(self, node: NodeId) -> bool:
        """Say whether a worker will soon be warm on a node, by how long the job's last one took."""
        soon = self.policy.start_s
        takes, now = self.job.warms_s or soon, self.state.now
        ages = (now - worker.since for worker in self.pool(node).starting)
        return any(takes - soon <= age <= max(takes, soon) for age in ages)

    def has_peers(self, node: NodeId) -> bool:
        """Say whether ranks of this job stay on a node."""
        here = self.state.workers.sitting(node)
        return any(worker.job == self.job.id and self._stays(worker) for worker in here)

    def with_ready(self) -> Iterator[NodeId]:
        """Nodes that still have a warm standby and a GPU that may be free, by name."""
        if self.hosts is None:
            self.hosts = deque(sorted(filter(self.ready, self.state.workers.hosts(self.job.id))))
        while self.hosts and not self._may_seat(self.hosts[0]):
            self.hosts.popleft()
        yield from filter(self._may_seat, self.hosts)

    def _may_seat(self, node: NodeId) -> bool:
        return node not in self.full and bool(self.ready(node))

    def with_room(self) -> Iterator[Node]:
        """Nodes on which a worker may start and a GPU may be free, in the order in which they joined."""
        if self.rooms is None:
            self.rooms = deque(node for node in self.state.nodes.values() if node.may_start)
        while self.rooms and self.rooms[0].id in self.full:
            self.rooms.popleft()
        yield from (node for node in self.rooms if node.id not in self.full)

    def taken(self, node: NodeId) -> set[int]:
        """GPUs of a node that a rank has, or that are kept for one."""
        found = self.places.get(node)
        if found is None:
            here = self.state.workers.sitting(node)
            own = {worker.gpu for worker in here if worker.job == self.job.id}
            found = self.places[node] = {worker.gpu for worker in here if self._stays(worker)}
            for job in self.first:
                kept = {w.gpu for w in self.state.workers.waiting(job, node) if w.stage is not _STANDBY}
                self.kept_for = job if kept - own else self.kept_for
                found |= kept - own
        return found

    def _stays(self, worker: Worker) -> bool:
        if worker.job == self.job.id:
            return worker.rank not in self.vacant
        return worker.is_living or not self.state.jobs[worker.job].is_over

    def free_gpu(self, node: Node, prefer: int = -1) -> int | None:
        """Return a GPU of the node that no rank has and no finding accuses."""
        if node.id in self.full:
            return None
        if 0 <= prefer < node.gpus and prefer not in self.taken(node.id) and not _bad_gpu(node, prefer):
            return prefer
        free = self.free(node)
        if not free:
            self.full.add(node.id)
        return free[0] if free else None

    def give(self, rank: int, node: NodeId, gpu: int) -> None:
        """Seat one of a node's standbys."""
        self.taken(node).add(gpu)
        self.given[rank] = Seat(rank, _pop_for(gpu, self.ready(node)).id, node, gpu)


def _table(
    state: State,
    job: Job,
    policy: Policy,
    replace: Collection[int],
    size: int,
    stay: Collection[NodeId] = (),
) -> _Table:
    """Lay the table with those who stay."""
    cut_off = (name for name in state.unusable() if state.is_cut(name) and name not in stay)
    sitting = (worker for node in cut_off for worker in state.workers.sitting(node))
    cut = {worker.rank for worker in sitting if worker.job == job.id}
    gone = {worker.rank for worker in state.workers.gone(job.id)}
    held = state.workers.seats(job.id)
    given = [*held, *[None] * (size - len(held))]
    for rank in (*replace, *cut, *gone):
        if 0 <= rank < len(given):
            given[rank] = None
    vacant = compress(range(len(given)), map(not_, given))
    before = takewhile(lambda name: name != job.id, state.in_turn())
    first = tuple(name for name in before if state.jobs[name].lacking)
    return _Table(state, job, policy, frozenset(vacant), given, first)


def _pop_for(gpu: int, ready: list[Worker]) -> Worker:
    """Take the standby that has warmed up on this very GPU, or else the oldest."""
    place = 0 if ready[0].gpu == gpu else next((n for n, each in enumerate(ready) if each.gpu == gpu), 0)
    return ready.pop(place)


def _bad_gpu(node: Node, gpu: int) -> bool:
    return bool(node.findings) and f"gpu-{gpu}" in node.accused


def seat(
    state: State,
    job: Job,
    policy: Policy,
    replace: Collection[int],
    avoid: Mapping[int, NodeId] = MappingProxyType({}),
    stay: Collection[NodeId] = (),
) -> Seated | Wait | Later | Cannot:
    """Give every rank a worker. Ranks in `replace` get another one, not on the node that they avoid.

    Ranks on nodes in `stay` keep their seats, though nothing new is placed there.
    """
    return _fill(_table(state, job, policy, replace, job.world, stay), avoid)


def seat_more(state: State, job: Job, policy: Policy) -> Seated | Wait | None:
    """Seat the ranks that a job lacks beside those that train, as far as there is room.

    None where there is none, or where one who trains would not stay.
    """
    table = _table(state, job, policy, (), job.wanted)
    if min(table.vacant) < job.world:
        return None
    found = _fill(table, {})
    if isinstance(found, Wait) or (isinstance(found, Seated) and len(found.seats) > job.world):
        return found
    return None


def _fill(table: _Table, avoid: Mapping[int, NodeId]) -> Seated | Wait | Later | Cannot:
    """Give every vacant rank a worker."""
    state, job = table.state, table.job
    start: list[Room] = []
    lacking = homeless = 0
    ranks = sorted(table.vacant)
    seated = bisect_left(ranks, len(state.workers.seats(job.id)))
    for rank in ranks[:seated]:
        old, left = state.workers.at(job.id, rank), avoid.get(rank)
        # A swap tells more than a move to a spare: whoever sits on the old node now is the counter-test.
        if (left and _swap(table, rank, old)) or _seat_ready(table, rank, old, left):
            continue
        room = _room(table, old, left)
        if room is None:
            homeless += 1
            continue
        lacking += 1
        table.taken(room.node).add(room.gpu)
        if not _claim_starting(table, room.node):
            start.append(room)
    newcomers = deque(ranks[seated:])
    _seat_anywhere(table, newcomers)
    rooms = _rooms_anywhere(table, len(newcomers))
    lacking, homeless = lacking + len(rooms), homeless + len(newcomers) - len(rooms)
    start += (room for room in rooms if not _claim_starting(table, room.node))
    if homeless and table.kept_for:
        return Later(table.kept_for)
    housed = len(table.given) - homeless
    if housed < max(1, job.min_world if homeless else 1):
        needs = f"{job.id} needs {counted(job.min_world, 'rank')} and has room for {housed}"
        return Cannot(f"{needs}: no spare is left")
    return Wait(tuple(start), lacking) if lacking else _seated(table)


def _seated(table: _Table) -> Seated:
    """Close the gaps that homeless ranks leave; who keeps the rank keeps the very same seat."""
    seats = list(filter(None, table.given))
    if len(seats) < len(table.given):
        seats = [s if s.rank == i else Seat(i, s.worker, s.node, s.gpu) for i, s in enumerate(seats)]
    return Seated(tuple(seats))


def _seat_ready(table: _Table, rank: int, old: Worker | None, avoid: NodeId | None) -> bool:
    """Seat a warm standby: on the old node if there is one, else on another node.

    Beside ranks of its job, which it is near to, one that is starting is waited for.
    """
    home = old.node if old and old.node != avoid else None
    if home and not table.ready(home) and table.starting(home) and table.has_peers(home):
        return False
    at_home = [home] if home and table.ready(home) else []
    for name in chain(at_home, table.with_ready()):
        gpu = table.free_gpu(table.state.nodes[name], old.gpu if old and name == old.node else -1)
        if gpu is not None and name != avoid:
            table.give(rank, name, gpu)
            return True
    return False


def _swap(table: _Table, rank: int, old: Worker | None) -> bool:
    """Exchange places with a rank of another node, through both nodes' standbys."""
    if old is None or not table.ready(old.node) or old.gpu in table.taken(old.node):
        return False
    for other, there in enumerate(table.given):
        if there and table.ready(there.node) and there.node != old.node:
            table.give(rank, there.node, there.gpu)
            table.give(other, old.node, old.gpu)
            return True
    return False


def _room(table: _Table, old: Worker | None, avoid: NodeId | None) -> Room | None:
    home = table.state.nodes.get(old.node) if old else None
    for node in chain([home] if home and home.may_start else [], table.with_room()):
        if node.id == avoid:
            continue
        gpu = table.free_gpu(node, old.gpu if old and node is home else -1)
        if gpu is not None:
            return Room(node.id, gpu)
    return None


def _seat_anywhere(table: _Table, ranks: deque[int]) -> None:
    """Seat ranks that never had a worker, node by node; those for whom no standby is warm are left."""
    while ranks and (name := next(table.with_ready(), None)):
        free, ready = table.free(table.state.nodes[name]), table.ready(name)
        places = free[: min(len(ready), len(ranks))]
        table.taken(name).update(places)
        if len(places) == len(free):
            table.full.add(name)
        for gpu in places:
            rank = ranks.popleft()
            table.given[rank] = Seat(rank, _pop_for(gpu, ready).id, name, gpu)


def _rooms_anywhere(table: _Table, count: int) -> list[Room]:
    """Find places for so many more ranks, as far as there are any: these are the last to be asked for."""
    free = (Room(node.id, gpu) for node in table.with_room() for gpu in table.free(node)) if count else ()
    return list(islice(free, count))


def _claim_starting(table: _Table, node: NodeId) -> bool:
    starting = table.pool(node).starting
    return bool(starting and starting.pop(0))


def missing_standbys(state: State, job: Job) -> Iterator[Room]:
    """Where standbys should start, once per standby that is missing."""
    for name in state.workers.doubtful(job.id):
        node = state.nodes[name]
        missing = wanted_standbys(state, node, job) - len(state.workers.warm(job.id, name))
        if missing > 0 and node.may_start:
            yield from _quiet_gpus(state, job, node, missing)
        else:
            state.workers.misses_none(job.id, name)


def _quiet_gpus(state: State, job: Job, node: Node, count: int) -> Iterator[Room]:
    """Spread standbys over a node's GPUs, for each keeps a little memory where it warmed up."""
    crowd = Counter(worker.gpu for worker in state.workers.sitting(node.id))
    crowd.update(worker.gpu for worker in state.workers.waiting(job.id, node.id))
    for _ in range(count):
        gpu = min(range(node.gpus), key=lambda each: (_bad_gpu(node, each), crowd[each]), default=-1)
        crowd[gpu] += 1
        yield Room(node.id, gpu)


def wanted_standbys(state: State, node: Node, job: Job) -> int:
    """Count the standbys that a node should have: a spare one has them for all GPUs that ranks can use."""
    if state.workers.is_hosted(job.id, node.id):
        return job.standbys
    return min(node.gpus, job.wanted) if job.standbys else 0
