"""What becomes of actions on the virtual cluster: each takes its time and ends in an outcome."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sentinel.checks import load_collective
from sentinel.core.state.rows import JobStage
from sentinel.model.action import (
    Action,
    CollectStacks,
    Evict,
    Ping,
    Probe,
    Prove,
    Refusal,
    RestartAgent,
    RestartGcs,
    RestartJob,
    Resume,
    StartWorker,
    StopJob,
    StopWorker,
    kind_of,
)
from sentinel.model.collective import MemberSample
from sentinel.model.fact import Fact, GcsBack, MembersProbed, NodePinged, Outcome, WorkerReady
from sentinel.model.ids import IncidentId, NodeId, Seconds
from sentinel.rehearse.controller import Controller
from sentinel.rehearse.gang import Process
from sentinel.rehearse.world import FIRST_STEP_S, World
from sentinel.runtime.members import fleet_of, known_of, placed, planned
from sentinel.runtime.perform import turns
from sentinel.runtime.probe import judged

QUICK_S: Seconds = 0.05
START_S: Seconds = 0.5
NO_START_S: Seconds = 30.0
STACKS_S: Seconds = 0.5
UNREACHED_S: Seconds = 3.0
"""How long killing through an agent that does not answer is given."""
FORM_S: Seconds = 0.2
STUCK_S: Seconds = 8.0
"""After which a member that does not answer is stuck."""
PING_S: Seconds = 0.3
ROUND_S: Seconds = 1.0


@dataclass(slots=True)
class Performer:
    """Does what was decided to the world, in the order in which the real one does."""

    world: World
    controller: Controller
    _life: int = 0
    """How many controllers there were: what one has begun is told to no other."""

    def dies(self) -> None:
        """Leave what is begun to itself."""
        self._life += 1
        self.controller.there = False

    def restarts(self) -> None:
        """Let another controller take over, and do again what has no outcome."""
        self.dies()
        unfinished = tuple(self.controller.state.unfinished.values())
        self.controller.restart(self.world.now)
        self.start(unfinished)

    def start(self, actions: Sequence[Action]) -> None:
        """Begin to do the actions of one decision."""
        in_order, aside = turns(actions)
        after = 0.0
        for turn in in_order:
            for action in turn:
                self._soon(after, action)
            after += max((self._takes(action) for action in turn), default=0.0)
        for action in aside:
            self._soon(0.0, action)

    def _soon(self, after: Seconds, action: Action) -> None:
        life = self._life
        self.world.later(after, lambda: self._do(action) if life == self._life else None)

    def _takes(self, action: Action) -> Seconds:
        match action:
            case CollectStacks():
                return STACKS_S
            case StopWorker(node=node):
                return UNREACHED_S if node in self.world.cut else QUICK_S
            case _:
                return FORM_S

    def _do(self, action: Action) -> None:
        match action:
            case Refusal():
                self._ends(action, 0.0)
            case StartWorker():
                self._start_worker(action)
            case StopWorker():
                self._stop_worker(action)
            case Evict(node=node):
                self._empty(action, node)
            case StopJob(job=job):
                for process in list(self.world.processes.values()):
                    if process.job == job and process.node not in self.world.cut:
                        self.world.ends(process, "signal 9")
                self._ends(action, QUICK_S)
            case Resume():
                self._resume(action)
            case RestartJob():
                self._restart_job(action)
            case CollectStacks(processes=processes):
                stacks = tuple(f"rank {rank} ({pid}): a stack" for _, rank, pid in processes)
                self._ends(action, STACKS_S, stacks)
            case Probe(check=check) if check:
                self._probe_members(action)
            case Probe(node=node):
                self.world.look(node, action.id)
                self._ends(action, 2 * QUICK_S)
            case Prove(check=check):
                self._prove(action, check)
            case Ping():
                self._ping(action)
            case RestartAgent(node=node):
                self._restart_agent(action, node)
            case RestartGcs():
                self._ends(action, START_S)
                if "restart-gcs" not in self.world.fails:
                    self._learn(2 * START_S, lambda: GcsBack(self.world.now, "gcs"))
            case _:
                self._ends(action, QUICK_S)

    # --- outcomes --------------------------------------------------------------------------------------

    def _learn(self, after: Seconds, fact: Callable[[], Fact]) -> None:
        life = self._life
        self.world.later(after, lambda: self.controller.learn([fact()] if life == self._life else []))

    def _ends(self, action: Action, after: Seconds, data: tuple[str, ...] = (), *, failed: str = "") -> None:
        """Tell the outcome after a while; the scenario may want it to be a failure."""
        kind = kind_of(action.id)
        failed = failed or ("it fails in this scenario" if kind in self.world.fails else "")
        if not isinstance(action, Refusal):
            detail = failed or "done"
            self._learn(after, lambda: Outcome(self.world.now, action.id, not failed, detail, data))

    # --- workers ---------------------------------------------------------------------------------------

    def _start_worker(self, action: StartWorker) -> None:
        node = action.node
        if node in self.world.cut or self.world.nodes[node].ports[1] != "ok":
            self._ends(action, NO_START_S, failed=f"Ray does not reach {node}")
        elif node in self.world.never_starts or "start-worker" in self.world.fails:
            self._ends(action, START_S, failed="no room")
        else:
            self.world.later(START_S, lambda: self._started(action))

    def _started(self, action: StartWorker) -> None:
        """Start a process, unless it was started for another controller."""
        if action.node in self.world.cut or self.world.nodes[action.node].ports[1] != "ok":
            self._ends(action, 0.0, failed=f"{action.node} is gone")
            return
        known = self.world.processes.get((action.job, action.worker))
        process = known or self.world.start(action.job, action.worker, action.node, action.gpu)
        place = (action.job, action.worker, action.node, action.gpu, process.pid)
        self.controller.learn([WorkerReady(self.world.now, *place)])
        self._ends(action, 0.0)

    def _stop_worker(self, action: StopWorker) -> None:
        process = self.world.processes.get((action.job, action.worker))
        if action.node in self.world.cut:
            self._ends(action, UNREACHED_S, failed=f"{action.node} does not answer")
            return
        if process is not None and "stop-worker" not in self.world.fails:
            self.world.ends(process, "signal 9")
        self._ends(action, QUICK_S)

    def _empty(self, action: Evict, node: NodeId) -> None:
        """Kill whoever of ours is not seated any more."""
        for process in self.world.living(node):
            known = self.controller.state.workers.get(process.job, process.worker)
            seated = known is not None and known.rank >= 0
            if node not in self.world.cut and not seated:
                self.world.ends(process, "signal 9")
        self._ends(action, UNREACHED_S if node in self.world.cut else QUICK_S)

    # --- generations -----------------------------------------------------------------------------------

    def _resume(self, action: Resume) -> None:
        job = self.controller.state.jobs[action.job]
        if job.generation != action.generation or job.stage is JobStage.BROKEN:
            self._ends(action, 0.0)
            return
        members = [self.world.processes.get((action.job, seat.worker)) for seat in action.seats]
        seated = [process for process in members if process is not None and process.alive]
        if len(seated) < len(members) or any(process.node in self.world.cut for process in seated):
            self._ends(action, FORM_S, failed="a member is gone")
        elif stuck := [process for process in seated if process.fields.get("state", "S") in "Tt"]:
            data = tuple(f"stuck {process.worker}" for process in stuck)
            self._ends(action, STUCK_S, data, failed="no answer in time")
        else:
            self.world.later(FORM_S, lambda: self._formed(action, seated))

    def _restart_job(self, action: RestartJob) -> None:
        """Run the command, unless the job is back: it starts ranks wherever it may, if that is anywhere."""
        job = self.controller.state.jobs[action.job]
        if job.generation != action.generation or job.stage is not JobStage.FORMING:
            self._ends(action, 0.0)
        elif "restart-job" in self.world.fails:
            self._ends(action, START_S)
        else:
            self.world.later(START_S, lambda: self._ran(action))

    def _ran(self, action: RestartJob) -> None:
        there = self.world.launch(action.job, self.world.nodes.keys() - set(action.avoid))
        self._ends(action, 0.0, failed="" if there else "there is no node for it")

    def _formed(self, action: Resume, seated: list[Process]) -> None:
        """Begin from the newest snapshot; without a pause a step may have been under way."""
        gang = self.world.gangs[action.job]
        if "resume" in self.world.fails or not all(process.alive for process in seated):
            self._ends(action, 0.0, failed="a member is gone")
            return
        if gang.generation >= action.generation:  # for another controller, or a later one has formed
            self._ends(action, 0.0)
            return
        for process, seat in zip(seated, action.seats, strict=True):
            process.gpu = seat.gpu
        lost = 0 if action.pause or gang.high < 0 else 1
        gang.skip(action.skip)
        gang.begin(action.generation, seated, gang.high - lost, self.world.now + FIRST_STEP_S)
        self._ends(action, 0.0, (f"lost {lost}", f"restored step {gang.step} from memory"))

    # --- nodes -----------------------------------------------------------------------------------------

    def _ping(self, action: Ping) -> None:
        node = self.world.nodes[action.node]
        here = [p for p in self.world.living(action.node) if p.rank >= 0 and not p.stands_still]
        steps = [self.world.gangs[p.job].step for p in here if action.node not in self.world.cut]
        agent, raylet = node.ports
        place = (action.node, agent, raylet, max(steps, default=-1), action.incident)
        self._learn(PING_S, lambda: NodePinged(self.world.now, *place))
        self._ends(action, PING_S)

    def _prove(self, action: Prove, check: str) -> None:
        if check and "prove" not in self.world.fails:
            asked = check, action.members, action.deadline
            self._probe_members(Probe(action.id, IncidentId(""), NodeId(""), *asked))
            return
        if not check:
            self.world.look(action.node, action.id, everything=True)
        self._ends(action, 2 * QUICK_S)

    def _probe_members(self, action: Probe) -> None:
        """Let nodes measure together, a second for each round."""
        check = load_collective().get(action.check)
        if check is None or "probe" in self.world.fails:
            self._ends(action, QUICK_S)
            return
        known, samples, rounds = known_of(action.members, self.controller.state), list[MemberSample](), 0
        while (together := planned(check, action.members, samples)[0]) and rounds * ROUND_S < action.deadline:
            measured = [self.world.measure(node, members) for members in together for node in members]
            samples += [placed(sample, rounds, known) for sample in measured]
            rounds += 1
        fleet = fleet_of(self.controller.state, self.controller.rules.policy, lambda: self.world.now)
        found = judged(check, samples, fleet)
        about = action.id, action.incident, check.name, tuple(samples), found.findings, found.error
        takes = min(action.deadline, ROUND_S * rounds)
        self._learn(takes, lambda: MembersProbed(self.world.now, *about, held=found.held))
        self._ends(action, takes)

    def _restart_agent(self, action: RestartAgent, node: NodeId) -> None:
        there = node not in self.world.cut and self.world.nodes[node].ports[1] == "ok"
        if "restart-agent" in self.world.fails or not there:
            self._ends(action, START_S, failed=f"no agent starts on {node}")
            return
        self.world.later(START_S, lambda: self._agent_started(node))
        self._ends(action, START_S)

    def _agent_started(self, node: NodeId) -> None:
        self.world.nodes[node].ports = ("ok", "ok")
        self.world.nodes[node].reports = True
        self.world.start_agent(node)
