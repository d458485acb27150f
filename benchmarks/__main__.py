"""`python -m benchmarks`: all figures, one benchmark after another; `--quick` only shows that they work."""

import argparse
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One module of this package and how it is called."""

    module: str
    full: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    document: str = ""
    """Where its report belongs."""

    def command(self, *, quick: bool, write: bool) -> list[str]:
        """Give the command line."""
        chosen = self.quick if quick else self.full
        written = ("--write", self.document) if write and self.document else ()
        return [sys.executable, "-m", f"benchmarks.{self.module}", *chosen, *written]


BENCHMARKS = (
    Benchmark("heartbeat"),
    Benchmark("decide", quick=("--nodes", "100", "--ranks", "256")),
    Benchmark("kill_points", quick=("--kills", "1000")),
    Benchmark("commands", quick=("--runs", "2")),
    Benchmark("storm", quick=("--lines", "1000")),
    Benchmark("codec", quick=("--nodes", "100")),
    Benchmark("journal", quick=("--facts", "20000")),
    Benchmark("kernel_lines", quick=("--lines", "5000")),
    Benchmark("gpu.nvml", quick=("--rounds", "5")),
    Benchmark("localise", quick=("--draws", "2", "--nulls", "2", "--nodes", "64")),
    Benchmark("rehearse", quick=("--nodes", "50")),
    Benchmark("agent", quick=("--seconds", "5")),
    Benchmark("watching", (), ("--rounds", "4", "--seconds", "5"), "docs/figures/watching.md"),
    Benchmark(
        "recovery",
        ("--runs", "5"),
        ("--runs", "1", "--fault", "SIGKILL", "--only", "torchrun,sentinel"),
        "docs/figures/recovery.md",
    ),
)
"""The quickest first. All take over an hour, most of it the peers' timeouts; with --quick three minutes."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [benchmark.module for benchmark in BENCHMARKS]
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"some of {', '.join(names)}; default all")
    parser.add_argument("--quick", action="store_true", help="few and short runs")
    parser.add_argument("--write", action="store_true", help="replace the reports in docs/figures")
    given = parser.parse_args()
    if unknown := set(given.only) - set(names):
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(names)}")
    failed = []
    for benchmark in BENCHMARKS:
        if given.only and benchmark.module not in given.only:
            continue
        print(f"\n== {benchmark.module}", flush=True)
        if subprocess.run(benchmark.command(quick=given.quick, write=given.write)).returncode:
            failed.append(benchmark.module)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
