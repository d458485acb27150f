"""What the tests of the GPU checks share: the machine over the stand-in driver, and a clock that they set."""

from collections.abc import Iterable
from pathlib import Path

from sentinel.adapters.nvml import NvmlGpus
from sentinel.model.check import Machine
from sentinel.model.finding import Finding, Health

Found = list[tuple[str, str, Health]]


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def machine(memory: Path | None = None) -> Machine:
    return Machine("n", NvmlGpus(), None, memory=str(memory or ""))


def codes(findings: Iterable[Finding]) -> Found:
    return [(each.component, each.code, each.health) for each in findings]
