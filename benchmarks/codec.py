"""What it costs to write a noun and to read it again: an agent's report, a journal line, a whole state."""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.beside import Figures, tell
from benchmarks.decide import CALM, Cluster
from sentinel.core.state import State
from sentinel.model.codec import decode, encode
from sentinel.model.fact import FindingReported
from sentinel.model.ids import JobId, NodeId, WorkerId
from sentinel.model.journal import from_body, to_body
from sentinel.model.report import FindingSeen, Hello, RankBeat, Report

JOB, NODE = JobId("moe"), NodeId("node-17")


def report(ranks: int, *, event: bool) -> Report:
    """Make what an agent says twice a second."""
    chance = random.Random(0)
    beats = tuple(
        RankBeat(
            job=JOB,
            rank=rank,
            worker=WorkerId(f"w{rank}-2bc342"),
            pid=22521 + rank,
            gpu=rank,
            generation=3,
            step=48_211,
            phase="collective",
            enqueued=96_422,
            completed=96_421,
            outside_s=chance.random(),
            arrival=1e9 + chance.random(),
            loss=2.5 + chance.random(),
            beat_age_s=0.1 * chance.random(),
            state="S",
            phase_age_s=chance.random(),
            snapshot_step=48_210,
        )
        for rank in range(ranks)
    )
    return Report(NODE, "b678ea05", 9_311, beats, ((12, FindingSeen(CALM)),) if event else ())


def micros(work: Callable[[], Any], seconds: float = 0.5) -> float:
    """Give the median of batches, in microseconds for one piece of work."""
    begun, count = time.perf_counter(), 0
    while time.perf_counter() < begun + seconds / 10:
        work()
        count += 1
    batch, taken = max(1, count // 10), []
    while time.perf_counter() < begun + seconds:
        start = time.perf_counter()
        for _ in range(batch):
            work()
        taken.append((time.perf_counter() - start) / batch)
    return 1e6 * statistics.median(taken)


def measure(options: argparse.Namespace) -> Figures:
    figures: dict[str, float] = {}
    for event in (False, True):
        said = report(options.ranks, event=event)
        wire = encode(said)
        assert decode(Hello | Report, wire) == said
        name = f"a report of {options.ranks} ranks{' and a finding' if event else ''}"
        there, back = micros(lambda: encode(said)), micros(lambda: decode(Hello | Report, wire))  # noqa: B023
        figures |= {f"{name}: encode + decode, µs": there + back, f"{name}: bytes": len(wire)}
    fact = FindingReported(1e9, NODE, CALM)
    line = to_body(fact, ())
    assert from_body(line)[0] == fact
    figures["a journal line: write, µs"] = micros(lambda: to_body(fact, ()))
    figures["a journal line: read, µs"] = micros(lambda: from_body(line))
    state = Cluster(options.nodes, 8, min(2_048, options.nodes * 8)).state
    body = state.to_bytes()
    assert State.from_bytes(body) == state
    name = f"a state of {options.nodes} nodes"
    figures[f"{name}: write, ms"] = micros(lambda: state.to_bytes(), 2.0) / 1e3
    figures[f"{name}: read, ms"] = micros(lambda: State.from_bytes(body), 2.0) / 1e3
    figures[f"{name}: kB"] = len(body) / 1e3
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codec", description=__doc__)
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--nodes", type=int, default=1_000, help="with 8 GPUs each and up to 2,048 ranks")
    tell(parser, "codec", measure)


if __name__ == "__main__":
    main()
