"""ft_launcher of nvidia-resiliency-ext: torchrun with a monitor process and heartbeats per rank."""

from pathlib import Path

from benchmarks.recovery import peers
from benchmarks.recovery.contender import WORLD, Measurement, Trial
from benchmarks.recovery.trial import HERE, run_command


class FtLauncher:
    """The launcher with the workload sending a heartbeat every step, as its documentation asks."""

    name = "ft_launcher"

    def prepare(self) -> str:
        """Install the launcher."""
        return peers.versions("nvidia-resiliency-ext")

    def run(self, trial: Trial, folder: Path) -> Measurement:
        """Run the workload with heartbeats."""
        command: list[str | Path] = [peers.PYTHON.with_name("ft_launcher"), "--rdzv-backend=c10d"]
        command += [
            "--rdzv-endpoint=localhost:0",
            "--nnodes=1",
            f"--nproc-per-node={WORLD}",
            "--max-restarts=3",
        ]
        command += [*_detection(trial), HERE / "ft_job.py"]
        return run_command(command, {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}, trial, folder)


def _detection(trial: Trial) -> tuple[str, ...]:
    """Let its own detector decide: heartbeats due in half the collective timeout, looked at every second.

    Were the collective the first to raise, the launcher would wait 30 s for the stopped rank to hear SIGTERM.
    """
    if trial.timeout_s is None:
        return ()
    return (
        f"--ft-param-rank_heartbeat_timeout={trial.timeout_s / 2}",
        "--ft-param-workload_check_interval=1",
    )


CONTENDER = FtLauncher()
