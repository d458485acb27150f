"""Random episodes for property tests: what goes wrong, in which order, and what must hold after each fact."""

from collections.abc import Callable, Sequence

from hypothesis import strategies as st
from msgspec.structs import replace
from simulated import JOB, Simulated, ecc, lost, xid

from sentinel.core.commands import refuse_command
from sentinel.core.settle import missing
from sentinel.core.settle.seating import wanted_standbys
from sentinel.core.state.rows import Job, JobStage, ProofStage
from sentinel.core.state.tables import Fold
from sentinel.core.state.workers import WorkerTable
from sentinel.model.action import (
    Action,
    Evict,
    Page,
    Repair,
    RestartAgent,
    RestartGcs,
    Resume,
    Seat,
    StartWorker,
    StopJob,
    StopWorker,
)
from sentinel.model.fact import (
    Commanded,
    ControllerPaused,
    ControllerStarted,
    Fact,
    GangSeen,
    GcsBack,
    GcsLost,
    JobAtPace,
    JobSlowed,
    JobSubmitted,
    JobUnderway,
    JournalBack,
    JournalFailed,
    LinkBack,
    LinkLost,
    NodeCordoned,
    NodeHeard,
    NodeJoined,
    NodeLeft,
    NodeProbed,
    NodeUncordoned,
    Outcome,
    RankAtPace,
    RankExited,
    RankLooks,
    RankSlow,
    WorkerReady,
    WorkerRuns,
    WorkerStopped,
)
from sentinel.model.finding import TRAINER, Finding, Health
from sentinel.model.ids import IncidentId, JobId, NodeId, WorkerId
from sentinel.model.policy import Policy

DEEDS = (Evict, Resume, StartWorker, StopWorker, StopJob, RestartAgent, RestartGcs, Repair)
"""What must not be done while actions are not allowed."""
PORTS = (("refused", "refused", -1), ("timeout", "timeout", -1), ("refused", "ok", 5), ("ok", "ok", 5))


