"""The same benchmark in this tree and in one of an earlier commit, by turns in one run, side by side.

The earlier tree's own code is measured; only the benchmark's file is this tree's, so that both do the same.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

Figures: TypeAlias = Mapping[str, float]
"""What was measured, by its name with the unit."""
HERE = Path(__file__).parents[1]


def tell(
    parser: argparse.ArgumentParser, module: str, measure: Callable[[argparse.Namespace], Figures]
) -> None:
    """Measure here and, if asked, there; prints one row a figure: the median of all rounds."""
    parser.add_argument("--beside", metavar="COMMIT", help="measure this commit's code, too")
    parser.add_argument("--rounds", type=int, default=1, help="how often, by turns")
    parser.add_argument("--json", action="store_true", help="one object with the figures of this tree")
    options = parser.parse_args()
    if options.json:
        print(json.dumps(measure(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        trees = {"now": HERE}
        if options.beside:
            trees = {options.beside: _checked_out(options.beside, module, Path(folder)), **trees}
        found: dict[str, list[Figures]] = {name: [] for name in trees}
        for _ in range(options.rounds):
            for name, tree in trees.items():
                found[name].append(_measured(tree, module, sys.argv[1:]))
    _print({name: _medians(rounds) for name, rounds in found.items()})


def _checked_out(commit: str, module: str, folder: Path) -> Path:
    archive = subprocess.run(["git", "-C", HERE, "archive", commit], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    for name in (module, "beside"):
        shutil.copy(HERE / "benchmarks" / f"{name}.py", folder / "benchmarks")
    return folder


def _measured(tree: Path, module: str, options: Sequence[str]) -> Figures:
    """Run in a process of its own, whose folder comes first where modules are looked for."""
    argv = [sys.executable, "-m", f"benchmarks.{module}", *options, "--json"]
    ran = subprocess.run(argv, cwd=tree, check=True, stdout=subprocess.PIPE, text=True)
    figures: Figures = json.loads(ran.stdout.splitlines()[-1])
    return figures


def _medians(rounds: Sequence[Figures]) -> Figures:
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def _print(found: Mapping[str, Figures]) -> None:
    print("| | " + " | ".join(found) + " |\n|---|" + "---:|" * len(found))
    for name in found["now"]:
        print(f"| {name} | " + " | ".join(_number(figures[name]) for figures in found.values()) + " |")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
