"""torchrun: on a failure every rank is ended and started again."""

from pathlib import Path

from benchmarks.recovery import peers
from benchmarks.recovery.contender import WORLD, Measurement, Trial
from benchmarks.recovery.trial import HERE, run_command


class Torchrun:
    """PyTorch's own elastic launcher, with its own monitor interval."""

    name = "torchrun"

    def prepare(self) -> str:
        """Install torch."""
        return peers.versions("torch")

    def run(self, trial: Trial, folder: Path) -> Measurement:
        """Run the workload as a script. Restarts on gloo are only reliable with a store of their own."""
        command = (
            *(peers.PYTHON, "-m", "torch.distributed.run", "--standalone"),
            *(f"--nproc-per-node={WORLD}", "--max-restarts=3"),
            *(f"--log-dir={folder / 'logs'}", HERE / "workload.py"),
        )
        return run_command(command, {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}, trial, folder)


CONTENDER = Torchrun()
