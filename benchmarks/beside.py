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
    parser: argparse.ArgumentParser,
    module: str,
    measure: Callable[[argparse.Namespace], Figures],
    also: Sequence[str] = (),
) -> None:
    """Measure here and, if asked, there; prints one row a figure: the median of all rounds.

    `also` names modules of this package that the benchmark needs as they are here.
    """
    parser.add_argument("--beside", metavar="COMMIT", help="measure this commit's code, too, or a folder's")
    parser.add_argument("--rounds", type=int, default=1, help="how often, by turns")
    parser.add_argument("--json", action="store_true", help="one object with the figures of this tree")
    options = parser.parse_args()
    if options.json:
        print(json.dumps(measure(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        trees = {"now": HERE}
        if options.beside:
            there = _checked_out(options.beside, Path(folder))
            for name in (module, "beside", *also):
                shutil.copy(HERE / "benchmarks" / f"{name}.py", there / "benchmarks")
            trees = {options.beside: there, **trees}
        found: dict[str, list[Figures]] = {name: [] for name in trees}
        for _ in range(options.rounds):
            for name, tree in trees.items():
                found[name].append(_measured(tree, module, sys.argv[1:]))
    _print({name: _medians(rounds) for name, rounds in found.items()})


def _checked_out(tree: str, folder: Path) -> Path:
    """Put a commit's files there, or those of another working tree as they are now."""
    if Path(tree).is_dir():
        for name in ("sentinel", "benchmarks", "checks", "runbooks", "dashboards"):
            shutil.copytree(Path(tree) / name, folder / name, symlinks=True)
        return folder
    archive = subprocess.run(["git", "-C", HERE, "archive", tree], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
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
    """Print a table; beside another tree its last column is this tree's part of the other's."""
    names = [*found, "now ÷ then"] if len(found) > 1 else [*found]
    print("| | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
    for name in found["now"]:
        values = [figures.get(name, float("nan")) for figures in found.values()]
        ratio = [f"{values[1] / values[0]:.2f}" if values[0] else ""] if len(values) > 1 else []
        print(f"| {name} | " + " | ".join([*map(_number, values), *ratio]) + " |")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
