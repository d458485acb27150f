"""A cluster in virtual time: it answers actions as nodes would, and breaks where a test says so."""

import heapq
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from sentinel import runbooks
from sentinel.core.fold import decide
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, Node
from sentinel.core.state.workers import Worker
from sentinel.model.action import (
    Action,
    CollectStacks,
    CordonNode,
    Evict,
    Page,
    Ping,
    Probe,
    Prove,
    Readmit,
    Refusal,
    RestartAgent,
    Resume,
    StartWorker,
    StopJob,
)
from sentinel.model.collective import MemberFinding, MemberSample
from sentinel.model.fact import (
    Commanded,
    DeadlinePassed,
    Fact,
    FindingReported,
    JobAdvanced,
    JobStalled,
    JobSubmitted,
    MembersProbed,
    NodeHeard,
    NodeJoined,
    NodePinged,
    NodeProbed,
    NodeSilent,
    Outcome,
    RankExited,
    RankRaised,
    WorkerReady,
)
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import IncidentId, JobId, NodeId, WorkerId
from sentinel.model.incident import Incident
from sentinel.model.policy import Policy
from sentinel.model.report import AT_START, RankBeat

JOB = JobId("moe")
BOOKS = runbooks.load()
EXAMPLE_LINE = "NVRM: Xid (PCI:0000:01:00)"


