"""Scenarios made from public bug reports: each must come out as a good judge would have it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel import runbooks
from sentinel.model.policy import Policy
from sentinel.rehearse.reading import read
from sentinel.rehearse.run import rehearse

CASES = sorted(Path(__file__).parent.glob("*.yaml"))
WAITS_FOR_THE_CORE = {
    "07-preemption-signals": "asked to end",
    "08-power-brake-on-a-rack": "common causes",
}
"""Cases that need another core, by the name of their kind."""


def _params() -> Iterator[object]:
    for path in CASES:
        waits = WAITS_FOR_THE_CORE.get(path.stem)
        marks = [pytest.mark.xfail(reason=waits, strict=True)] if waits else []
        yield pytest.param(path, id=path.stem, marks=marks)


@pytest.mark.parametrize("path", list(_params()))
def test_a_case_comes_out_right(path: Path) -> None:
    for scenario in read(path):
        verdict, _ = rehearse(scenario, Policy(), runbooks.load())
        assert verdict.wrong == []
