"""The loss log: a line a step, and never what ends a run."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
from sentinel.gang.orders import FormOrder, WorkerSpec
from sentinel.gang.telling import loss_log
from sentinel.model.trainable import StepResult


def write(job: Path, *steps: int) -> None:
    spec = WorkerSpec("moe", "x:Y", "", "gloo", str(job), 1, 0, 60.0, 60.0, b"secret")
    log = loss_log(spec, FormOrder(1, 0, 1, 0, ("127.0.0.1", 1), (), None))
    for step in steps:
        if step == 2:
            (job / "losses.jsonl").rmdir()
        log(step, StepResult(step, 0.5, (0.5,), 0.0, 0.0, (0,)))


def test_every_step_has_a_line(tmp_path: Path) -> None:
    write(tmp_path / "job", 0, 1)
    lines = (tmp_path / "job" / "losses.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1]


def test_a_log_that_cannot_be_opened_ends_nothing_and_goes_on_when_it_can(tmp_path: Path) -> None:
    (tmp_path / "losses.jsonl").mkdir()
    write(tmp_path, 0, 1, 2, 3)
    lines = (tmp_path / "losses.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 3]


def test_a_job_without_a_directory_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "job").write_text("no directory")
    write(tmp_path / "job", 0)
