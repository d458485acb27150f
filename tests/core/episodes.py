"""Random episodes for property tests: what goes wrong, in which order, and what must hold after each fact."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st
from simulated import JOB, Simulated, ecc, lost, xid

from sentinel.core.crew import Crew
from sentinel.core.seating import wanted_standbys
from sentinel.core.state import Job, JobStage
from sentinel.model.action import (
    Action,
    Evict,
    Page,
    RestartAgent,
    RestartGcs,
    Resume,
    StartWorker,
    StopJob,
    StopWorker,
)
from sentinel.model.fact import (
    Commanded,
    ControllerStarted,
    Fact,
    GcsBack,
    GcsLost,
    JobUnderway,
    JournalBack,
    JournalFailed,
    NodeHeard,
    NodeJoined,
    RankExited,
    RankSlow,
)
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import IncidentId, NodeId
from sentinel.model.policy import Policy

DEEDS = (Evict, Resume, StartWorker, StopWorker, StopJob, RestartAgent, RestartGcs)
"""What must not be done while actions are not allowed."""
DOORS = (("refused", "refused", -1), ("timeout", "timeout", -1), ("refused", "ok", 5), ("ok", "ok", 5))


class Checked(Simulated):
    """A simulated cluster that checks every invariant after every fact."""

    def __init__(self, delays: list[float], nodes: int, gpus: int, world: int, standbys: int) -> None:
        self.decided: list[Action] = []
        self.known: dict[str, str] = {}
        self.generation = 0
        self.revisions: dict[str, int] = {}
        self.drained: set[NodeId] = set()
        self.cordoned: set[NodeId] = set()
        self._delays = delays
        self._waited = 0
        policy = Policy(evict_share=0.4, evict_confidence=0.82)
        super().__init__(nodes, gpus, world, standbys=standbys, min_world=1, policy=policy)

    def later(self, after: float, what: Callable[[], object]) -> None:
        self._waited += 1
        super().later(after * self._delays[self._waited % len(self._delays)], what)

    def tell(self, fact: Fact) -> tuple[Action, ...]:
        allowed_before = not (self.state.stopped or self.state.frozen)
        actions = super().tell(fact)
        self.decided += actions
        for action in actions:
            self._check(action)
        if not allowed_before and (self.state.stopped or self.state.frozen):
            deeds = [a for a in actions if isinstance(a, DEEDS)]
            if isinstance(fact, NodeHeard | NodeJoined):  # what lost its place may be swept from the node
                deeds = [a for a in deeds if not isinstance(a, StopWorker)]
            assert not deeds, "nothing is done while actions are stopped"
        self._check_nodes()
        return actions

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

    def _check_seats(self, resume: Resume) -> None:
        places = [(seat.node, seat.gpu) for seat in resume.seats]
        assert len(set(places)) == len(places), "never two ranks on one GPU"
        assert len({seat.worker for seat in resume.seats}) == len(places)
        assert [seat.rank for seat in resume.seats] == list(range(len(places)))
        assert all(0 <= seat.gpu < self.state.nodes[seat.node].gpus for seat in resume.seats)
        formed = resume.generation == self.job.generation and self.job.stage is JobStage.FORMING
        if formed:  # and not broken off in the same decision
            assert all(self.state.nodes[seat.node].usable for seat in resume.seats), "no seat on a bad node"
        assert resume.generation > self.generation, "generations grow"
        self.generation = resume.generation

    def _check_guilt(self, name: str) -> None:
        found = self.state.incidents[IncidentId(name)].diagnosis
        assert found is not None
        assert found.cause != "unknown", "unknown evicts nobody"
        assert found.confidence >= self.rules.policy.evict_confidence

    def _check_nodes(self) -> None:
        ours = [n for n in self.state.nodes.values() if n.cordon and n.cordon.by != "operator"]
        assert len(ours) <= max(1, int(self.rules.policy.evict_share * len(self.state.nodes)))
        for node in ours:
            if node.id not in self.cordoned and node.cordon is not None:
                self._check_guilt(node.cordon.by)
        self.cordoned = {node.id for node in ours}
        for name in self.drained:
            cordon = self.state.nodes[name].cordon
            assert cordon is not None, "a human's cordon stays"
            assert cordon.by == "operator"
        job = self.state.jobs.get(JOB)
        seated = {(JOB, worker.id): worker.node for _, worker in job.seated()} if job else {}
        indexed = {place: node.id for node in self.state.nodes.values() for place in node.ranks}
        assert indexed == seated, "the index of seats agrees with the seats"
        for known in self.state.jobs.values():
            self._check_crew(known, Crew.of(known.workers, known.seats))

    def _check_crew(self, job: Job, counted: Crew) -> None:
        kept = job.crew
        assert kept.table == counted.table, "seats are kept as a count of everybody gives them"
        assert {n: list(pool) for n, pool in kept.idle.items()} == {
            n: list(pool) for n, pool in counted.idle.items()
        }, "so are starting workers and standbys, oldest first"
        assert kept.gone.keys() == counted.gone.keys(), "and those who are gone"
        assert kept.spent == counted.spent, "and the living whose own code raised"
        for name in kept.complete:
            want = wanted_standbys(self.state.nodes[name], job)
            assert len(counted.idle.get(name, ())) >= want, "no standby is missing where none is looked for"

    # --- what goes wrong -------------------------------------------------------------------------------

    def do(self, kind: str, number: int) -> None:
        """Let one thing go wrong, with `number` choosing where."""
        if not self.job.seats:
            return
        rank = number % len(self.job.seats)
        nodes = sorted(self.state.nodes)
        getattr(self, f"_do_{kind}")(rank, nodes[number % len(nodes)], number)

    def _do_wait(self, rank: int, node: NodeId, number: int) -> None:
        self.run((0.05, 0.4, 3, 40)[number % 4])

    def _do_crash(self, rank: int, node: NodeId, number: int) -> None:
        self.crash(rank)

    def _do_standby_dies(self, rank: int, node: NodeId, number: int) -> None:
        waiting = [w for w in self.job.workers.values() if w.stage.value in ("standby", "starting")]
        for worker in waiting[:1]:
            self.tell(RankExited(self.now, JOB, -1, worker.id, worker.node, -1, worker.pid, 1, "exit 1"))

    def _do_hang(self, rank: int, node: NodeId, number: int) -> None:
        self.stall(*(self.beat(r, state="T" if r == rank else "S") for r in range(len(self.job.seats))))

    def _do_missing(self, rank: int, node: NodeId, number: int) -> None:
        self.stall(*(self.beat(r) for r in range(len(self.job.seats)) if r != rank))

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

    def _do_cleared(self, rank: int, node: NodeId, number: int) -> None:
        self.finding(node, replace(ecc(), health=Health.OK))

    def _do_raise(self, rank: int, node: NodeId, number: int) -> None:
        kind = ("user", "collective", "nan", "evicted", "restore")[number % 5]
        values = tuple(float("nan") if r == rank else 1.0 for r in range(len(self.job.seats)))
        self.raises(rank, kind=kind, values=values if kind == "nan" else ())

    def _do_silence(self, rank: int, node: NodeId, number: int) -> None:
        many = sorted(self.state.nodes)[: 1 + number % 3]
        for each in many if number % 2 else [node]:
            self.doors[each] = DOORS[number % 4]
            self.silence(each)

    def _do_heard(self, rank: int, node: NodeId, number: int) -> None:
        silent = sorted(name for name, each in self.state.nodes.items() if each.silent)
        self.heard(*(silent if number % 2 else silent[:1]))

    def _do_joined(self, rank: int, node: NodeId, number: int) -> None:
        """An agent introduces itself again, that of a drained node first."""
        node = min(self.drained, default=node)
        self.tell(NodeJoined(self.now, node, "10.0.0.9", 1, self.state.nodes[node].gpus, f"boot {number}"))

    def _do_slow(self, rank: int, node: NodeId, number: int) -> None:
        worker = self.worker(rank)
        place = (rank, worker.node, worker.gpu, self.job.generation)
        self.tell(RankSlow(self.now, JOB, *place, 0.3, 0.1, 20))

    def _do_control(self, rank: int, node: NodeId, number: int) -> None:
        facts = (GcsLost(self.now, "a", "b"), GcsBack(self.now, "a"), JournalFailed(self.now, "full"))
        self.tell((*facts, JournalBack(self.now))[number % 4])

    def _do_command(self, rank: int, node: NodeId, number: int) -> None:
        self.command(("stop-actions", "resume-actions", "resume-actions")[number % 3])

    def _do_drain(self, rank: int, node: NodeId, number: int) -> None:
        self.command("drain", node)
        self.drained.add(node)

    def _do_undrain(self, rank: int, node: NodeId, number: int) -> None:
        self.drained.discard(node)
        self.command("undrain", node)

    def _do_again(self, rank: int, node: NodeId, number: int) -> None:
        """A fact is told again, as after a lost acknowledgement; a human's word never is."""
        fact = self.facts[-1 - number % min(9, len(self.facts))]
        if not isinstance(fact, Commanded):
            self.tell(replace(fact, at=self.now))

    def _do_restart(self, rank: int, node: NodeId, number: int) -> None:
        self.state = type(self.state).from_plain(self.state.to_plain())
        if number % 2:
            self.tell(ControllerStarted(self.now, 1, "p", "r"))

    def _do_trouble(self, rank: int, node: NodeId, number: int) -> None:
        self.fails = (set(), {"Resume"}, {"Evict"}, {"RestartAgent"})[number % 4]
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
