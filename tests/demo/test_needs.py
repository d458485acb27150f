"""A fault that can't happen, or can't be told from another, in a small sandbox is skipped and says why."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sentinel.demo.faults import FAULTS
from sentinel.demo.nvml import StandInError, build, no_compiler


@pytest.mark.parametrize(
    ("fault", "world", "said"),
    [
        pytest.param("straggler", 2, "needs 3 ranks, here are 2", id="no odd one out of two"),
        pytest.param("straggler", 3, "", id="an odd one out of three"),
        pytest.param("rank-crash", 1, "", id="one rank can crash"),
    ],
)
def test_what_a_fault_needs_is_told(fault: str, world: int, said: str) -> None:
    sandbox: Any = SimpleNamespace(world=world)
    reason = FAULTS[fault].needs(sandbox)
    assert said in reason
    assert bool(reason) is bool(said)


def test_without_a_compiler_there_is_no_stand_in_driver_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert no_compiler() == "no C compiler: the stand-in driver is built with gcc"
    with pytest.raises(StandInError, match="no C compiler"):
        build(tmp_path)
