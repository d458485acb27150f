"""What a rank tells of a step that was computed again, and what ends its generation then."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from sentinel.gang.orders import FormOrder, WorkerSpec
from sentinel.gang.telling import MiscomputedError, NotFiniteError, StepError, Teller
from sentinel.model.trainable import Replayed, ReplayResult, ReplayWhy, StepResult

SPEC = WorkerSpec("moe", "", "", "gloo", "/nowhere", 1, 1, 60.0, 60.0, b"key")
NAMED = Replayed(ReplayWhy.SPIKE, ReplayResult.NAMED, (1,), "rank 1 differs")
NAN = StepResult(7, float("nan"), [1.0, float("nan")], 0.0, 0.0, [0, 0])


def order(rank: int) -> FormOrder:
    return FormOrder(3, rank, 2, 0, ("127.0.0.1", 0), (), None)


def told(memory: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((memory / "errors").glob("*.json"))]


@pytest.mark.parametrize(
    ("error", "kind", "values"),
    [
        pytest.param(MiscomputedError(7, NAMED, 3), "miscomputed", "[0.0, 1.0, 0.0]", id="whose device"),
        pytest.param(NotFiniteError(7, NAN), "nan", "[1.0, nan]", id="whose loss"),
    ],
)
def test_what_all_ranks_raise_says_for_whose_sake(
    tmp_path: Path, error: StepError, kind: str, values: str
) -> None:
    Teller(SPEC, "w1", tmp_path).raised(order(0), 7, error)
    (note,) = told(tmp_path)
    assert (note["kind"], str([float(value) for value in note["values"]])) == (kind, values)


def test_rank_0_tells_of_a_step_that_was_computed_again_for_all(tmp_path: Path) -> None:
    for rank in range(2):
        Teller(SPEC, f"w{rank}", tmp_path).replayed(order(rank), 7, NAMED)
    (note,) = told(tmp_path)
    assert note["finding"]["code"] == "step-replayed"
    assert note["finding"]["evidence"] == {"why": "spike", "result": "named", "step": 7}
    assert (note["finding"]["event"], note["finding"]["health"]) == (True, "warning")


def test_a_step_on_which_all_devices_agree_is_no_event(tmp_path: Path) -> None:
    agreed = Replayed(ReplayWhy.ROTATION, ReplayResult.AGREED)
    Teller(SPEC, "w0", tmp_path).replayed(order(0), 7, agreed)
    (note,) = told(tmp_path)
    assert (note["finding"].get("event", False), note["finding"]["health"]) == (False, "ok")
