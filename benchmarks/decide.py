"""How long the core takes to decide: microseconds per fact, on a large cluster with one job on all nodes."""

import argparse
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator

from sentinel import runbooks
from sentinel.core.decide import decide
from sentinel.core.state import Rules, State
from sentinel.model.action import Action, Resume, StartWorker
from sentinel.model.fact import (
    DeadlinePassed,
    Fact,
    FindingReported,
    JobAdvanced,
    JobSubmitted,
    NodeHeard,
    NodeJoined,
    NodeProbed,
    Outcome,
    RankExited,
    WorkerReady,
)
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import JobId, NodeId, WorkerId
from sentinel.model.policy import Policy

JOB = JobId("bench")
CALM = Finding("host", "memory-low", "memory", Health.WARNING, "8% left", {"available": 0.08})
WELL = Finding("host", "memory-low", "memory", Health.OK, "50% left", {"available": 0.5})
FINDINGS_PER_CRASH = 50
"""A large cluster's checks change their minds far more often than a rank dies."""


class Cluster:
    """Folds facts, answers what is decided as a cluster would, and takes the time of each fold."""

    def __init__(self, nodes: int, gpus: int) -> None:
        self._rules, self.state, self.now = Rules(Policy(), runbooks.load()), State(), 1e9
        self.micros: defaultdict[str, list[float]] = defaultdict(list)
        self._step = 0
        for number in range(nodes):
            self.tell(NodeJoined(self.now, NodeId(f"n{number}"), "10.0.0.1", 1, gpus, "boot"))
        self.tell(JobSubmitted(self.now, JOB, nodes, "x:y", 1, 1))
        self.run_deadlines()
        self.micros.clear()

    def tell(self, fact: Fact) -> None:
        """Fold one fact, and what follows from it."""
        begun = time.perf_counter()
        actions = decide(self.state, fact, self._rules)
        self.micros[type(fact).__name__].append(1e6 * (time.perf_counter() - begun))
        for action in actions:
            for answer in self._answers(action):
                self.tell(answer)

    def run_deadlines(self) -> None:
        """Let all deadlines pass."""
        while (due := self.state.next_deadline()) is not None:
            self.now = max(self.now, due[0])
            self.tell(DeadlinePassed(self.now, due[1]))

    def _answers(self, action: Action) -> Iterator[Fact]:
        self.now += 1e-4
        if isinstance(action, StartWorker):
            yield WorkerReady(self.now, JOB, action.worker, action.node, action.gpu, 100)
        yield Outcome(self.now, action.id, True, "done")
        if isinstance(action, Resume):
            self._step += 1
            yield JobAdvanced(self.now, JOB, action.generation, self._step)

    def crash(self, rank: int) -> None:
        """One rank dies and is replaced, and the hour in which its node would be suspect passes."""
        job = self.state.jobs[JOB]
        worker = job.workers[WorkerId(job.seats[rank])]
        self.now += 3600
        self.tell(
            RankExited(self.now, JOB, rank, worker.id, worker.node, 0, worker.pid, job.generation, "signal 9")
        )
        self.tell(NodeProbed(self.now, worker.node, f"exit:{worker.pid}"))
        self.run_deadlines()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--gpus", type=int, default=8, help="of each node")
    parser.add_argument("--crashes", type=int, default=20)
    given = parser.parse_args()
    cluster, chance = Cluster(given.nodes, given.gpus), random.Random(0)
    for _ in range(given.crashes):
        for _ in range(FINDINGS_PER_CRASH):
            node = NodeId(f"n{chance.randrange(given.nodes)}")
            cluster.now += 1.0
            cluster.tell(FindingReported(cluster.now, node, CALM))
            cluster.tell(FindingReported(cluster.now, node, WELL))
            cluster.tell(NodeHeard(cluster.now, node))
        cluster.crash(chance.randrange(given.nodes))
    print(f"{'fact':<18}{'facts':>8}{'median µs':>12}{'worst µs':>12}")
    for name, micros in sorted(cluster.micros.items()):
        print(f"{name:<18}{len(micros):>8}{statistics.median(micros):>12.1f}{max(micros):>12.1f}")
    every = [one for micros in cluster.micros.values() for one in micros]
    print(f"{'all, mean':<18}{len(every):>8}{statistics.fmean(every):>12.1f}{max(every):>12.1f}")


if __name__ == "__main__":
    main()
