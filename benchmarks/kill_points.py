"""Kills a controller many thousand times, between any two steps of random episodes, and says if it mattered.

    python -m benchmarks.kill_points [--kills 100000] [--seed 0] [--processes 2]

The cluster, the ways to die and what must hold are those of tests/core/killed.py; two of three jobs are
somebody else's, as in tests/core/launched.py. Exit 1 if anything did not hold.
"""

import argparse
import logging
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import structlog

HERE = Path(__file__).parents[1]
sys.path.insert(0, str(HERE / "tests" / "core"))
SHOWN = 10
"""Episodes that failed are told by their seeds, so many of them."""


class Lived(NamedTuple):
    """What became of one episode."""

    seed: int
    facts: int
    killed: Counter[str]
    failed: str
    """What did not hold, and where; empty when all did."""


def live(seed: int) -> Lived:
    """Live through the episode of a seed."""
    from launched import of_seed

    killed, episode = of_seed(seed)
    try:
        killed.live(episode)
        failed = ""
    except Exception as error:  # a defect of any kind is what is looked for
        last = traceback.extract_tb(error.__traceback__)[-1]
        reason = str(error).partition("\n")[0]
        failed = f"{type(error).__name__}: {reason} ({Path(last.filename).name}:{last.lineno})"
    return Lived(seed, len(killed.facts), killed.killed, failed)


def quiet() -> None:
    """Doubts are told by what fails, not by the log."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kill_points",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first episode; the next ones count on")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    places, episodes, facts = Counter[str](), 0, 0
    failures: list[Lived] = []
    begun, seeds = time.perf_counter(), iter(range(options.seed, sys.maxsize))
    with multiprocessing.Pool(options.processes, quiet) as pool:
        while places.total() < options.kills and len(failures) < SHOWN:
            batch = [next(seeds) for _ in range(50 * options.processes)]
            for lived in pool.imap_unordered(live, batch, chunksize=5):
                places += lived.killed
                episodes, facts = episodes + 1, facts + lived.facts
                failures += [lived] if lived.failed else []
    for place, count in sorted(places.items()):
        print(f"{count:>9,}  {place}")
    took = time.perf_counter() - begun
    print(f"{places.total():>9,}  kills in {episodes:,} episodes of {facts:,} facts, {took:.0f} s")
    for lived in failures[:SHOWN]:
        print(f"seed {lived.seed}: {lived.failed}")
    print(f"{len(failures)} episodes broke an invariant" if failures else "every invariant held")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
