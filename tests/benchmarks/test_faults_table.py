"""The table of many runs counts verdicts, and those of older lines, which tell them in words."""

import json
import random
from pathlib import Path

import pytest

from benchmarks.faults import lanes_of, plan, read, table, with_verdicts
from sentinel.demo.fault import Place
from sentinel.demo.result import Result

FIGURES = sorted((Path(__file__).parents[2] / "docs" / "figures").glob("faults*.jsonl"))
NOW = Result("gpu-ecc", 1, truth=Place("n1", 0, 0), evicted=["n2"], wrong=["anything"])
NOW.right_cause, NOW.right_place, NOW.false_blame, NOW.false_eviction = True, False, True, True


def row(text: str) -> list[str]:
    return [cell.strip() for cell in text.splitlines()[-1].split("|")[1:7]]


def test_a_line_is_counted_by_its_verdicts_whatever_it_says() -> None:
    assert row(table([NOW.to_plain()])) == ["gpu-ecc", "1", "0", "0", "1", "1"]


def test_a_line_without_verdicts_is_understood_by_its_words() -> None:
    old = {key: value for key, value in NOW.to_plain().items() if not key.startswith(("right", "false"))}
    blamed = old | {"wrong": ["blamed n2, the truth is n1"], "blamed": {"node": "n2"}}
    assert with_verdicts(blamed)["false_blame"] is True
    assert with_verdicts(blamed)["right_place"] is False
    assert with_verdicts(old | {"blamed": {"node": "n1"}})["right_cause"] is True


@pytest.mark.parametrize("figures", FIGURES, ids=lambda path: path.stem)
def test_the_published_lines_can_be_read(figures: Path) -> None:
    lines = read(figures)
    assert len(lines) == len(figures.read_text().splitlines())
    assert json.loads(json.dumps(lines)) == lines
    assert table(lines).count("\n") > 1


def test_each_lane_has_cores_of_its_own_unless_there_are_too_few() -> None:
    assert lanes_of(range(8), 3) == [(0, 1), (2, 3), (4, 5)]
    assert lanes_of(range(2), 3) == [(0, 1)] * 3


def test_faults_that_need_settings_of_their_own_have_a_demo_of_their_own() -> None:
    demos = list(plan(["gpu-ecc", "none", "rank-crash"], 1, 9, random.Random(1)))
    assert sorted(len(demo) for demo in demos) == [1, 2]
    assert ("none",) in demos
