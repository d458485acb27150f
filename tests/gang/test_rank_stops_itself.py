"""A rank stops itself when it waits for what can't come, and never in a healthy run."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
from sentinel.gang.rank import FORM_TIMEOUT_S

FOREVER = "3600"


def rank(memory: Path, manner: str, *steps: str) -> subprocess.CompletedProcess[str]:
    """Run a rank without a controller until it has done all steps but the last."""
    program = Path(__file__).with_name("slow_rank.py")
    argv = [sys.executable, str(program), str(memory), manner, *steps]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("manner", "steps"),
    [
        pytest.param("collectives", ["3", "3"], id="its collectives come and go"),
        pytest.param("silent", ["0.9", "1.6", "2.8"], id="no slower than the steps before"),
    ],
)
def test_a_step_longer_than_the_lease_stops_nobody(tmp_path: Path, manner: str, steps: list[str]) -> None:
    ended = rank(tmp_path, manner, *steps, FOREVER)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["step"] == len(steps) - 1


def test_a_rank_that_stands_still_without_a_controller_stops_itself(tmp_path: Path) -> None:
    assert rank(tmp_path, "silent", "0.1", FOREVER, FOREVER).returncode == 75


@pytest.mark.parametrize(
    ("manner", "steps"),
    [
        pytest.param("held", [], id="in a collective"),
        pytest.param("held unseen", ["0.3"], id="in one that its trainable does not tell of"),
    ],
)
def test_a_rank_that_its_old_group_does_not_let_go_stops_itself(
    tmp_path: Path, manner: str, steps: list[str]
) -> None:
    begun = time.monotonic()
    assert rank(tmp_path, manner, *steps, FOREVER).returncode == 76
    assert time.monotonic() - begun < FORM_TIMEOUT_S
