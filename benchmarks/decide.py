"""How long the core takes to decide: microseconds of processor time per fact, on a large cluster."""

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
from sentinel.model.ids import JobId, NodeId
from sentinel.model.policy import Policy

JOB = JobId("bench")
CALM = Finding("host", "memory-low", "memory", Health.WARNING, "8% left", {"available": 0.08})
WELL = Finding("host", "memory-low", "memory", Health.OK, "50% left", {"available": 0.5})
MIXES = {"calm day": (1, 3000), "bad day": (20, 3000), "storm": (100, 2000)}
"""Recoveries, and how many facts there are with them: checks change their minds, nodes are heard."""


class Cluster:
    """Folds facts, answers what is decided as a cluster would, and takes the time of each fold."""

    def __init__(self, nodes: int, gpus: int, ranks: int) -> None:
        self._rules, self.state, self.now = Rules(Policy(), runbooks.load()), State(), 1e9
        self.micros: defaultdict[str, list[float]] = defaultdict(list)
        self._step = 0
        for number in range(nodes):
            self.tell(NodeJoined(self.now, NodeId(f"n{number}"), "10.0.0.1", 1, gpus, "boot"))
        self.tell(JobSubmitted(self.now, JOB, ranks, "x:y", 1, 1))
        self.run_deadlines()
        self.forget()

    def tell(self, fact: Fact) -> None:
        """Fold one fact, and what follows from it."""
        begun = time.thread_time()
        actions = decide(self.state, fact, self._rules)
        self.micros[type(fact).__name__].append(1e6 * (time.thread_time() - begun))
        for action in actions:
            for answer in self._answers(action):
                self.tell(answer)

    @property
    def every(self) -> list[float]:
        """All facts' times."""
        return [one for micros in self.micros.values() for one in micros]

    def forget(self) -> dict[str, list[float]]:
        """Hand over what was taken until now."""
        taken, self.micros = self.micros, defaultdict(list)
        return taken

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
        worker = self.state.crew.at(JOB, rank)
        assert worker is not None
        self.now += 3600
        self.tell(
            RankExited(self.now, JOB, rank, worker.id, worker.node, 0, worker.pid, job.generation, "signal 9")
        )
        self.tell(NodeProbed(self.now, worker.node, f"exit:{worker.pid}"))
        self.run_deadlines()

    def chatter(self, node: NodeId) -> None:
        """A check changes its mind twice, and its node is heard again."""
        self.now += 1.0
        self.tell(FindingReported(self.now, node, CALM))
        self.tell(FindingReported(self.now, node, WELL))
        self.tell(NodeHeard(self.now, node))


def live(cluster: Cluster, crashes: int, facts: int) -> dict[str, list[float]]:
    """Let so many recoveries happen, evenly among so many facts."""
    chance = random.Random(0)
    for number in range(1, crashes + 1):
        cluster.crash(chance.randrange(len(cluster.state.crew.seats(JOB))))
        while len(cluster.every) < number * facts // crashes:
            cluster.chatter(NodeId(f"n{chance.randrange(len(cluster.state.nodes))}"))
    return cluster.forget()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--gpus", type=int, default=8, help="of each node")
    parser.add_argument("--ranks", type=int, default=2048, help="of the one job")
    given = parser.parse_args()
    cluster = Cluster(given.nodes, given.gpus, given.ranks)
    lived = {name: live(cluster, *mix) for name, mix in MIXES.items()}
    print(f"{'fact':<18}{'facts':>8}{'median µs':>12}{'worst µs':>12}")
    for kind in sorted(set().union(*lived.values())):
        micros = [one for taken in lived.values() for one in taken.get(kind, ())]
        print(f"{kind:<18}{len(micros):>8}{statistics.median(micros):>12.1f}{max(micros):>12.1f}")
    print(f"\n{'mix':<18}{'facts':>8}{'recoveries':>12}{'mean µs':>12}")
    for name, taken in lived.items():
        every = [one for micros in taken.values() for one in micros]
        print(f"{name:<18}{len(every):>8}{MIXES[name][0]:>12}{statistics.fmean(every):>12.1f}")


if __name__ == "__main__":
    main()
