"""A fault that can't happen, or can't be told from another, in a small sandbox is skipped and says why."""

from types import SimpleNamespace
from typing import Any

import pytest

from sentinel.demo.faults import FAULTS


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
