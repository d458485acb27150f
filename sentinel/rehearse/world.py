"""Virtual time and all that is in it: nodes, processes, gangs, and what is due next."""

import heapq
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sentinel.checks import load
from sentinel.model.check import Check
from sentinel.model.collective import NO_ANSWER, Members, MemberSample
from sentinel.model.ids import Instant, JobId, NodeId, Seconds, WorkerId
from sentinel.model.report import DONE, LEASE_LAPSED_EXIT, MISCOMPUTED, RaisedSeen, RankBeat
from sentinel.rehearse.gang import Gang, Process
from sentinel.rehearse.machine import PROBE_S, Agent, Node, gpu
from sentinel.rehearse.scenario import Cluster
from sentinel.topology import Topology

BEGAN: Instant = 1_800_000_000.0
ECHO_S: Seconds = 0.1
"""How soon peers notice that a rank of theirs is gone (measured with gloo)."""
ALL_RAISE = {"nan": (float("nan"), 1.0), MISCOMPUTED: (1.0, 0.0)}
"""What all ranks raise for one's sake: that one's value and the others'."""
PEER_GONE = "RuntimeError: Connection closed by peer"
ASKED, KILLED = "signal 15", "signal 9"
FIRST_PID = 101
FIRST_STEP_S: Seconds = 0.3
PAIR_MB_PER_S = 1000.0
PAIR_MS = 0.5
WORKER_SEES_S: Seconds = 1.0
"""So often a worker of Ray looks whether its raylet is there."""
LEASE_S: Seconds = 10.0
"""A rank that makes no step for so long, while its node has no answer from the controller, ends itself."""