class Simulated:
    """Folds facts, lets deadlines pass and answers actions after a moment each."""

    def __init__(
        self,
        nodes: int = 4,
        gpus: int = 1,
        world: int = 2,
        *,
        standbys: int = 1,
        min_world: int = 1,
        policy: Policy | None = None,
        raise_at_start: Mapping[str, str] = MappingProxyType({}),
        worker_starts_s: float = 0.5,
    ) -> None:
        self.rules = Rules(policy or Policy(), BOOKS)
        self.state, self.now, self.step, self.pid = State(), 1000.0, 0, 100
        self.actions: list[Action] = []
        self.facts: list[Fact] = []
        self.ports: dict[str, tuple[str, str, int]] = {}
        """(agent, raylet, newest step) that a look at a silent node finds."""
        self.never_starts: set[str] = set()
        self.raise_at_start = dict(raise_at_start)
        """By which error workers end that start on a node."""
        self.fails: set[str] = set()
        """Kinds of actions (class names) whose outcome is a failure."""
        self.found: tuple[MemberFinding, ...] = ()
        """What nodes find that measure together."""
        self.mute: set[str] = set()
        """Checks that give no answer in time where a node shows that it is well."""
        self.worker_starts_s = worker_starts_s
        self.agent_starts_s = 0.5
        """How long it takes to start an agent."""
        self.flights: tuple[str, ...] = ()
        """What ranks say of their collectives when stacks are taken."""
        self.scheduler: set[NodeId] = set()
        """Nodes that it has cordoned for us."""
        self.advances = True
        self.restarts = False
        """Go through the plain form before each fact, as a new controller would."""
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        for number in range(1, nodes + 1):
            self.tell(NodeJoined(self.now, NodeId(f"n{number}"), f"10.0.0.{number}", 1, gpus, "boot"))
        self.tell(JobSubmitted(self.now, JOB, world, "x:y", standbys, min_world))
        if not raise_at_start:
            self.run(20 + 2 * worker_starts_s)
            self.actions.clear()

    # --- time ------------------------------------------------------------------------------------------

    def tell(self, fact: Fact) -> tuple[Action, ...]:
        if self.restarts:
            self.state = State.from_bytes(self.state.to_bytes())
        self.facts.append(fact)
        actions = decide(self.state, fact, self.rules)
        self.actions += actions
        for action in actions:
            self._answer(action)
        return actions

    def later(self, after: float, what: Callable[[], Any]) -> None:
        self._count += 1
        heapq.heappush(self._due, (self.now + after, self._count, what))

    def run(self, seconds: float) -> None:
        """Let time pass: what is due happens in order, deadlines included."""
        end = self.now + seconds
        while True:
            deadline = self.state.next_deadline()
            at = min(self._due[0][0] if self._due else end + 1, deadline[0] if deadline else end + 1)
            if at > end:
                break
            self.now = max(self.now, at)
            if self._due and self._due[0][0] <= at:
                heapq.heappop(self._due)[2]()
            elif deadline is not None:
                self.tell(DeadlinePassed(self.now, deadline[1]))
        self.now = end

    def settle(self) -> None:
        """Let all stay well for as long as incidents wait to see it."""
        self.run(self.rules.policy.settled_s + 0.1)

    # --- answers ---------------------------------------------------------------------------------------

    def _answer(self, action: Action) -> None:
        match action:
            case Refusal():
                return
            case StartWorker():
                self.later(self.worker_starts_s, lambda: self._started(action))
            case Resume():
                self.later(0.2, lambda: self._formed(action))
            case Probe(check=check) if check:
                self.later(1.0, lambda: self._measured(action))
            case Probe(node=node):
                self.later(0.1, lambda: self.tell(NodeProbed(self.now, node, action.id)))
            case Prove(node=node, check=check) if not check:
                self.later(0.1, lambda: self._checked(action))
            case Prove():
                self.later(1.0, lambda: self._proved(action))
            case Ping():
                self.later(0.3, lambda: self._pinged(action))
            case CollectStacks():
                self.later(0.5, lambda: self.outcome(action, data=("stack of rank 0", *self.flights)))
            case RestartAgent():
                self.later(self.agent_starts_s, lambda: self.outcome(action))
            case StopJob():
                self.later(0.5, lambda: self._stopped(action))
            case _:
                self.later(0.05, lambda: self.outcome(action))

    def outcome(self, action: Action, data: tuple[str, ...] = ()) -> None:
        ok = type(action).__name__ not in self.fails
        match action:
            case CordonNode(node=node) if ok:
                self.scheduler.add(node)
            case Readmit(node=node) if ok:
                self.scheduler.discard(node)
        self.tell(Outcome(self.now, action.id, ok, "done" if ok else "no", data))

    def _started(self, action: StartWorker) -> None:
        if action.node in self.never_starts:
            self.tell(Outcome(self.now, action.id, ok=False, detail="no room"))
            return
        self.pid += 1
        if error := self.raise_at_start.get(action.node):
            who = action.job, -1, action.worker, action.node, action.gpu, self.pid, -1
            self.tell(RankRaised(self.now, *who, -1, AT_START, error, "Traceback:\n" + error))
            self.tell(RankExited(self.now, *who, "exit 1"))
            self.tell(Outcome(self.now, action.id, ok=False, detail=f"ActorDiedError: {error}"))
            return
        self.tell(WorkerReady(self.now, action.job, action.worker, action.node, action.gpu, self.pid))
        self.outcome(action)

    def _formed(self, action: Resume) -> None:
        self.outcome(action, data=("lost 1", f"restored step {self.step - 1} from memory"))
        if "Resume" not in self.fails:
            self.later(0.3, lambda: self._advanced(action))

    def _advanced(self, action: Resume) -> None:
        job = self.state.jobs[action.job]
        if self.advances and job.generation == action.generation and job.stage.value == "forming":
            self.advance(job.id)

    def _stopped(self, action: StopJob) -> None:
        for worker in self.state.workers.of(action.job):
            if worker.stage.value != "gone":
                self._exits(worker, action.job, "signal 15")
        self.outcome(action)

    def _measured(self, action: Probe) -> None:
        if "Probe" not in self.fails:
            alone = action.members if action.node else ()
            samples = tuple(MemberSample(name, alone, {"cpu|cpu|tflops": 0.5}) for name in alone)
            about = (action.id, action.incident, action.check, samples, self.found)
            self.tell(MembersProbed(self.now, *about))
        self.outcome(action)

    def _checked(self, action: Prove) -> None:
        self.outcome(action)
        if "Prove" not in self.fails:
            about = (action.id, None, (), tuple(self.mute))
            self.tell(NodeProbed(self.now, action.node, *about))

    def _proved(self, action: Prove) -> None:
        if "Prove" not in self.fails:
            samples = [MemberSample(name, action.members, {"cpu|cpu|tflops": 0.5}) for name in action.members]
            about = (action.id, IncidentId(""), action.check, tuple(samples), self.found)
            self.tell(MembersProbed(self.now, *about))
        self.outcome(action)

    def _pinged(self, action: Ping) -> None:
        agent, raylet, step = self.ports.get(action.node, ("timeout", "timeout", -1))
        self.tell(NodePinged(self.now, action.node, agent, raylet, step, action.incident))
        self.outcome(action)

    # --- what happens ----------------------------------------------------------------------------------

    def advance(self, job: JobId = JOB) -> None:
        self.step += 1
        self.tell(JobAdvanced(self.now, job, self.state.jobs[job].generation, self.step))

    def crash(self, rank: int, how: str = "signal 9") -> None:
        self._exits(self.worker(rank), JOB, how)

    def _exits(self, worker: Worker, job: JobId, how: str) -> None:
        place = (worker.rank, worker.id, worker.node, worker.gpu, worker.pid)
        self.tell(RankExited(self.now, job, *place, self.state.jobs[job].generation, how))

    def probed(self, node: NodeId) -> None:
        self.tell(NodeProbed(self.now, node, "exit"))

    def raises(
        self,
        rank: int,
        error: str = "ValueError: bad",
        kind: str = "user",
        step: int = 7,
        values: tuple[float, ...] = (),
    ) -> None:
        worker, job = self.worker(rank), self.job
        fact = RankRaised(
            self.now, JOB, rank, worker.id, worker.node, worker.gpu, worker.pid, job.generation, step, kind,
            error, "Traceback:\n" + error, values,
        )  # fmt: skip
        self.tell(fact)

    def finding(self, node: NodeId, found: Finding) -> None:
        self.tell(FindingReported(self.now, node, found))

    def silence(self, *nodes: NodeId) -> None:
        for node in nodes:
            self.tell(NodeSilent(self.now, node, 2.6, len(nodes) - 1, len(self.state.nodes)))

    def heard(self, *nodes: NodeId) -> None:
        for node in nodes:
            self.tell(NodeHeard(self.now, node))

    def stall(self, *beats: RankBeat) -> None:
        nodes = tuple(self.worker(beat.rank).node for beat in beats)
        self.tell(JobStalled(self.now, JOB, self.job.generation, 2.3, 0.1, beats, nodes))

    def beat(self, rank: int, phase: str = "collective", enqueued: int = 10, state: str = "S") -> RankBeat:
        worker = self.worker(rank)
        generation = self.job.generation
        completed = enqueued - (phase == "collective")
        return RankBeat(
            JOB, rank, worker.id, worker.pid, worker.gpu, generation, 6, phase, enqueued, completed, 0.1,
            0.0, 1.0, 0.1, state, 2.0,
        )  # fmt: skip

    def command(self, command: str, target: str = "") -> None:
        self.tell(Commanded(self.now, command, target, "ann", "because"))

    # --- what came out ---------------------------------------------------------------------------------

    @property
    def job(self) -> Job:
        return self.state.jobs[JOB]

    @property
    def seats(self) -> list[WorkerId]:
        """Worker of each rank."""
        return [worker.id for _, worker in self.state.seated(self.job)]

    @property
    def workers(self) -> list[Worker]:
        return self.state.workers.of(JOB)

    def worker(self, rank: int) -> Worker:
        return self.state.workers.rows[JOB, self.seats[rank]]

    def node(self, rank: int) -> NodeId:
        return self.worker(rank).node

    def sitting(self, node: NodeId) -> list[Worker]:
        return self.state.workers.sitting(node)

    def at(self, name: str) -> Node:
        return self.state.nodes[NodeId(name)]

    def spare(self) -> NodeId:
        return next(
            node.id for node in self.state.nodes.values() if node.usable and not self.sitting(node.id)
        )

    def all(self, kind: type[Any]) -> list[Any]:
        return [action for action in self.actions if isinstance(action, kind)]

    def evicted(self) -> list[NodeId]:
        return [action.node for action in self.all(Evict)]

    def resumed(self) -> list[list[NodeId]]:
        """The nodes of each generation, in rank order."""
        return [[seat.node for seat in action.seats] for action in self.all(Resume)]

    def pages(self) -> set[str]:
        """Messages that were opened."""
        return {action.incident for action in self.all(Page)}

    def incidents(self) -> list[Incident]:
        return list(self.state.incidents.values())

    def causes(self) -> list[str]:
        return [i.diagnosis.cause if i.diagnosis else "" for i in self.incidents()]

    def stages(self) -> list[str]:
        return [i.stage.value for i in self.incidents()]

    def going(self) -> bool:
        return self.job.stage.value == "running"


def ecc(gpu: int = 0, count: int = 2) -> Finding:
    said = f"{count} uncorrectable errors"
    return Finding("gpu", "ecc-uncorrectable", f"gpu-{gpu}", Health.CRITICAL, said, {"count": count})


def lost(gpu: int = 0) -> Finding:
    return Finding("gpu", "gpu-lost", f"gpu-{gpu}", Health.CRITICAL, "GPU is lost", {})


def xid(number: int, gpu: int = 0, line: str = EXAMPLE_LINE, health: Health = Health.CRITICAL) -> Finding:
    said = f"Xid {number}"
    return Finding("xid", f"xid-{number}", f"gpu-{gpu}", health, said, {"line": line}, event=True)
