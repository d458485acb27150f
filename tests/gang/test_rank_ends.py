"""A rank whose work is done ends its process with 0, and its last word says so."""

from pathlib import Path

import pytest
from test_rank_stops_itself import rank

from sentinel.heartbeat import read

pytest.importorskip("torch")


def test_a_rank_ends_with_0_after_its_last_step(tmp_path: Path) -> None:
    ended = rank(tmp_path, "ends", "0.1", "0.1", "0.1")
    assert (ended.returncode, ended.stdout) == (0, ""), "it did not come to say how far it is"
    last = read(tmp_path / "beats" / "w1.beat")
    assert (last.phase, last.step) == ("done", 2)
