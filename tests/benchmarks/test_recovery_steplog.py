"""What the recovery benchmark takes for the first step beyond a fault."""

from pathlib import Path

import pytest

from benchmarks.recovery.contender import Trial
from benchmarks.recovery.steplog import Line, Recovery, completed, find_recovery, read
from benchmarks.recovery.trial import measure

BEFORE = [Line(11, 1.0, 100, 0), Line(11, 1.0, 101, 1)]
VICTIM = Line(11, 1.5, 101, 1)
"""Rank 1 in process 101, broken at 1.5 after it had completed step 11."""


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param([], None, id="nothing happened yet"),
        pytest.param(
            [Line(12, 1.6, 100, 0)], None, id="the survivor ending the step of the fault is no recovery"
        ),
        pytest.param(
            [Line(11, 3.0, 200, 0), Line(11, 3.0, 201, 1)], None, id="a repeated step is no recovery"
        ),
        pytest.param([Line(12, 3.0, 201, 1)], None, id="one rank alone is no recovery"),
        pytest.param(
            [Line(12, 3.0, 200, 0), Line(12, 3.1, 201, 1)],
            Recovery(3.1, 0, 0),
            id="all ranks in new processes",
        ),
        pytest.param(
            [Line(12, 1.6, 100, 0), Line(12, 2.0, 100, 0), Line(12, 2.1, 201, 1)],
            Recovery(2.1, 0, 1),
            id="a survivor in its process, which had ended the step once already",
        ),
        pytest.param(
            [Line(step, step, pid, rank) for step in (10, 11, 12) for pid, rank in ((200, 0), (201, 1))],
            Recovery(12, 2, 0),
            id="two steps trained again",
        ),
    ],
)
def test_recovery_is_the_first_step_that_was_never_completed(
    after: list[Line], expected: Recovery | None
) -> None:
    assert find_recovery([*BEFORE, *after], VICTIM) == expected


def test_a_step_is_completed_when_all_ranks_have_completed_it() -> None:
    assert completed([Line(3, 1.0, 100, 0)]) == -1
    assert completed([Line(3, 1.0, 100, 0), Line(2, 1.0, 101, 1)]) == 2


def test_a_line_that_is_still_being_written_is_left_for_later(tmp_path: Path) -> None:
    log = tmp_path / "steps.log"
    assert read(log) == []
    log.write_text("11 1.0 100 0\n12 1.")
    assert read(log) == [Line(11, 1.0, 100, 0)]


def test_a_contender_that_never_trains_has_no_number(tmp_path: Path) -> None:
    trial = Trial("SIGKILL", seed=0, timeout_s=None, cap_s=1.0, save_every=1)
    measured = measure(trial, tmp_path / "steps.log", alive=lambda: False)
    assert measured.seconds is None
    assert "did not reach step" in measured.note