@dataclass(slots=True)
class World:
    """The cluster as it is, whatever anybody knows of it."""

    cluster: Cluster
    folder: Path
    checks: Mapping[str, Check] = field(default_factory=load)
    """What its agents run."""
    now: Instant = BEGAN
    nodes: dict[NodeId, Node] = field(default_factory=dict)
    processes: dict[tuple[JobId, WorkerId], Process] = field(default_factory=dict)
    gangs: dict[JobId, Gang] = field(default_factory=dict)
    cut: frozenset[NodeId] = frozenset()
    """Nodes that nobody reaches."""
    fails: frozenset[str] = frozenset()
    """Kinds of actions that end in failure."""
    never_starts: frozenset[NodeId] = frozenset()
    links: dict[tuple[NodeId, NodeId], float] = field(default_factory=dict)
    """How many times slower a node's link is, or, of (node, peer), the way between these two."""
    answered: dict[NodeId, Instant] = field(default_factory=dict)
    """When the controller took a report of a node in."""
    born: int = FIRST_PID
    _due: list[tuple[Instant, int, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0
    _boots: int = 0

    def __post_init__(self) -> None:
        topology = Topology(self.cluster.topology)
        for number in range(1, self.cluster.nodes + 1):
            name = NodeId(f"n{number}")
            gpus = [gpu(index, name) for index in range(self.cluster.gpus)]
            node = Node(name, f"10.0.{number >> 8}.{number & 255}", self.folder / f"{name}.log", gpus)
            node.labels = topology.labels(name)
            node.log.touch()
            self.nodes[name] = node

    # --- time ------------------------------------------------------------------------------------------

    def later(self, after: Seconds, what: Callable[[], None]) -> None:
        """Let something happen after a while."""
        self._count += 1
        heapq.heappush(self._due, (self.now + after, self._count, what))

    def next_due(self) -> Instant | None:
        """Say when the next thing happens."""
        return self._due[0][0] if self._due else None

    def pass_to(self, now: Instant) -> None:
        """Move on to a moment: what is due until then happens in order."""
        while self._due and self._due[0][0] <= now:
            at, _, what = heapq.heappop(self._due)
            self._settle(max(self.now, at))
            what()
        self._settle(now)

    def _settle(self, now: Instant) -> None:
        self.now = now
        for gang in self.gangs.values():
            for process in gang.settle(now, self.cut):
                if fault := gang.fault_of(process):
                    fault.step = gang.step + 1
                    self.raises(process, fault.error, fault.kind)
            for process in gang.seats if now - gang.moved > LEASE_S and not gang.watched else ():
                if now - self.answered.get(process.node, BEGAN) > LEASE_S and not process.stands_still:
                    self.ends(process, f"exit {LEASE_LAPSED_EXIT}")

    def touch(self) -> None:
        """Anything may have changed."""
        for gang in self.gangs.values():
            gang.touch()

    def moves(self) -> bool:
        """Whether every gang makes steps, and nothing will stop it by itself."""
        gangs = [gang for gang in self.gangs.values() if gang.seats]
        return all(gang.moves(self.cut) and not gang.faults and self.now >= gang.since for gang in gangs)

    # --- agents ----------------------------------------------------------------------------------------

    def start_agent(self, name: NodeId) -> Agent:
        """Start a node's agent, with what its predecessor has left."""
        node = self.nodes[name]
        if node.agent is not None:
            node.agent.close()
        self._boots += 1
        boot, folder = f"boot-{name}-{self._boots}", self.folder / name
        node.agent = Agent(node, boot, self.checks, folder, lambda: self.beats(name), lambda: self.now)
        for event in node.left:
            node.agent.tell(event)
        node.left.clear()
        return node.agent

    def beats(self, node: NodeId) -> tuple[RankBeat, ...]:
        """Give the heartbeat records of a node."""
        gangs, now, cut = self.gangs, self.now, self.cut
        return tuple(gangs[process.job].beat(process, now, cut) for process in self.nodes[node].processes)

    def measure(self, node: NodeId, members: Members) -> MemberSample:
        """Give what a node measures together with others, as `checks/pair.py` does."""
        if any(member in self.cut or self.nodes[member].ports[0] != "ok" for member in members):
            return MemberSample(node, members, error=NO_ANSWER)
        slower = max([1.0, *(factor for link, factor in self.links.items() if _is_on(link, members))])
        return MemberSample(node, members, {"mb_per_s": PAIR_MB_PER_S / slower, "ms": PAIR_MS * slower})

    # --- Ray -------------------------------------------------------------------------------------------

    def raylet_dies(self, node: Node) -> None:
        """End a node's raylet: its workers see soon that it is gone, and end."""
        node.raylet_since, node.ports = None, (node.ports[0], "refused")
        for process in self.living(node.name):
            self.later(WORKER_SEES_S, partial(self.ends, process, "exit 1"))

    def raylet_starts(self, node: Node) -> None:
        """Start Ray on a node again."""
        node.raylet_since, node.ports = self.now, (node.ports[0], "ok")

    # --- processes -------------------------------------------------------------------------------------

    def start(self, job: JobId, worker: WorkerId, node: NodeId, gpu_index: int) -> Process:
        """Start a worker process."""
        process = Process(job, worker, node, gpu_index, self.born)
        self.born += 1
        self.processes[job, worker] = process
        self.nodes[node].processes.append(process)
        return process

    def launch(self, job: JobId, nodes: Collection[NodeId]) -> bool:
        """Start a watched job on these nodes as somebody else does; false if none of them is there.

        Whatever is left of it is ended first. Its ranks go on from the last checkpoint.
        """
        gang = self.gangs[job]
        gang.broken = True  # whoever is ended here has nobody follow
        for process in [each for each in self.processes.values() if each.job == job]:
            if process.node not in self.cut:
                self.ends(process, ASKED)
        there = [name for name, each in self.nodes.items() if name in nodes and self._can_start(each)]
        slots = [(name, index) for index in range(self.cluster.gpus) for name in there]
        first, step = self.born, gang.high - (gang.high >= 0)
        seats = [
            self.start(job, WorkerId(f"r{rank}-{first}"), *slot)
            for rank, slot in enumerate(slots[: self.cluster.world])
        ]
        if seats:
            gang.begin(gang.generation + 1, seats, step, self.now + FIRST_STEP_S)
        return bool(seats)

    def _can_start(self, node: Node) -> bool:
        is_up = node.name not in self.cut and node.ports != ("refused", "refused")
        return is_up and node.name not in self.never_starts

    def seated(self, job: JobId, rank: int) -> Process | None:
        """Return a rank's process, while it lives."""
        seats = self.gangs[job].seats if job in self.gangs else []
        return seats[rank] if rank < len(seats) and seats[rank].alive else None

    def ends(self, process: Process, how: str) -> None:
        """End a process; its agent sees that at once and looks at the node, its peers a little later."""
        if not process.alive:
            return
        process.alive = False
        node = self.nodes[process.node]
        node.processes.remove(process)
        self.gangs[process.job].touch()
        if node.agent is not None:
            node.agent.ended(process, how)
            self.look(process.node, f"exit:{process.pid}")
        else:
            node.left.append(process.end("unknown"))
        if how != DONE or not self.gangs[process.job].watched:
            self._break(process)

    def raises(self, process: Process, error: str, kind: str, values: tuple[float, ...] = ()) -> None:
        """End a rank's training with an exception; where nobody catches that, its process ends."""
        gang, node = self.gangs[process.job], self.nodes[process.node]
        if not process.alive or process.raised:
            return
        if gang.watched:
            self.ends(process, "exit 1")
            return
        if kind in ALL_RAISE and not values:  # every rank sees it
            it, others = ALL_RAISE[kind]
            values = tuple(it if rank == process.rank else others for rank in range(len(gang.seats)))
            for peer in gang.seats:
                if peer is not process:
                    self.raises(peer, error, kind, values)
        process.raised = True
        gang.touch()
        place = (process.job, process.rank, process.worker, process.pid, process.generation, process.gpu)
        note = RaisedSeen(*place, gang.step + 1, kind, error, f"Traceback:\n{error}", values)
        node.agent.tell(note) if node.agent is not None else node.left.append(note)
        if kind not in ALL_RAISE:
            self._break(process)

    def stutter(self, process: Process, stopped_s: Seconds, every_s: Seconds) -> None:
        """Stop a process and let it go on, again and again."""
        process.stutter = spec = stopped_s, every_s

        def turn(state: str) -> None:
            if not process.alive or (process.stutter != spec and state == "T"):
                return
            process.shows({"state": state}, self.now)
            self.gangs[process.job].touch()
            after = stopped_s if state == "T" else every_s - stopped_s
            self.later(after, lambda: turn("S" if state == "T" else "T"))

        if stopped_s:
            turn("T")

    def look(self, node: NodeId, reason: str, *, everything: bool = False) -> None:
        """Run a node's immediate probe, or all its checks."""
        agent = self.nodes[node].agent
        if agent is None:
            return

        def answered() -> None:
            if self.nodes[node].agent is agent:
                agent.look(self.now, in_agent=False, everything=everything)
                agent.probed(reason, everything=everything)

        agent.look(self.now, in_agent=True, everything=everything)
        self.later(PROBE_S, answered)

    def _break(self, process: Process) -> None:
        """Let the peers of a rank that is gone notice that."""
        gang = self.gangs[process.job]
        if process.rank < 0 or process.generation != gang.generation or gang.broken:
            return
        generation, gang.broken = gang.generation, True

        def echo() -> None:
            for peer in gang.seats if gang.generation == generation else ():
                if not peer.alive or peer.node in self.cut:
                    continue
                if gang.watched:  # its launcher ends it
                    self.ends(peer, KILLED if peer.stands_still else ASKED)
                elif not (peer.raised or peer.stands_still):
                    self.raises(peer, PEER_GONE, "collective")

        self.later(ECHO_S, echo)

    def living(self, node: NodeId) -> list[Process]:
        """Processes of a node, oldest first; they may end while one looks at them."""
        return list(self.nodes[node].processes)

    def standbys(self, job: JobId, node: NodeId) -> list[Process]:
        """Warm processes of a job on a node."""
        return [process for process in self.living(node) if (process.job, process.rank) == (job, -1)]


def _is_on(link: tuple[NodeId, NodeId], members: Members) -> bool:
    node, peer = link
    return node in members and (not peer or peer in members)
