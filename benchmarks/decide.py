"""What the core costs on a large cluster: folds, encoding and commits, in processor time.

    python -m benchmarks.decide [--what PART] [--nodes 1000] [--rounds 3 --beside COMMIT]

*mixes* are days on which checks change their minds and ranks die, *folds* the same without a journal, *work*
parts of them in Python's instructions, which no load moves;
*forming* goes from the first hello to the first step of a job that wants each GPU; in *silence* all nodes
fall silent at once, and no port answers.
"""

import argparse
import random
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.beside import Figures, tell
from benchmarks.cluster import CALM, JOB, WELL, Cluster, Fleet
from benchmarks.timed import Committed, Times

__all__ = ["CALM", "JOB", "WELL", "Cluster"]

MIXES = {"calm day": (1, 3000), "bad day": (20, 3000), "storm": (100, 2000)}
"""Recoveries, and how many facts there are with them: checks change their minds, nodes are heard."""
PART_OF_A_DAY = 5
"""Instructions are counted, slowly, over a fifth of each."""


@contextmanager
def desk() -> Iterator[Committed]:
    """Give a ledger on a journal in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder, closing(Committed(Path(folder))) as committed:
        yield committed


def mixes(options: argparse.Namespace) -> Figures:
    """Three days of one cluster, one after the other."""
    with desk() as committed:
        cluster = Cluster(options.nodes, options.gpus, options.ranks, committed)
        lived = {name: live(cluster, *mix) for name, mix in MIXES.items()}
    figures: dict[str, float] = {}
    for name, times in lived.items():
        figures |= per_fact(name, times)
    by_kind: dict[str, list[float]] = defaultdict(list)
    for kind, took in (fold for times in lived.values() for fold in times.folds):
        by_kind[kind].append(1e6 * took)
    for kind, micros in sorted(by_kind.items()):
        figures[f"{kind}: fold, median, µs"] = statistics.median(micros)
        figures[f"{kind}: fold, worst, µs"] = max(micros)
    return figures


def folds(options: argparse.Namespace) -> Figures:
    """The same days without a journal, which disturbs the processor's caches: the steadiest figures."""
    cluster = Cluster(options.nodes, options.gpus, options.ranks)
    lived = {name: live(cluster, *mix) for name, mix in MIXES.items()}
    return {f"{name}: fold alone, µs a fact": mean_fold(times) for name, times in lived.items()}


def work(options: argparse.Namespace) -> Figures:
    """How many of Python's instructions a fact takes, answers of the cluster included; not what C does."""
    cluster, counted = Cluster(options.nodes, options.gpus, options.ranks), 0

    def count(frame: FrameType, event: str, _: object) -> Any:
        nonlocal counted
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        counted += event == "opcode"
        return count

    figures: dict[str, float] = {}
    for name, (crashes, facts) in MIXES.items():
        counted = 0
        sys.settrace(count)
        times = live(cluster, max(1, crashes // PART_OF_A_DAY), facts // PART_OF_A_DAY)
        sys.settrace(None)
        figures[f"{name}: instructions a fact"] = counted / len(times.folds)
    return figures


def mean_fold(times: Times) -> float:
    """Give the mean time of a fold, in µs."""
    return 1e6 * times.folded / len(times.folds)


def live(cluster: Cluster, crashes: int, facts: int) -> Times:
    """Let so many recoveries happen, evenly among so many facts."""
    chance = random.Random(0)
    for number in range(1, crashes + 1):
        cluster.crash(chance.randrange(len(cluster.seats)))
        while len(cluster.desk.times.folds) < number * facts // crashes:
            cluster.chatter(chance.choice(cluster.nodes))
    return cluster.forget()


def per_fact(name: str, times: Times) -> Figures:
    """Give the mean cost of a fact: the commit without encoding, and all of it with snapshots."""
    parts = {
        "fold": times.folded,
        "encode": times.encoded,
        "commit": times.committed - times.encoded,
        "in all": sum(times.blocks),
    }
    return {f"{name}: {part}, µs a fact": 1e6 * took / len(times.folds) for part, took in parts.items()}


def forming(options: argparse.Namespace) -> Figures:
    """A job that wants each GPU of all nodes, from the first hello to its first step."""
    with desk() as committed:
        cluster = Fleet(options.nodes, options.gpus, options.nodes * options.gpus, committed)
        cluster.together = options.together
        cluster.join()
        figures = parts("nodes join", joined := cluster.forget())
        cluster.submit()
        while not cluster.is_training:
            assert cluster.pass_deadline()
        figures |= parts("forming", formed := cluster.forget())
    figures["forming: the two longest blocks, s"] = sum(sorted(formed.blocks)[-2:])
    figures["longest fold, s"] = max(took for _, took in joined.folds + formed.folds)
    figures["longest block, s"] = max(joined.blocks + formed.blocks)
    return figures


def silence(options: argparse.Namespace) -> Figures:
    """One round: all nodes fall silent, each is looked at, and nothing answers."""
    with desk() as committed:
        cluster = Cluster(options.nodes, options.gpus, options.ranks, committed)
        cluster.together = options.together
        cluster.fall_silent()
        times = cluster.forget()
    figures = parts("silence", times)
    figures["silence: longest fold, s"] = max(took for _, took in times.folds)
    figures["silence: longest block, s"] = max(times.blocks)
    for kind in ("NodeSilent", "NodePinged", "Outcome"):
        figures[f"silence: folds of {kind}, s"] = sum(took for each, took in times.folds if each == kind)
    return figures


def parts(name: str, times: Times) -> dict[str, float]:
    """Give what a whole took."""
    return {
        f"{name}: facts": len(times.folds),
        f"{name}: folds, s": times.folded,
        f"{name}: commits, s": times.committed,
        f"{name}: in all, s": sum(times.blocks),
        f"{name}: in all by the wall's clock, s": times.waited,
    }


PARTS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "folds": folds,
    "mixes": mixes,
    "work": work,
    "forming": forming,
    "silence": silence,
}


def measure(options: argparse.Namespace) -> Figures:
    figures: dict[str, float] = {}
    for name in options.what or PARTS:
        figures |= PARTS[name](options)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.decide",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--what", action="append", choices=PARTS, help="may be given again; default all")
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--gpus", type=int, default=8, help="of each node")
    parser.add_argument("--ranks", type=int, default=2048, help="of the job; forming takes each GPU")
    parser.add_argument(
        "--together", type=int, default=1, help="hellos and answers that one commit takes in forming"
    )
    tell(parser, "decide", measure, also=("cluster", "timed"))


if __name__ == "__main__":
    main()
