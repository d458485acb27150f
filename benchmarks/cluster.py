"""A large cluster that answers whatever is decided, and in which things happen."""

from collections import deque
from collections.abc import Iterator, Sequence

from benchmarks.timed import Desk, FoldAlone, Times
from sentinel.core.state import State
from sentinel.model.action import Action, Resume, Seat, StartWorker
from sentinel.model.fact import (
    DeadlinePassed,
    Fact,
    FindingReported,
    JobAdvanced,
    JobSubmitted,
    NodeHeard,
    NodeJoined,
    NodeProbed,
    NodeSilent,
    Outcome,
    RankExited,
    WorkerReady,
)
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import JobId, NodeId, WorkerId

try:
    from sentinel.model.action import Ping
    from sentinel.model.fact import NodePinged
except ImportError:  # an older release
    from sentinel.model.action import Reach as Ping  # type: ignore[attr-defined,no-redef]
    from sentinel.model.fact import NodeReached as NodePinged  # type: ignore[attr-defined,no-redef]

JOB = JobId("bench")
CALM = Finding("host", "memory-low", "memory", Health.WARNING, "8% left", {"available": 0.08})
WELL = Finding("host", "memory-low", "memory", Health.OK, "50% left", {"available": 0.5})


class Fleet:
    """Nodes that all answer as they should; what is told at once is what the controller commits at once."""

    together = 1
    """How many hellos and answers come at once."""

    def __init__(self, nodes: int, gpus: int, ranks: int, desk: Desk | None = None) -> None:
        self.desk: Desk = desk or FoldAlone()
        self.now, self.nodes = 1e9, [NodeId(f"n{number}") for number in range(nodes)]
        self._gpus, self._ranks = gpus, ranks
        self.seats: tuple[Seat, ...] = ()
        self._generation = self._step = 0
        self._pids: dict[WorkerId, int] = {}
        self._answers: deque[Fact] = deque()

    @property
    def state(self) -> State:
        """What the desk believes."""
        return self.desk.state

    @property
    def is_training(self) -> bool:
        """Say whether a first step was made."""
        return self._step > 0

    def forget(self) -> Times:
        """Hand over what was taken until now."""
        taken, self.desk.times = self.desk.times, Times()
        return taken

    # --- facts and answers -----------------------------------------------------------------------------

    def tell(self, *facts: Fact) -> None:
        """Tell what comes at once, and all that follows from it."""
        self._absorb(facts)
        while self._answers:
            self._absorb([self._answers.popleft() for _ in range(min(self.together, len(self._answers)))])

    def _absorb(self, facts: Sequence[Fact]) -> None:
        for action in self.desk.absorb(facts):
            self._answers.extend(self._answered(action))

    def _answered(self, action: Action) -> Iterator[Fact]:
        self.now += 1e-4
        if isinstance(action, StartWorker):
            pid = self._pids[action.worker] = 100 + len(self._pids)
            yield WorkerReady(self.now, JOB, action.worker, action.node, action.gpu, pid)
        if isinstance(action, Ping):
            yield NodePinged(self.now, action.node, "timeout", "timeout", -1, action.incident)
        yield Outcome(self.now, action.id, True, "done")
        if isinstance(action, Resume):
            self.seats, self._generation = action.seats, action.generation
            self._step += 1
            yield JobAdvanced(self.now, JOB, action.generation, self._step)

    def pass_deadline(self) -> bool:
        """Let time pass until the next deadline; false if there is none."""
        due = self.state.next_deadline()
        if due is not None:
            self.now = max(self.now, due[0])
            self.tell(DeadlinePassed(self.now, due[1]))
        return due is not None

    def run_deadlines(self) -> None:
        """Let all deadlines pass."""
        while self.pass_deadline():
            pass

    # --- what happens ----------------------------------------------------------------------------------

    def join(self) -> None:
        """All nodes say hello."""
        joined = [NodeJoined(self.now, node, "10.0.0.1", 1, self._gpus, "boot") for node in self.nodes]
        for at in range(0, len(joined), self.together):
            self.tell(*joined[at : at + self.together])

    def submit(self) -> None:
        """Ask for the job."""
        self.tell(JobSubmitted(self.now, JOB, self._ranks, "x:y", 1, 1))

    def crash(self, rank: int) -> None:
        """One rank dies and is replaced, and the hour in which its node would be suspect passes."""
        seat = self.seats[rank]
        pid = self._pids[seat.worker]
        self.now += 3600
        place = rank, seat.worker, seat.node, seat.gpu, pid
        self.tell(RankExited(self.now, JOB, *place, self._generation, "signal 9"))
        self.tell(NodeProbed(self.now, seat.node, f"exit:{pid}"))
        self.run_deadlines()

    def chatter(self, node: NodeId) -> None:
        """A check changes its mind twice, and its node is heard again."""
        self.now += 1.0
        self.tell(FindingReported(self.now, node, CALM))
        self.tell(FindingReported(self.now, node, WELL), NodeHeard(self.now, node))

    def fall_silent(self) -> None:
        """No node reports any more, and none of their ports answers."""
        self.now += 3.0
        count = len(self.nodes)
        self.tell(*(NodeSilent(self.now, node, 2.6, count - 1, count) for node in self.nodes))


class Cluster(Fleet):
    """A fleet whose job trains, with all standbys warm and no time taken yet."""

    def __init__(self, nodes: int, gpus: int, ranks: int, desk: Desk | None = None) -> None:
        super().__init__(nodes, gpus, ranks, desk)
        self.together = 500
        self.join()
        self.submit()
        self.run_deadlines()
        self.together = 1
        self.forget()
