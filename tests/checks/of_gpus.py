"""What the tests of the GPU checks share: the machine over the stand-in driver, and a clock that they set."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from sentinel.adapters.nvml import NvmlGpus
from sentinel.checks._kept import GAP_S
from sentinel.demo.nvml import StandIn
from sentinel.model.check import Machine
from sentinel.model.finding import Finding, Health

Found = list[tuple[str, str, Health]]


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def machine(memory: Path | None = None, kept: Path | None = None) -> Machine:
    """As a prober that just began has it; what an earlier one has kept lies in `kept`."""
    return Machine("n", NvmlGpus(), None, memory=str(memory or ""), kept=str(kept or ""))


def codes(findings: Iterable[Finding]) -> Found:
    return [(each.component, each.code, each.health) for each in findings]


def another_boot(_: StandIn, kept: Path) -> None:
    """The machine has started again, whose memory directory outlived it."""
    for path in kept.glob("*.json"):
        path.write_bytes(b"another boot\n" + path.read_bytes().split(b"\n", 1)[1])


def long_pause(_: StandIn, kept: Path) -> None:
    """Nobody has looked for a while, as in maintenance."""
    then = time.time() - GAP_S - 30.0
    for path in kept.glob("*.json"):
        os.utime(path, (then, then))


def another_gpu(driver: StandIn, _: Path) -> None:
    """Other GPUs are there at the same places."""
    for index in (0, 1):
        driver.put({"uuid": f"GPU-another-{index}"}, index)


BEGINS_ANEW = [another_boot, long_pause, another_gpu]
"""After each of them what was known of a GPU says nothing of the one that is there."""
