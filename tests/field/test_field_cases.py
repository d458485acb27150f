"""Scenarios made from public bug reports: each must come out as a good judge would have it, and as ever."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel import runbooks
from sentinel.model.policy import Policy
from sentinel.rehearse.reading import read
from sentinel.rehearse.run import rehearse
from sentinel.rehearse.scenario import Scenario
from tests.verdicts.golden import read_table, row, without_marks

CASES = [case for path in sorted(Path(__file__).parent.glob("*.yaml")) for case in read(path)]
BOOKS = runbooks.load()
TABLE = read_table()
AS_EVER = "if it should: python -m tests.verdicts.golden --write"


def _params() -> Iterator[object]:
    for case in CASES:
        waits = case.waits_for
        marks = [pytest.mark.xfail(reason=waits, strict=True)] if waits else []
        yield pytest.param(case, id=case.id, marks=marks)


@pytest.mark.parametrize("case", list(_params()))
def test_a_case_comes_out_right(case: Scenario) -> None:
    verdict, _ = rehearse(case, Policy(), BOOKS)
    assert verdict.wrong == []
    assert row(verdict) == without_marks(TABLE[f"field/{case.id}"]), AS_EVER


def test_no_two_cases_have_one_name() -> None:
    assert len({case.id for case in CASES}) == len(CASES)
