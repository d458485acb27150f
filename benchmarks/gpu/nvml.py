"""What a look at the GPUs costs: each passive GPU check, and each call of NVML, real or the stand-in's.

`python -m benchmarks.gpu.nvml` on a machine with NVIDIA GPUs asks them; elsewhere, or with `--stand-in`, it
asks the stand-in driver, whose calls look values up. Nothing is changed on the GPUs.
"""

import argparse
import ctypes
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml

from sentinel.adapters.nvml import NvmlGpus
from sentinel.checks import load
from sentinel.demo import nvml as stand_in
from sentinel.model.check import Check, Machine
from sentinel.runtime.probe import Answer, probe

MOST_MS = 20.0
"""A whole sweep of one GPU must stay below this, and below 1% of a core at the checks' own pace."""
MOST_SHARE = 0.01


class Calls:
    """Times every call into the library, by its name."""

    def __init__(self) -> None:
        self.took: dict[str, list[float]] = defaultdict(list)
        self._find: Callable[[str], Any] = pynvml._nvmlGetFunctionPointer
        pynvml._nvmlGetFunctionPointer = self._timed

    def _timed(self, name: str) -> Any:
        function = self._find(name)
        if name == "nvmlErrorString":  # its caller sets what it returns
            return function

        def call(*given: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*given)
            finally:
                self.took[name].append(time.perf_counter() - begun)

        return call


def meet_stand_in(folder: Path, gpus: int) -> None:
    """Have this process find the stand-in, with GPUs in order."""
    library = stand_in.build(folder)
    described = stand_in.StandIn(folder / "gpus", gpus)
    os.environ[stand_in.FILE] = str(described.file)
    ctypes.CDLL(str(library))  # what has this name is not looked for again


def has_driver() -> bool:
    """Say whether this machine has a driver that answers."""
    try:
        NvmlGpus().sample()
    except OSError:
        return False
    return True


def run(check: Check, machine: Machine, rounds: int) -> tuple[list[float], list[float], Answer]:
    """Run a check again and again; gives seconds on the wall and of processor, and the last answer."""
    wall, cpu = [], []
    for _ in range(rounds):
        begun, used = time.perf_counter(), time.process_time()
        answer = probe(check, machine)
        wall.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - used)
    return wall, cpu, answer


def report(rounds: int) -> bool:
    """Measure and print; True where the sweep stays below its limits."""
    gpus, calls = NvmlGpus(), Calls()
    machine = Machine("n", gpus, None)
    count = len(gpus.sample())
    checks = [check for name, check in load().items() if name == "gpu" or name.startswith("gpu_")]
    print(f"{count} GPUs, driver {pynvml.nvmlSystemGetDriverVersion()}, {rounds} rounds; ms, median (most)\n")
    print(f"{'check':<14}{'every':>7}  {'by the wall':>18}  {'processor':>18}  findings")
    sweep = share = 0.0
    for check in checks:
        wall, cpu, answer = run(check, machine, rounds)
        sweep += statistics.median(wall)
        share += statistics.mean(cpu) / check.every
        found = ", ".join(sorted({each.code for each in answer.findings})) or "none"
        print(f"{check.name:<14}{check.every:>5.0f} s  {_shown(wall):>18}  {_shown(cpu):>18}  {found}")
    each = sweep / max(1, count)
    print(
        f"\nwhole sweep: {1000 * sweep:.1f} ms, {1000 * each:.1f} a GPU; at this pace {share:.2%} of a core"
    )
    print(f"\n{'call':<46}{'calls':>8}{'µs, median':>12}{'most':>10}")
    for name, took in sorted(calls.took.items(), key=lambda item: -sum(item[1])):
        print(f"{name:<46}{len(took):>8}{1e6 * statistics.median(took):>12.1f}{1e6 * max(took):>10.0f}")
    return 1000 * each < MOST_MS and share < MOST_SHARE * max(1, count)


def _shown(seconds: list[float]) -> str:
    return f"{1000 * statistics.median(seconds):.2f} ({1000 * max(seconds):.2f})"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.nvml", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="of each check")
    parser.add_argument(
        "--stand-in", action="store_true", help="ask the stand-in driver, even where GPUs are"
    )
    parser.add_argument("--gpus", type=int, default=8, help="of the stand-in driver")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        is_real = not given.stand_in and has_driver()
        if is_real:
            print("the GPUs of this machine")
        else:
            print("the stand-in driver: calls cost other than real ones")
            meet_stand_in(Path(folder), given.gpus)
        is_within = report(given.rounds)
    return 0 if is_within or not is_real else 1


if __name__ == "__main__":
    sys.exit(main())
