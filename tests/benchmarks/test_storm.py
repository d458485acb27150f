"""From a real file to the committed decision: a storm is one event, and nobody else waits for it."""

import math
from pathlib import Path

import pytest

from benchmarks.storm import KINDS, STORMS, Storm

ONE = [name for name in STORMS if "kinds" not in name]


@pytest.mark.parametrize("each_turn", [200, 5000])
@pytest.mark.parametrize("name", ONE)
def test_5000_alike_lines_are_one_event_from_file_to_journal(
    tmp_path: Path, name: str, each_turn: int
) -> None:
    calm = Storm(tmp_path / "calm").weather([STORMS[name](0)], 1)
    totals = Storm(tmp_path / "storm").weather([STORMS[name](n) for n in range(5000)], each_turn)
    assert totals.entries <= 4
    assert totals.facts - calm.facts <= 3
    assert totals.rows - calm.rows <= 6
    assert totals.pages <= calm.pages
    assert totals.wire_bytes < 5000
    assert not math.isnan(totals.rescued_s)


def test_kinds_that_come_at_once_are_each_told(tmp_path: Path) -> None:
    (name,) = set(STORMS) - set(ONE)
    totals = Storm(tmp_path / "storm").weather([STORMS[name](n) for n in range(5000)], 200)
    assert len(KINDS) <= totals.entries <= 4 * len(KINDS)
    assert not math.isnan(totals.rescued_s)
