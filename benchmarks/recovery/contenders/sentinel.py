"""Sentinel: survivors stay, a warm standby takes the lost rank's place, state comes from memory."""

import importlib.metadata
import sys
from pathlib import Path

from benchmarks.recovery.contender import WORLD, Measurement, Trial
from benchmarks.recovery.trial import HERE, run_command

SETTLED = "settled"
"""The job writes this file once every rank trains and the standby is warm."""
LEAVE_S = 20.0
"""Ending a cluster takes a second or two; what it leaves in shared memory only it removes."""


class Sentinel:
    """A local cluster of one node that lives as long as the trial."""

    name = "sentinel"

    def prepare(self) -> str:
        """Nothing to install: it runs where this benchmark does."""
        return ", ".join(
            f"{name} {importlib.metadata.version(name)}" for name in ("sentinel-cluster", "torch", "ray")
        )

    def run(self, trial: Trial, folder: Path) -> Measurement:
        """Break the job once its standby is warm, as it is at all times but the first seconds."""
        command = (sys.executable, HERE / "sentinel_job.py", f"--workers={WORLD}")
        settled = (folder / SETTLED).exists
        return run_command(command, {}, trial, folder, settled=settled, leave_s=LEAVE_S)


CONTENDER = Sentinel()
