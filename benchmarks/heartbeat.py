"""What a heartbeat costs: nanoseconds per call, and all calls of one step as a share of that step."""

import argparse
import json
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path

from sentinel.heartbeat import HeartbeatWriter, read

CALLS = {
    "phase": 8,
    "enqueue, complete": 12,
    "step_done": 1,
    "snapshot_done": 1,
}
"""How often a step makes each call: a small FSDP2 model with a dozen collectives."""


def nanoseconds(call: Callable[[], object], number: int = 20_000) -> float:
    return min(timeit.repeat(call, number=number, repeat=5)) / number * 1e9


def measure() -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        beats = HeartbeatWriter(Path(directory, "w.beat"), job="benchmark", worker="w", gpu=0)
        beats.place(0, 1, 0)

        def enter_and_leave() -> None:
            beats.enqueue()
            beats.complete()

        costs = {
            "phase": nanoseconds(lambda: beats.phase("compute")),
            "enqueue, complete": nanoseconds(enter_and_leave),
            "step_done": nanoseconds(lambda: beats.step_done(7, 2.5, 0.01, 1.7e9)),
            "snapshot_done": nanoseconds(lambda: beats.snapshot_done(7)),
            "read": nanoseconds(lambda: read(beats.path), 2_000),
        }
        beats.close()
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step-ms", type=float, default=100.0, help="length of a step to compare with")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    costs = measure()
    per_step_ns = sum(costs[call] * times for call, times in CALLS.items())
    share = per_step_ns / (options.step_ms * 1e6)
    if options.json:
        print(json.dumps({"ns": costs, "per_step_ns": per_step_ns, "share": share}))
        return
    print(f"{'call':<20}{'ns':>8}{'per step':>10}")
    for call, cost in costs.items():
        print(f"{call:<20}{cost:>8.0f}{CALLS.get(call, 0):>10}")
    print(f"one step: {per_step_ns / 1000:.1f} µs, {share:.4%} of {options.step_ms:g} ms")


if __name__ == "__main__":
    main()