class Checked(Simulated):
    """A simulated cluster that checks every invariant after every fact."""

    def __init__(self, delays: list[float], nodes: int, gpus: int, world: int, standbys: int) -> None:
        self.decided: list[Action] = []
        self.known: dict[str, str] = {}
        self.generations: dict[str, int] = {}
        self.sat: dict[JobId, set[WorkerId]] = {}
        """Who had a seat in the newest generation."""
        self.revisions: dict[str, int] = {}
        self.drained: set[NodeId] = set()
        self.theirs: set[NodeId] = set()
        """What others have cordoned in the scheduler."""
        self.cordoned: set[NodeId] = set()
        self._delays = delays
        self._waited = 0
        repair, idle = ("gpu-reset", "reboot"), {"idle_probes": True, "idle_look_s": 60.0}
        policy = Policy(evict_share=0.4, evict_confidence=0.82, repair=repair, **idle)
        super().__init__(nodes, gpus, world, standbys=standbys, min_world=1, policy=policy)

    def later(self, after: float, what: Callable[[], object]) -> None:
        self._waited += 1
        super().later(after * self._delays[self._waited % len(self._delays)], what)

    def tell(self, fact: Fact) -> tuple[Action, ...]:
        actions = self._learned(fact)
        left = missing(self.state, self.rules)
        assert left == [], f"what is settled is settled: {left}"
        for name in self.state.in_preflight():
            node = self.state.nodes[name]
            measures = node.preflight is not None and node.preflight.order
            assert not (measures and self.sitting(name)), "no rank sits where something is measured"
        return actions

    def _learned(self, fact: Fact) -> tuple[Action, ...]:
        allowed_before = not (self.state.stopped or self.state.frozen)
        out = self._out()
        actions = super().tell(fact)
        self._check_the_way_back(out - self._out(), [fact])
        self.decided += actions
        for action in actions:
            self._check(action)
        if not allowed_before and (self.state.stopped or self.state.frozen):
            deeds = [a for a in actions if isinstance(a, DEEDS)]
            if isinstance(fact, NodeHeard | NodeJoined | WorkerReady | Outcome):
                deeds = [a for a in deeds if not isinstance(a, StopWorker)]  # what has no place may be swept
            deeds = [a for a in deeds if not self._by_hand(fact, a)]
            assert not deeds, "nothing is done while actions are stopped"
        self._check_nodes()
        return actions

    def _out(self) -> set[NodeId]:
        """Nodes that Sentinel or a human has taken out."""
        nodes = self.state.nodes.values()
        return {node.id for node in nodes if node.cordon is not None and node.is_kept_out}

    def _check_the_way_back(self, back: set[NodeId], facts: Sequence[Fact]) -> None:
        for name in back:
            proof = self.state.nodes[name].proof
            passed = any(isinstance(f, NodeProbed) and f.node == name and not f.missing for f in facts)
            passed = passed and proof is not None and proof.stage is ProofStage.PASSED
            said = {(f.command, f.target) for f in facts if isinstance(f, Commanded)}
            word = ("undrain", name) in said
            assert passed or word, "a node comes back by a proof that it passes, or on a person's word"
            self.drained.discard(name)

    def _by_hand(self, fact: Fact, action: Action) -> bool:
        """Say whether a human wants this: a job that they stop, and its processes that get ready after it."""
        if isinstance(action, StopWorker):
            return self.state.jobs[action.job].is_over
        return isinstance(action, StopJob) and isinstance(fact, Commanded)

    def _check(self, action: Action) -> None:
        said = repr(action)
        assert self.known.setdefault(action.id, said) == said, (
            "an id is never decided twice with other content"
        )
        match action:
            case Page(incident=name, revision=number):
                assert number == self.revisions.get(name, 0) + 1, "revisions grow by one"
                self.revisions[name] = number
            case Resume():
                self._check_seats(action)
            case Repair(node=name):
                cordon = self.state.nodes[name].cordon
                assert cordon is not None, "only a node that is out is repaired"
                assert cordon.is_ours, "and none that people have taken out"
                assert not self.state.workers.sitting(name), "and only when it is empty"

    def _check_seats(self, resume: Resume) -> None:
        places = [(seat.node, seat.gpu) for seat in resume.seats]
        assert len(set(places)) == len(places), "never two ranks on one GPU"
        assert len({seat.worker for seat in resume.seats}) == len(places)
        assert [seat.rank for seat in resume.seats] == list(range(len(places)))
        assert all(0 <= seat.gpu < self.state.nodes[seat.node].gpus for seat in resume.seats)
        job = self.state.jobs[resume.job]
        formed = resume.generation == job.generation and job.stage is JobStage.FORMING
        if formed:  # and not broken off in the same decision
            assert all(self._takes_ranks(seat, resume) for seat in resume.seats), "no seat on a bad node"
        workers = [self.state.workers.rows[job.id, seat.worker] for seat in resume.seats]
        assert not any(worker.unfit for worker in workers), "whose process stands still is not seated"
        assert resume.generation > self.generations.get(job.id, 0), "generations grow"
        self.generations[job.id] = resume.generation
        self.sat[job.id] = {seat.worker for seat in resume.seats}

    def _takes_ranks(self, seat: Seat, resume: Resume) -> bool:
        """Another job's incident may empty the node in the same decision: this one leaves it after a step.

        Where a hung agent's ranks train, or maintenance has yet to begin, they may stay.
        """
        node = self.state.nodes[seat.node]
        lately = node.cordon is not None and node.cordon.at == self.now and len(self.state.jobs) > 1
        stays = seat.worker in self.sat.get(resume.job, ())
        there = node.cordon is None and (node.lives or (node.maintained is not None and not node.silent))
        return node.usable or lately or (stays and there)

    def _check_guilt(self, name: str) -> None:
        found = self.state.incidents[IncidentId(name)].diagnosis
        assert found is not None
        assert found.cause != "unknown", "unknown evicts nobody"
        assert found.confidence >= self.rules.policy.evict_confidence

    def _check_nodes(self) -> None:
        ours = [n for n in self.state.nodes.values() if n.cordon and n.cordon.is_ours]
        here = [n for n in self.state.nodes.values() if not n.left]
        limit = max(1, int(self.rules.policy.evict_share * len(here)))
        for node in ours:
            if node.id not in self.cordoned and node.cordon is not None:
                self._check_guilt(node.cordon.by)
                assert sum(not n.left for n in ours) <= limit, "no more than the share that may go"
        self.cordoned = {node.id for node in ours}
        assert not any(self.state.nodes[name].usable for name in self.theirs), "others have cordoned it"
        for name in self.drained:
            cordon = self.state.nodes[name].cordon
            assert cordon is not None, "a human's cordon stays"
            assert cordon.by == "operator"
        seats = {
            job: [seat.worker if seat else "" for seat in self.state.workers.seats(job)]
            for job in self.state.jobs
        }
        counted = WorkerTable(Fold(), self.state.workers.rows.values(), seats)
        for job in self.state.jobs.values():
            self._check_workers(job, self.state.workers, counted)

    def _check_workers(self, job: Job, kept: WorkerTable, counted: WorkerTable) -> None:
        assert kept.seats(job.id) == counted.seats(job.id), (
            "seats are kept as a count of everybody gives them"
        )
        assert kept.has(job.id) == counted.has(job.id)
        for node in self.state.nodes:
            assert kept.sitting(node) == counted.sitting(node), "so is who sits on a node"
            assert kept.waiting(job.id, node) == counted.waiting(job.id, node), "who waits, oldest first"
        assert set(map(id, kept.gone(job.id))) == set(map(id, counted.gone(job.id))), "and who is gone"
        assert set(map(id, kept.spent(job.id))) == set(map(id, counted.spent(job.id))), "and who raised"
        for node in self.state.nodes.values():
            if node.id not in kept.doubtful(job.id) and node.may_start:
                want = wanted_standbys(self.state, node, job)
                assert len(kept.waiting(job.id, node.id)) >= want, "none is missing that nobody looks for"

    def knows_outside(self) -> bool:
        """Say whether the scheduler has cordoned what Sentinel and its operators have, and nothing else."""
        known = {node.id for node in self.state.nodes.values() if node.outside.cordon is not None}
        wanted = {node.id for node in self.state.nodes.values() if node.is_kept_out}
        return self.scheduler == known == wanted

    def all_is_well(self) -> None:
        """Whatever was wrong is over, and whoever was away is back."""
        self.fails, self.never_starts, self.advances = set(), set(), True
        self.heard(*sorted(self.state.nodes))
        self.drained.clear()
        self.theirs.clear()
        for node in sorted(self.state.nodes):
            self._joins(node, 0)
            self.tell(NodeUncordoned(self.now, node))
            self.command("undrain", node)
            for found in list(self.state.nodes[node].findings.values()):
                self.finding(node, replace(found, health=Health.OK))
        for back in (GcsBack(self.now, "a"), LinkBack(self.now), JournalBack(self.now)):
            self.tell(back)
        if self.job.straggler >= 0:
            self.tell(RankAtPace(self.now, JOB, self.job.straggler, NodeId("n1"), self.job.generation, 20))
        if self.job.usual_step_s:
            self.tell(JobAtPace(self.now, JOB, self.job.generation, 0.1, 0.1))
        self.command("resume-actions")
        if "other" in self.state.jobs:
            self.command("stop-job", "other")

    # --- what goes wrong -------------------------------------------------------------------------------

    def do(self, kind: str, number: int) -> None:
        """Let one thing go wrong, with `number` choosing where."""
        if not self.seats or len(self.seats) < len(self.state.workers.seats(JOB)):
            return
        rank = number % len(self.seats)
        nodes = sorted(self.state.nodes)
        getattr(self, f"_do_{kind}")(rank, nodes[number % len(nodes)], number)

    def _do_wait(self, rank: int, node: NodeId, number: int) -> None:
        self.run((0.05, 0.4, 3, 40)[number % 4])

    def _do_crash(self, rank: int, node: NodeId, number: int) -> None:
        self.crash(rank)

    def _do_standby_dies(self, rank: int, node: NodeId, number: int) -> None:
        waiting = [w for w in self.workers if w.stage.value in ("standby", "starting")]
        for worker in waiting[:1]:
            self.tell(RankExited(self.now, JOB, -1, worker.id, worker.node, -1, worker.pid, 1, "exit 1"))

    def _do_hang(self, rank: int, node: NodeId, number: int) -> None:
        self.stall(*(self.beat(r, state="T" if r == rank else "S") for r in range(len(self.seats))))

    def _do_missing(self, rank: int, node: NodeId, number: int) -> None:
        self.stall(*(self.beat(r) for r in range(len(self.seats)) if r != rank))

    def _do_finding(self, rank: int, node: NodeId, number: int) -> None:
        gpu = self.worker(rank).gpu
        line = str(number)
        found = (ecc(gpu, number + 1), lost(gpu), xid(79, gpu, line), xid(31, gpu, line, Health.WARNING))
        self.finding(self.node(rank) if number % 3 else node, found[number % 4])

    def _do_throttled(self, rank: int, node: NodeId, number: int) -> None:
        health = (Health.CRITICAL, Health.WARNING, Health.OK)[number % 3]
        said = f"GPU {self.worker(rank).gpu} slows down"
        where = f"gpu-{self.worker(rank).gpu}"
        self.finding(self.node(rank), Finding("gpu", "throttle", where, health, said))

    def _do_underway(self, rank: int, node: NodeId, number: int) -> None:
        self.tell(JobUnderway(self.now, JOB, self.job.generation, number))

    def _do_told_by_rank(self, rank: int, node: NodeId, number: int) -> None:
        """A rank tells of its checkpoints, or the host of its memory."""
        worker, health = self.worker(rank), Health.OK if number % 5 == 0 else Health.WARNING
        killed = {"pid": worker.pid}
        found = (
            Finding(TRAINER, "disk-full", JOB, health, "no space left"),
            Finding(TRAINER, "checkpoint-corrupt", JOB, health, "step 7 is damaged"),
            Finding("host", "oom-kill", "memory", Health.WARNING, "out of memory", killed, event=True),
        )
        self.finding(worker.node, found[number % 3])

    def _do_down(self, rank: int, node: NodeId, number: int) -> None:
        """An operator takes Sentinel down, which waits for the processes to end, and brings it up again."""
        for job in self.state.jobs:
            self.command("stop-job", job)
        self.run(5)
        nodes = sorted(self.state.nodes)
        if not refuse_command(self.state, "retire", ""):
            for each in nodes:
                self.tell(NodeLeft(self.now, each))
            self.run(3)
            self.tell(JobSubmitted(self.now, JOB, self.job.wanted, "x:y", number % 3, 1))
            for each in nodes[: len(nodes) - (number % 4 == 0)]:  # one may not come back
                self._joins(each, number)
            self.run(20)

    def _do_second_job(self, rank: int, node: NodeId, number: int) -> None:
        priority = number % 3 - 1
        other = JobSubmitted(self.now, JobId("other"), 1 + number % 3, "x:y", number % 2, 1)
        self.tell(replace(other, priority=priority))

    def _do_ends(self, rank: int, node: NodeId, number: int) -> None:
        """A rank takes its work for done, or all do; then the job may be asked for once more."""
        wanted = self.job.wanted
        for each in range(len(self.seats)) if number % 3 else [rank]:
            if each < len(self.seats):
                self.crash(each, "exit 0")
        if number % 3 == 1:
            self.run(number % 2)
            self.tell(JobSubmitted(self.now, JOB, wanted, "x:y", number % 2, 1))
            self.run(20)

    def _do_out_of_memory(self, rank: int, node: NodeId, number: int) -> None:
        self.raises(rank, "torch.OutOfMemoryError: CUDA out of memory.")

    def _do_cleared(self, rank: int, node: NodeId, number: int) -> None:
        self.finding(node, replace(ecc(), health=Health.OK))

    def _do_raise(self, rank: int, node: NodeId, number: int) -> None:
        kind = ("user", "collective", "nan", "evicted", "restore")[number % 5]
        values = tuple(float("nan") if r == rank else 1.0 for r in range(len(self.seats)))
        self.raises(rank, kind=kind, values=values if kind == "nan" else ())

    def _do_silence(self, rank: int, node: NodeId, number: int) -> None:
        many = sorted(self.state.nodes)[: 1 + number % 3]
        for each in many if number % 2 else [node]:
            self.ports[each] = PORTS[number % 4]
            self.silence(each)

    def _do_heard(self, rank: int, node: NodeId, number: int) -> None:
        silent = sorted(name for name, each in self.state.nodes.items() if each.silent)
        self.heard(*(silent if number % 2 else silent[:1]))

    def _do_joined(self, rank: int, node: NodeId, number: int) -> None:
        """An agent introduces itself again, that of a drained node first."""
        self._joins(min(self.drained, default=node), number)

    def _joins(self, node: NodeId, number: int) -> None:
        self.tell(NodeJoined(self.now, node, "10.0.0.9", 1, self.state.nodes[node].gpus, f"boot {number}"))

    def _do_slow(self, rank: int, node: NodeId, number: int) -> None:
        worker = self.worker(rank)
        place = (rank, worker.node, worker.gpu, self.job.generation)
        self.tell(RankSlow(self.now, JOB, *place, 0.3, 0.1, 20))

    def _do_pace(self, rank: int, node: NodeId, number: int) -> None:
        """All steps become slow, for nobody's sake or for a rank's that is stopped or awaited; or no more."""
        worker, job = self.worker(rank), self.job
        looks = (RankLooks(rank, worker.node, worker.gpu, 60, 50, 50 * (number % 2), 0.0),)
        pace = (0.7, 0.1, 15.0, 20, 0.1, 0.1, looks if number % 3 else ())
        self.tell(
            JobAtPace(self.now, JOB, job.generation, 0.1, 0.1)
            if number % 4 == 3
            else JobSlowed(self.now, JOB, job.generation, *pace)
        )

    def _do_stands(self, rank: int, node: NodeId, number: int) -> None:
        """A standby's process stands still; or runs again."""
        waiting = [each for each in self.workers if each.stage.value == "standby"]
        if waiting:
            worker = waiting[number % len(waiting)]
            place = (self.now, JOB, worker.id, worker.node)
            self.tell(WorkerRuns(*place) if number % 3 == 2 else WorkerStopped(*place, "T", 1.5))

    def _do_control(self, rank: int, node: NodeId, number: int) -> None:
        facts = (GcsLost(self.now, "a", "b"), GcsBack(self.now, "a"), JournalFailed(self.now, "full"))
        more = (LinkLost(self.now, "hangs"), LinkBack(self.now), ControllerPaused(self.now, float(number)))
        self.tell((*facts, JournalBack(self.now), *more)[number % 7])

    def _do_command(self, rank: int, node: NodeId, number: int) -> None:
        self.command(("stop-actions", "resume-actions", "resume-actions")[number % 3])

    def _do_tried_again(self, rank: int, node: NodeId, number: int) -> None:
        """A human has something tried again, or quiet for a while."""
        incidents = [each.id for each in self.state.open_incidents()]
        target = (node, JOB, (incidents or [node])[-1])[number % 3]
        if not refuse_command(self.state, "retry", target):
            self.command("retry", target)
        if not refuse_command(self.state, "grow", JOB):
            self.command("grow", JOB)
        quiet = "unsilence" if node in self.state.silences else "silence"
        self.tell(Commanded(self.now, quiet, node, "ann", "", self.now + 5 + number))

    def _do_drain(self, rank: int, node: NodeId, number: int) -> None:
        self.command("drain", node)
        self.drained.add(node)

    def _do_scheduler(self, rank: int, node: NodeId, number: int) -> None:
        """Others cordon a node in the scheduler, or give it back."""
        if number % 2:
            self.tell(NodeCordoned(self.now, node, "kevin", f"ticket {number}"))
            self.theirs.add(node)
        else:
            self.theirs.discard(node)
            self.tell(NodeUncordoned(self.now, node))

    def _do_maintain(self, rank: int, node: NodeId, number: int) -> None:
        """Maintenance of a node is announced, for so short that it ends in the course of the episode."""
        until = self.now + (5, 60)[number % 2]
        self.tell(Commanded(self.now, "maintain", node, "ann", "new kernel", until))

    def _do_prove(self, rank: int, node: NodeId, number: int) -> None:
        """An operator wants a node back if it is well, one that was drained first; it may be ill, or mute."""
        out = sorted(self.drained) or [each.id for each in self.state.cordoned()] or [node]
        self.mute = {"gpu"} if number % 7 == 0 else set()
        self.command("prove", out[number % len(out)])

    def _do_undrain(self, rank: int, node: NodeId, number: int) -> None:
        """Nobody answers in the very moment in which something is found."""
        self.run(0.01)
        self.drained.discard(node)
        self.command("undrain", node)

    def _do_again(self, rank: int, node: NodeId, number: int) -> None:
        """A fact is told again, as after a lost acknowledgement; what no agent says never is."""
        fact = self.facts[-1 - number % len(self.facts)]
        if not isinstance(fact, Commanded | GangSeen | NodeLeft | NodeCordoned | NodeUncordoned):
            self.tell(replace(fact, at=self.now))

    def _do_restart(self, rank: int, node: NodeId, number: int) -> None:
        self.state = type(self.state).from_bytes(self.state.to_bytes())
        if number % 2:
            self.tell(ControllerStarted(self.now, 1, "p", "r"))

    def _do_trouble(self, rank: int, node: NodeId, number: int) -> None:
        stops = {"CollectStacks", "StopWorker"}
        told = {"CordonNode", "Readmit"}
        self.fails = (set(), {"Resume"}, {"Evict"}, {"RestartAgent"}, stops, told)[number % 6]
        self.never_starts = {node} if number % 2 else set()


KINDS = sorted(name.removeprefix("_do_") for name in vars(Checked) if name.startswith("_do_"))

MISHAPS = st.tuples(st.sampled_from([*KINDS, "wait", "wait", "crash", "finding"]), st.integers(0, 59))
EPISODES = st.lists(MISHAPS, min_size=1, max_size=25)
CLUSTERS = st.tuples(
    st.lists(st.floats(0.1, 6.0), min_size=1, max_size=7),
    st.integers(1, 6),
    st.integers(1, 2),
    st.integers(1, 5),
    st.integers(0, 2),
).filter(lambda drawn: drawn[1] * drawn[2] >= drawn[3])
