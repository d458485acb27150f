"""The command that starts a watched job again: run once, told what happened, killed when it does not end."""

import asyncio
import os
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from sentinel.config import RESTART, keys
from sentinel.core.state.rows import Job, JobStage
from sentinel.model.action import RestartJob
from sentinel.model.ids import ActionId, IncidentId, JobId, NodeId
from sentinel.runtime.hands import ActionError, OperatorsCommand
from sentinel.runtime.restart_job import restart_job

NAME = JobId("run")
ACTION = RestartJob(
    ActionId("I-0001/restart-job/run/3"),
    IncidentId("I-0001"),
    NAME,
    3,
    "gpu-lost",
    (NodeId("n2"), NodeId("n4")),
)
JOB = Job(NAME, 2, 1, 0, watched=True, restarts=True, stage=JobStage.FORMING, generation=3)


def run(folder: Path, line: str, within_s: float = 20.0, job: Job = JOB) -> tuple[str, tuple[str, ...]]:
    return asyncio.run(restart_job(ACTION, job, command(folder, line, within_s)))


def command(folder: Path, line: str, within_s: float = 20.0) -> OperatorsCommand:
    return OperatorsCommand("job.restart_command", line, within_s, folder / "restart.log")


def test_it_is_told_what_happened_and_its_last_words_are_kept(tmp_path: Path) -> None:
    line = 'echo "$SENTINEL_JOB $SENTINEL_INCIDENT $SENTINEL_CAUSE $SENTINEL_AVOID $SENTINEL_RESTART"'
    detail, data = run(tmp_path, line)
    assert detail == "job.restart_command: exit 0"
    assert data == ("run I-0001 gpu-lost n2,n4 I-0001/restart-job/run/3",)


@pytest.mark.parametrize(
    ("avoid", "submitted"),
    [
        pytest.param(("n2", "n4"), "--job-name run --exclude=n2,n4 train.sh", id="nodes to avoid"),
        pytest.param((), "--job-name run train.sh", id="none"),
    ],
)
def test_the_example_for_slurm_excludes_nothing_where_no_node_is_to_be_avoided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, avoid: tuple[str, ...], submitted: str
) -> None:
    for name in ("scancel", "sbatch"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (tmp_path / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    action = replace(ACTION, avoid=tuple(map(NodeId, avoid)))
    assert RESTART in keys_by_name()["job.restart_command"]
    _, said = asyncio.run(restart_job(action, JOB, command(tmp_path, RESTART)))
    assert "".join(said).splitlines() == ["scancel --me --name run", f"sbatch {submitted}"]


def keys_by_name() -> dict[str, str]:
    return {key.name: key.reason for key in keys()}


def test_it_gets_none_of_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTINEL_PAGES__SLACK_TOKEN", "xoxb-secret")
    _, data = run(tmp_path, "env; true")
    assert "SLACK_TOKEN" not in data[0]


def test_what_it_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    _, data = run(tmp_path, "sleep 30 & echo $!")
    left = psutil.Process(int(data[0]))
    assert left.is_running()
    left.kill()


def test_one_that_fails_says_so_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="exit 3") as failed:
        run(tmp_path, "echo no partition; exit 3")
    assert failed.value.data == ("no partition",)


def test_one_that_does_not_end_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(ActionError, match=r"did not end within 0\.5 s"):
        run(tmp_path, f"sleep 30 & echo $! > {pids}; echo waits; wait", within_s=0.5)
    child = int(pids.read_text())
    gone = not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    psutil.wait_procs([] if gone else [psutil.Process(child)], timeout=10)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(Job(NAME, 2, 1, 0, watched=True, stage=JobStage.FORMING, generation=4), id="is back"),
        pytest.param(Job(NAME, 2, 1, 0, watched=True, stage=JobStage.RUNNING, generation=3), id="trains"),
    ],
)
def test_a_job_that_is_back_is_not_started_twice(tmp_path: Path, job: Job) -> None:
    mark = tmp_path / "mark"
    assert run(tmp_path, f"touch {mark}", job=job) == ("superseded", ())
    assert not mark.exists()


def test_without_a_command_nothing_is_done(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="restart_command is not set"):
        run(tmp_path, "")
