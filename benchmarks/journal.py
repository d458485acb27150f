"""How fast the journal writes, and how soon a controller is up on a journal of many facts."""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.beside import Figures, tell
from benchmarks.decide import CALM, JOB, WELL
from sentinel import runbooks
from sentinel.adapters.journal import Journal
from sentinel.core.state import Rules
from sentinel.model.action import Action, Resume, StartWorker
from sentinel.model.fact import (
    DeadlinePassed,
    Fact,
    FindingReported,
    JobAdvanced,
    JobSubmitted,
    NodeJoined,
    Outcome,
    WorkerReady,
)
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy
from sentinel.runtime.ledger import Ledger

BATCH = 1_000
SINGLE = 200


class Desk:
    """A controller's ledger on a cluster that trains; what is decided is answered at once."""

    def __init__(self, path: Path) -> None:
        books = runbooks.load()
        self.journal = Journal(path)
        self.ledger = Ledger(self.journal, Rules(Policy(), books), runbooks.hash_of(books), self._answer)
        self._due: list[Action] = []
        self.now = 1e9

    def _answer(self, actions: tuple[Action, ...]) -> None:
        self._due += actions

    def train(self, nodes: int, gpus: int, ranks: int) -> None:
        """Let nodes join and a job begin."""
        joined = (NodeJoined(self.now, NodeId(f"n{n}"), "10.0.0.1", 1, gpus, "boot-1") for n in range(nodes))
        self.ledger.absorb([*joined, JobSubmitted(self.now, JOB, ranks, "x:y", 1, 1)])
        while self._due or self.ledger.state.deadlines:
            self.ledger.absorb(self.answers())
            if not self._due and (passed := self.ledger.state.next_deadline()):
                self.now = max(self.now, passed[0])
                self.ledger.absorb([DeadlinePassed(self.now, passed[1])])

    def answers(self) -> list[Fact]:
        """Give what came of all that was decided: success."""
        due, self._due = self._due, []
        return [fact for action in due for fact in self._answers(action)]

    def _answers(self, action: Action) -> list[Fact]:
        self.now += 1e-4
        facts: list[Fact] = [Outcome(self.now, action.id, True, "done")]
        if isinstance(action, StartWorker):
            facts.append(WorkerReady(self.now, JOB, action.worker, action.node, action.gpu, 100))
        if isinstance(action, Resume):
            facts.append(JobAdvanced(self.now, JOB, action.generation, 1))
        return facts

    def chatter(self, count: int, chance: random.Random) -> list[Fact]:
        """Make so many facts: checks of any node that change their mind."""
        nodes = list(self.ledger.state.nodes)
        facts: list[Fact] = []
        for _ in range(count // 2):
            self.now += 1.0
            node = chance.choice(nodes)
            facts += [FindingReported(self.now, node, CALM), FindingReported(self.now, node, WELL)]
        return facts


def up(path: Path) -> tuple[float, int]:
    """Start on a journal; gives the seconds, and how many facts were folded again."""
    begun = time.perf_counter()
    desk = Desk(path)
    desk.ledger.load()
    seconds, folded = time.perf_counter() - begun, desk.journal.since_snapshot
    assert len(desk.ledger.state.workers.seats(JOB))
    desk.journal.close()
    return seconds, folded


def measure(options: argparse.Namespace) -> Figures:
    chance, commits = random.Random(0), []
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        path = Path(folder) / "journal.db"
        desk = Desk(path)
        desk.train(options.nodes, 8, min(2_048, options.nodes * 8))
        begun = time.perf_counter()
        for fact in desk.chatter(SINGLE, chance):
            desk.ledger.absorb([fact])
        figures = {"facts one by one, decided and committed, per s": SINGLE / (time.perf_counter() - begun)}
        begun, append = time.perf_counter(), desk.journal.append_many

        def timed(*batch: Any) -> list[int]:
            start = time.perf_counter()
            seqs = append(*batch)
            commits.append(time.perf_counter() - start)
            return seqs

        desk.journal.append_many = timed  # type: ignore[method-assign,assignment]
        for _ in range(0, options.facts, BATCH):
            desk.ledger.absorb(desk.chatter(BATCH, chance))
        seconds = time.perf_counter() - begun
        figures[f"in batches of {BATCH}, with snapshots, per s"] = options.facts / seconds
        figures[f"commit of a batch of {BATCH}: median, ms"] = 1e3 * statistics.median(commits)
        desk.journal.close()
        figures["size, MB"] = path.stat().st_size / 1e6
        figures["up again, s"], folded = up(path)
        figures["facts folded again"] = folded
        journal = Journal(path)
        begun = time.perf_counter()
        deleted = journal.compact([], max_lines=10_000)
        figures["compaction, s"] = time.perf_counter() - begun
        figures["lines dropped"] = deleted
        journal.close()
        figures["size afterwards, MB"] = path.stat().st_size / 1e6
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal", description=__doc__)
    parser.add_argument("--facts", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=1_000, help="of 8 GPUs, with a job of 2,048 ranks")
    parser.add_argument("--dir", type=Path, default=None)
    tell(parser, "journal", measure)


if __name__ == "__main__":
    main()
