"""Microseconds per fact of `decide`, and per report of the watch, on a simulated cluster of many nodes."""

import argparse
import itertools
import statistics
import time
from collections import defaultdict
from dataclasses import replace

from sentinel import runbooks
from sentinel.core.decide import decide
from sentinel.core.state import Job, Rules, State
from sentinel.core.watch import Watch
from sentinel.model.action import Resume, StartWorker
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
from sentinel.model.ids import JobId, NodeId
from sentinel.model.policy import Policy
from sentinel.model.report import RankBeat, Report

JOB = JobId("moe")
GPUS = 8
LIMIT_US = 50.0
FINDINGS = 1000
"""Findings that change per crashed rank: one a node. A rank crashes some hours apart on such a cluster."""


class Bench:
    """A state under load, and how long each kind of fact took to fold."""

    def __init__(self, nodes: int, world: int) -> None:
        self.rules, self.state, self.now = Rules(Policy(), runbooks.load()), State(), 1000.0
        self.took: dict[str, list[float]] = defaultdict(list)
        self.nodes = [NodeId(f"node-{number:04d}") for number in range(nodes)]
        for node in self.nodes:
            self.fold(NodeJoined(self.now, node, "10.0.0.1", 1, GPUS, "boot"))
        self.fold(JobSubmitted(self.now, JOB, world, "x:y", 1, world // 2))
        self.pass_time(10)

    @property
    def job(self) -> Job:
        """The one job."""
        return self.state.jobs[JOB]

    def fold(self, fact: Fact) -> None:
        """Fold a fact, remember how long it took, and answer its actions at once."""
        begin = time.perf_counter()
        actions = decide(self.state, fact, self.rules)
        self.took[type(fact).__name__].append(time.perf_counter() - begin)
        for action in actions:
            if isinstance(action, StartWorker):
                self.fold(WorkerReady(self.now, JOB, action.worker, action.node, -1, 7))
            self.fold(Outcome(self.now, action.id, ok=True, detail=""))
            if isinstance(action, Resume):
                self.fold(JobAdvanced(self.now, JOB, action.generation, action.generation))

    def pass_time(self, seconds: float) -> None:
        """Let deadlines pass."""
        self.now += seconds
        while (due := self.state.next_deadline()) and due[0] <= self.now:
            self.fold(DeadlinePassed(self.now, due[1]))

    def finding(self, node: NodeId, number: int, health: Health) -> None:
        """A check says something that no runbook acts on."""
        finding = Finding("host", "memory-low", "memory", health, f"{number}", {"free_bytes": number})
        self.fold(FindingReported(self.now, node, finding))

    def crash(self, rank: int) -> None:
        """A rank ends, and the job goes on with another generation."""
        worker = self.job.workers[self.job.seats[rank]]
        place = (worker.id, worker.node, worker.gpu, worker.pid, self.job.generation)
        self.fold(RankExited(self.now, JOB, rank, *place, "signal 9"))
        self.fold(NodeProbed(self.now, worker.node, "exit"))

    def blip(self, node: NodeId) -> None:
        """A node is silent for a moment."""
        self.fold(NodeSilent(self.now, node, 2.6, 0, len(self.nodes)))
        self.fold(NodeReached(self.now, node, "timeout", "timeout", -1, None))
        self.fold(NodeHeard(self.now, node))

    def beats(self, node: NodeId, step: int) -> tuple[RankBeat, ...]:
        """Heartbeats of the ranks of a node."""
        seated = (self.job.workers[worker] for _, worker in self.state.nodes[node].ranks)
        return tuple(
            RankBeat(
                JOB, w.rank, w.id, w.pid, w.gpu, self.job.generation, step, "compute", step * 9, step * 9 - 1,
                0.1, 0.0, 2.0, 0.1, "S", 0.1,
            )
            for w in seated
        )  # fmt: skip


def mix(bench: Bench, rounds: int) -> None:
    """A bad hour: mostly findings, as on a real cluster, with crashes and silences in between."""
    nodes = itertools.cycle(bench.nodes)
    for number in range(rounds):
        for each in range(FINDINGS):
            bench.finding(next(nodes), number * FINDINGS + each, Health.OK if each % 2 else Health.WARNING)
        bench.blip(next(nodes))
        bench.crash(number * 37 % bench.job.world)
        bench.pass_time(30)


def reports(bench: Bench, steps: int) -> list[float]:
    """Each node reports four times a step, with the beats of its ranks."""
    watch, took = Watch(bench.rules.policy, 0.0), []
    for quarter in range(steps * 4):
        prepared = [
            Report(node, "b", quarter, bench.beats(node, quarter // 4 + 10_000), ()) for node in bench.nodes
        ]
        for report in prepared:
            bench.now += 0.25 / len(bench.nodes)
            begin = time.perf_counter()
            facts = watch.report(report, bench.state, bench.now)
            took.append(time.perf_counter() - begin)
            for fact in facts:
                decide(bench.state, replace(fact, at=bench.now), bench.rules)
    return took


def row(name: str, took: list[float]) -> str:
    times = sorted(1e6 * each for each in took)
    return (
        f"{name:<18}{len(times):>8}{statistics.mean(times):>10.1f}{statistics.median(times):>10.1f}"
        f"{times[int(len(times) * 0.99)]:>10.1f}{times[-1]:>11.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--world", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    bench = Bench(options.nodes, options.world)
    print(f"{options.nodes} nodes with {GPUS} GPUs each, one job of {bench.job.world} ranks; microseconds")
    print(f"{'':<18}{'count':>8}{'mean':>10}{'median':>10}{'99%':>10}{'worst':>11}")
    print(row("starting, all", [each for took in bench.took.values() for each in took]))
    bench.took.clear()
    mix(bench, options.rounds)
    for name, took in sorted(bench.took.items()):
        print(row(name, took))
    everything = [each for took in bench.took.values() for each in took]
    print(row("all facts", everything))
    print(row("Watch.report", reports(bench, 5)))
    mean = 1e6 * statistics.mean(everything)
    print(f"decide: {mean:.1f} µs per fact, the limit is {LIMIT_US:.0f}")


if __name__ == "__main__":
    main()
