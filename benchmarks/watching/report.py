"""Step times of many rounds as ratios with their intervals, and all costs as a Markdown page."""

import math
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import heartbeat

NORMAL_95 = 1.96
Times = Mapping[str, Sequence[float]]
"""Of one block of steps: `seconds` of each, and rank 0's `cpu` seconds in each."""
Rounds = Sequence[Mapping[str, Times]]
"""Each round's blocks by kind."""
KINDS = (("being watched", "watched", "bare"), ("memory snapshots, on top", "kept", "watched"))
MEASURES: Sequence[tuple[str, Callable[[Sequence[float]], float]]] = (
    ("seconds", statistics.median),
    ("seconds", statistics.fmean),
    ("cpu", statistics.median),
)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How much more steps of one kind take than those of another, with a 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        value, low, high = (f"{100 * (part - 1):+.2f}%" for part in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


def compare(
    rounds: Rounds, kind: str, base: str, measure: str, typical: Callable[[Sequence[float]], float]
) -> Ratio:
    """Compare within rounds, whose blocks share their noise: Hodges and Lehmann's estimate over all rounds.

    It is the median of the means of all pairs of rounds, and its interval what Wilcoxon's signed-rank test
    would not reject. Like the median it does not mind a few wild rounds, but it needs a third fewer of them.
    Source: Hollander, Wolfe, Chicken, Nonparametric Statistical Methods, 3rd ed., 3.2 and 3.3.
    """
    ratios = (typical(each[kind][measure]) / typical(each[base][measure]) for each in rounds)
    logs = np.log(np.fromiter(ratios, float))
    one, other = np.triu_indices(len(logs))
    means = np.exp(np.sort((logs[one] + logs[other]) / 2))
    n = len(logs)
    bound = n * (n + 1) / 4 - NORMAL_95 * math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    cut = max(1, math.floor(bound)) - 1
    return Ratio(float(np.median(means)), float(means[cut]), float(means[-1 - cut]))


def report(calls: Mapping[str, float], rounds: Rounds, used: Mapping[str, float]) -> str:
    """Write the page."""
    step_s = statistics.median(s for each in rounds for s in each["bare"]["seconds"])
    beats_ns = _beats_ns(calls)
    steps = len(rounds[0]["bare"]["seconds"])
    counted = ", ".join(f"{count:g} {name}" for name, count in calls.items())
    rows = [
        f"| {name} | {' | '.join(str(compare(rounds, kind, base, *each)) for each in MEASURES)} |"
        for name, kind, base in KINDS
    ]
    shares = " | ".join(f"{used[f'{who}cpu_percent']:.2f}%" for who in ("agent_", "prober_", ""))
    sizes = " | ".join(f"{used[f'{who}pss_mb']:.0f} MB" for who in ("agent_", "prober_", ""))
    return f"""# What being watched costs

The bundled trainer, 2 ranks on CPU and gloo, median step {1000 * step_s:.1f} ms, all of it computing: nothing
hides behind a device. Blocks of {steps} steps take turns, in {len(rounds)} rounds,
each in an order of its own: alone (no heartbeats; agent, prober and controller stopped), watched, and watched
with a memory snapshot after every step (own copy and peer's copy, of the same machine).

| the trainer's own calls | |
|---|---:|
| calls of one step ({counted}, 1 step_done, 1 snapshot_done) | {beats_ns / 1000:.1f} µs |
| share of the step | {beats_ns / step_s / 1e7:.3f}% |

| more by (of the rounds' ratios, 95% interval) | median step | mean step | CPU time, median step |
|---|---:|---:|---:|
{chr(10).join(rows)}

A memory snapshot takes {_extra_ms(rounds):.1f} ms of rank 0's CPU time, whatever the step's length.

| agent and prober, {used["ranks"]:.0f} ranks on the node | agent | prober | together |
|---|---:|---:|---:|
| of one core | {shares} |
| memory (PSS) | {sizes} |

Machine: {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()},
load average {os.getloadavg()[0]:.1f} at the end, 2 of it the ranks themselves. Made by
`python -m benchmarks.watching {" ".join(sys.argv[1:])}`.
"""


def _extra_ms(rounds: Rounds) -> float:
    gaps = (statistics.median(r["kept"]["cpu"]) - statistics.median(r["watched"]["cpu"]) for r in rounds)
    return 1000 * statistics.median(gaps)


def _beats_ns(calls: Mapping[str, float]) -> float:
    costs = heartbeat.measure()
    inside = calls["phase"] * costs["phase"] + calls["enqueue"] * costs["enqueue, complete"]
    return inside + costs["step_done"] + costs["snapshot_done"]
