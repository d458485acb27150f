"""A cluster that answers whatever is decided, and the desk that decides and keeps the time of each part."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sentinel import runbooks
from sentinel.adapters.journal import Journal
from sentinel.core.decide import decide
from sentinel.core.state import Rules, State
from sentinel.model.action import Action, Reach, Resume, Seat, StartWorker
from sentinel.model.fact import (
    DeadlinePassed,
    Fact,
    FindingReported,
    JobAdvanced,
    JobSubmitted,
    NodeHeard,
    NodeJoined,
    NodeProbed,
    NodeReached,
    NodeSilent,
    Outcome,
    RankExited,
    WorkerReady,
)
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import JobId, NodeId, WorkerId
from sentinel.model.journal import to_body
from sentinel.model.policy import Policy
from sentinel.runtime import ledger

JOB = JobId("bench")
CALM = Finding("host", "memory-low", "memory", Health.WARNING, "8% left", {"available": 0.08})
WELL = Finding("host", "memory-low", "memory", Health.OK, "50% left", {"available": 0.5})


@dataclass(slots=True)
class Times:
    """Seconds of processor time, as far as not said otherwise."""

    folds: list[tuple[str, float]] = field(default_factory=list)
    """Each fact's name and fold."""
    encoded: float = 0.0
    committed: float = 0.0
    """Encoding is part of it."""
    blocks: list[float] = field(default_factory=list)
    """What was absorbed at once, all that it took; snapshots are part of it."""
    waited: float = 0.0
    """All of it by the clock on the wall: the disk is waited for, and others use the machine."""

    @property
    def folded(self) -> float:
        """All folds together."""
        return sum(took for _, took in self.folds)


class Desk(Protocol):
    """Decides, and keeps the times."""

    times: Times

    @property
    def state(self) -> State:
        """What is believed."""
        ...

    def absorb(self, facts: Sequence[Fact]) -> Sequence[Action]:
        """Take in what comes at once; gives what is decided."""
        ...


class FoldAlone:
    """Folds, and writes nothing down."""

    def __init__(self) -> None:
        self._rules, self._state, self.times = Rules(Policy(), runbooks.load()), State(), Times()

    @property
    def state(self) -> State:
        """What is believed."""
        return self._state

    def absorb(self, facts: Sequence[Fact]) -> Sequence[Action]:
        """Fold one after the other."""
        decided: list[Action] = []
        for fact in facts:
            begun = time.thread_time()
            decided += decide(self._state, fact, self._rules)
            self.times.folds.append((type(fact).__name__, time.thread_time() - begun))
        return decided


class Committed:
    """The controller's own ledger with a journal in a folder."""

    def __init__(self, folder: Path) -> None:
        books = runbooks.load()
        self._due: list[Action] = []
        self.times = Times()
        self._journal = Journal(folder / "journal.db")
        self._append, self._journal.append_many = self._journal.append_many, self._timed_append  # type: ignore[method-assign,assignment]
        rules, name = Rules(Policy(), books), runbooks.hash_of(books)
        self._ledger = ledger.Ledger(self._journal, rules, name, self._due.extend)

    @property
    def state(self) -> State:
        """What the ledger believes."""
        return self._ledger.state

    def absorb(self, facts: Sequence[Fact]) -> Sequence[Action]:
        """Decide, commit and give what would be performed."""
        ledger.decide = self._timed_decide  # type: ignore[attr-defined]  # where the ledger looks for it
        encoded, wall, begun = self.times.encoded, time.perf_counter(), time.thread_time()
        assert self._ledger.absorb(facts)
        self.times.blocks.append(time.thread_time() - begun - (self.times.encoded - encoded))
        self.times.waited += time.perf_counter() - wall - (self.times.encoded - encoded)
        decided = list(self._due)
        self._due.clear()
        return decided

    def _timed_decide(self, state: State, fact: Fact, rules: Rules) -> tuple[Action, ...]:
        begun = time.thread_time()
        actions = decide(state, fact, rules)
        self.times.folds.append((type(fact).__name__, time.thread_time() - begun))
        return actions

    def _timed_append(self, batch: Sequence[tuple[Fact, Sequence[Action]]], *by: Any) -> list[int]:
        """Encode once more than needed, to know what that costs."""
        begun = time.thread_time()
        for fact, actions in batch:
            to_body(fact, actions)
        encoded = time.thread_time()
        self.times.encoded += encoded - begun
        written = self._append(batch, *by)
        self.times.committed += time.thread_time() - encoded
        return written

    def close(self) -> None:
        """Release the file."""
        self._journal.close()


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
        if isinstance(action, Reach):
            yield NodeReached(self.now, action.node, "timeout", "timeout", -1, action.incident)
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
        """No node reports any more, and none of their doors answers."""
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
