"""A real torchrun job, broken four times, that Sentinel did not start."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster


@pytest.mark.timeout(600)
def test_a_torchrun_job_is_diagnosed_and_started_again(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "sentinel.cli", "demo", "--watched"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=580, check=False)
    output = done.stdout + done.stderr
    for fault in ("killed", "stopped", "slowed", "gpu-lost"):
        assert f"{fault}: passed" in output, output
    assert done.returncode == 0, output
