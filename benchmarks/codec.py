"""How long nouns take to become bytes and back: a report, a line of the journal, a large cluster's state."""

import argparse
import timeit
from collections.abc import Callable

from benchmarks.decide import CALM, JOB, Cluster
from sentinel.core.state import State
from sentinel.model.action import Action, Page
from sentinel.model.codec import decode, encode
from sentinel.model.fact import Fact, FindingReported
from sentinel.model.ids import ActionId, IncidentId, NodeId, WorkerId
from sentinel.model.report import Hello, RankBeat, Report

BODY = (
    "What: node-7 is cordoned, rank 29 moves to node-31.\n"
    "Why: Xid 79, the GPU has fallen off the bus, and its rank died.\n"
)


def beat(rank: int) -> RankBeat:
    place = (JOB, rank, WorkerId(f"bench-w{rank}-a1b2c3"), 40_000 + rank, rank, 12)
    return RankBeat(
        *place, 81_234, "collective", 912_345, 912_344, 0.0421, 1.7e9, 2.41, 0.05, "S", 0.02, 81_230
    )


def report(ranks: int) -> Report:
    boot = "8f3c2b1a-6f0e-4c7d-9a55-0d8f7b6e5a41-123456789"
    return Report(NodeId("node-0007"), boot, 81_234, tuple(map(beat, range(ranks))), ())


def line() -> tuple[Fact, tuple[Action, ...]]:
    incident = IncidentId("I-12")
    page = Page(ActionId(f"{incident}/page/on-call/1"), incident, 1, "node-7: GPU lost", BODY, "open")
    return FindingReported(1.7e9, NodeId("node-0007"), CALM), (page,)


def micros(call: Callable[[], object]) -> float:
    """Give the best of seven means: what else runs on the machine only adds."""
    timer = timeit.Timer(call)
    count, _ = timer.autorange()
    return 1e6 * min(timer.repeat(7, count)) / count


def tell(what: str, noun: object, value: object) -> None:
    payload = encode(value)
    there, back = micros(lambda: encode(value)), micros(lambda: decode(noun, payload))
    size = f"{len(payload) / 1e3:10.1f}"
    print(f"| {what:<42} | {size} | {there:9.1f} | {back:9.1f} | {there + back:9.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000, help="of 8 GPUs, with a job of 2,048 ranks")
    nodes = parser.parse_args().nodes
    print(f"| {'what':<42} | {'kB':>10} | {'encode µs':>9} | {'decode µs':>9} | {'both µs':>9} |")
    print(f"|{'-' * 44}|{'-' * 11}:|{'-' * 10}:|{'-' * 10}:|{'-' * 10}:|")
    tell("a report of 8 ranks", Hello | Report, report(8))
    tell("a line of the journal: finding, page", tuple[Fact, tuple[Action, ...]], line())
    state = Cluster(nodes, 8, min(2_048, nodes * 8)).state
    tell(f"the state of {nodes} nodes", State, state)


if __name__ == "__main__":
    main()
