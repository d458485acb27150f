"""Ray Train with FailureConfig: on a failure the worker group is torn down and placed again."""

from pathlib import Path

from benchmarks.recovery import peers
from benchmarks.recovery.contender import WORLD, Measurement, Trial
from benchmarks.recovery.trial import HERE, run_command


class RayTrain:
    """A TorchTrainer on a local cluster that lives as long as the trial."""

    name = "ray_train"

    def prepare(self) -> str:
        """Install Ray Train."""
        return peers.versions("ray")

    def run(self, trial: Trial, folder: Path) -> Measurement:
        """Run the workload inside Ray's workers, away from any cluster that this machine already has."""
        command = (peers.PYTHON, HERE / "ray_job.py", f"--workers={WORLD}")
        return run_command(command, {"RAY_ADDRESS": "", "RAY_USAGE_STATS_ENABLED": "0"}, trial, folder)


CONTENDER = RayTrain()
