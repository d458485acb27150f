"""`python -m benchmarks.recovery`: every contender through the same faults, in turns."""

import argparse
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

from benchmarks.recovery.contender import WORLD, Contender, Fault, Trial
from benchmarks.recovery.contenders import all_contenders
from benchmarks.recovery.table import Result, recall, remember, render
from benchmarks.recovery.trial import adopt_orphans, sweep


def main() -> None:
    """Run the trials, print the table, and write it where asked."""
    options = _options(all_contenders())
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that `sweep` runs
    versions = [contender.prepare() for contender in options.only]
    earlier = recall(options.results) if options.results else []
    results = earlier + list(_run(options.only, _trials(options), options.results))
    report = _report(options, versions, results)
    print(report)
    if options.write:
        options.write.write_text(report)


def _options(contenders: Mapping[str, Contender]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=5, help="trials of each contender for each fault and timeout"
    )
    parser.add_argument("--fault", default=",".join(get_args(Fault)), type=_one_of(get_args(Fault)))
    parser.add_argument("--only", default=",".join(contenders), type=_one_of(contenders))
    parser.add_argument(
        "--timeouts",
        default="equal,default",
        type=_one_of(("equal", "default")),
        help="collective timeouts for SIGSTOP; for SIGKILL they play no part and `equal` is used",
    )
    parser.add_argument("--timeout", type=float, default=10.0, help="the equal timeout, seconds")
    parser.add_argument("--cap", type=float, default=120.0, help="give up after so many seconds")
    parser.add_argument("--save-every", type=int, default=1, help="steps from one checkpoint to the next")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first run")
    parser.add_argument("--write", type=Path, help="write the report to this Markdown file too")
    parser.add_argument(
        "--results", type=Path, help="append to this JSON Lines file, and report on all that it holds"
    )
    options = parser.parse_args()
    options.only = [contenders[name] for name in options.only]
    return options


def _one_of(names: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in names]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(names)}")
        return chosen

    return parse


def _trials(options: argparse.Namespace) -> Iterator[Trial]:
    for fault in options.fault:
        for timeouts in options.timeouts if fault == "SIGSTOP" else ("equal",):
            timeout_s = options.timeout if timeouts == "equal" else None
            for seed in range(options.seed, options.seed + options.runs):
                yield Trial(fault, seed, timeout_s, options.cap, options.save_every)


def _run(contenders: Sequence[Contender], trials: Iterator[Trial], keep: Path | None) -> Iterator[Result]:
    """Take turns within each trial, so that a noisy minute is shared by all."""
    for trial in trials:
        for contender in contenders:
            # Short: a Unix socket's path below it may have no more than 107 bytes.
            with tempfile.TemporaryDirectory(prefix="rec-", ignore_cleanup_errors=True) as folder:
                try:
                    result = Result(contender.name, trial, contender.run(trial, Path(folder)))
                finally:
                    sweep()
            print(result, file=sys.stderr, flush=True)
            if keep:
                remember(result, keep)
            yield result


def _report(options: argparse.Namespace, versions: Sequence[str], results: Sequence[Result]) -> str:
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"""# From a fault to the next training step

Seconds from the injection of a fault into one of {WORLD} ranks (CPU, gloo, steps of 50 ms) to the end of the
first step that was never completed before it. Median, fastest and slowest of the runs; contenders take turns,
each run has a random rank and moment, equal for all.
Checkpoints every {options.save_every} step(s); a wait is given up after {options.cap:g} s.

{render(results)}

Machine: {os.cpu_count()} cores, {system}. Versions: {"; ".join(versions)}.
Made by `python -m benchmarks.recovery {" ".join(sys.argv[1:])}`.
"""


if __name__ == "__main__":
    main()
