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


def test_a_gang_that_changes_its_size_leaves_a_checkpoint_of_its_last_step(tmp_path: Path) -> None:
    """Another world size can't use memory snapshots."""
    stood = rank(tmp_path, "resized", *["0.1"] * 50)
    assert (stood.stdout, stood.returncode) == ("0 steps are in no checkpoint\n", 0), stood.stderr


def test_one_that_keeps_its_size_needs_none(tmp_path: Path) -> None:
    stood = rank(tmp_path, "paused", *["0.1"] * 50)
    assert stood.returncode == 0, stood.stderr
    assert not stood.stdout.startswith("0 ")
