"""Every fault many times with random seeds: how often right, and how fast, from the demo's own JSON lines.

`python -m benchmarks.faults --runs 20 --lines run/faults.jsonl` runs the demo again and again. Each of
`--lanes` is a demo with a cluster of its own, on cores of its own: it needs two. With `--read` it only counts
the lines that earlier runs left.
"""

import argparse
import json
import os
import queue
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sentinel.demo.faults import FAULTS, NAMES
from sentinel.demo.result import Result

STAGES = ("detected_s", "diagnosed_s", "paged_s", "evicted_s", "new_step_s")
RUN_LIMIT_S = 900


def plan(faults: Sequence[str], runs: int, together: int, chance: random.Random) -> Iterator[tuple[str, ...]]:
    """Give each demo's faults in random order; wherever it is broken off, all came about equally often."""
    for _ in range(runs):
        alone = [name for name in faults if getattr(FAULTS[name], "sandbox", None)]
        others = [name for name in faults if name not in alone]
        chance.shuffle(others)
        demos: list[tuple[str, ...]] = [(name,) for name in alone]
        demos += [tuple(others[at : at + together]) for at in range(0, len(others), together)]
        chance.shuffle(demos)
        yield from demos


def lanes_of(cores: Sequence[int], lanes: int) -> list[tuple[int, ...]]:
    """Share the cores out, so that no demo slows another one's down; all to each if there are too few."""
    each = len(cores) // lanes
    return [tuple(cores[at * each : (at + 1) * each] or cores) for at in range(lanes)]


def run(faults: Sequence[str], seed: int, out: Path, begin_by: float, argv: Sequence[str] = ()) -> None:
    """Run the demo once through these faults and append its lines; nothing once it is too late."""
    if time.monotonic() > begin_by:
        return
    argv = [*argv, "--json", "--seed", str(seed), "--fault", ",".join(faults)]
    demo = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        output, _ = demo.communicate(timeout=RUN_LIMIT_S)
    except subprocess.TimeoutExpired:
        demo.terminate()  # it takes its cluster with it
        output, _ = demo.communicate()
    with out.open("a") as lines:
        lines.write(output)
        for name in faults[len(output.splitlines()) :]:  # what was not told counts, too
            silent = Result(name, seed, wrong=[f"the demo ended with {demo.returncode} and said nothing"])
            lines.write(json.dumps(silent.to_plain()) + "\n")


def table(lines: Iterable[dict[str, Any]]) -> str:
    """Render one row per fault."""
    by_fault: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_fault.setdefault(line["fault"], []).append(line)
    columns = ["fault", "runs", "passed", "right cause and place", "false blames", "false evictions"]
    columns += [f"{name.removesuffix('_s').replace('_', ' ')} s" for name in STAGES]
    columns += ["steps lost, worst", "losses equal"]
    rows = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for fault, runs in sorted(by_fault.items()):
        rows.append(_row(fault, [line for line in runs if not line["skipped"]]))
    return "\n".join(rows)


def _row(fault: str, runs: Sequence[dict[str, Any]]) -> str:
    if not runs:
        return f"| {fault} | 0 | skipped |" + " |" * (5 + len(STAGES))
    good = sum(not line["wrong"] for line in runs)
    named = sum(bool(line["right_cause"] and line["right_place"]) for line in runs)
    blames = sum(bool(line["false_blame"]) for line in runs)
    evictions = sum(bool(line["false_eviction"]) for line in runs)
    times = [_spread([line[name] for line in runs if line[name] is not None]) for name in STAGES]
    lost = max((line["steps_lost"] or 0) for line in runs)
    compared = [line["losses_equal"] for line in runs if line["losses_equal"] is not None]
    equal = f"{sum(compared)} of {len(compared)}" if compared else ""
    cells = [fault, len(runs), good, named, blames, evictions, *times, lost, equal]
    return f"| {' | '.join(map(str, cells))} |"


def read(path: Path) -> list[dict[str, Any]]:
    """Read lines, older ones as well."""
    return [with_verdicts(json.loads(line)) for line in path.read_text().splitlines()]


def with_verdicts(line: dict[str, Any]) -> dict[str, Any]:
    """Give a line its verdicts; lines older than these (of 2026-11-26) tell them in words only."""
    if "right_cause" in line:
        return line
    wrong = line["wrong"]
    misnamed = ("cause ", "blamed ", "incidents, expected none")
    right = not any(word in text for text in wrong for word in misnamed)
    accused = any("blamed" in text or "expected none" in text for text in wrong)
    away = any(node != line["truth"]["node"] for node in line["evicted"])
    verdicts = {"right_cause": right, "right_place": right, "false_eviction": away}
    return line | verdicts | {"false_blame": bool(line["blamed"]) and accused}


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({max(values):.2f})" if values else ""


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--faults", default=",".join(sorted(NAMES)))
    parser.add_argument("--lines", type=Path, default=Path("run/faults.jsonl"), help="collects the lines")
    parser.add_argument("--read", action="store_true", help="run nothing, only count the lines")
    parser.add_argument("--for-s", type=float, default=1e9, help="begin no demo after this many seconds")
    parser.add_argument("--nodes", default="4", help="of each demo's cluster")
    parser.add_argument("--gpus", default="1", help="of each node, and a rank on each but the spare's")
    parser.add_argument("--lanes", type=int, default=1, help="demos at the same time")
    parser.add_argument("--together", type=int, default=9, help="faults one after the other on a cluster")
    parser.add_argument("--write", type=Path, help="put the table into this file")
    given = parser.parse_args()
    given.lines.parent.mkdir(parents=True, exist_ok=True)
    argv = (sys.executable, "-m", "sentinel.cli", "demo", "--nodes", given.nodes, "--gpus", given.gpus)
    begin_by, chance = time.monotonic() + given.for_s, random.SystemRandom()
    free: queue.Queue[tuple[int, ...]] = queue.Queue()
    for cores in lanes_of(sorted(os.sched_getaffinity(0)), given.lanes):
        free.put(cores)

    def lane(faults: Sequence[str]) -> None:
        cores = free.get()
        pinned = ("taskset", "--cpu-list", ",".join(map(str, cores)), *argv)
        try:
            run(faults, chance.randrange(1_000_000), given.lines, begin_by, pinned)
        finally:
            free.put(cores)

    with ThreadPoolExecutor(given.lanes) as lanes:
        demos = plan(given.faults.split(","), 0 if given.read else given.runs, given.together, chance)
        running = [lanes.submit(lane, faults) for faults in demos]
    for demo in running:
        demo.result()  # a lane that broke off is no run less
    text = table(read(given.lines))
    print(text)
    if given.write:
        given.write.write_text(text + "\n")


if __name__ == "__main__":
    main()
