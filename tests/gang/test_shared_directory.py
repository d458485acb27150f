"""A job's directory is on a shared volume: what others put there is neither followed nor waited for."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

from structlog.testing import capture_logs

from sentinel.gang import fence
from sentinel.gang.orders import FormOrder, WorkerSpec
from sentinel.gang.telling import loss_log
from sentinel.model.trainable import StepResult
from sentinel.private import NotPrivateError, make_shared_folder
from sentinel.trainer import checkpoint as store


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def hard_link(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def fifo(path: Path, _victim: Path) -> None:
    os.mkfifo(path)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_bytes(b"precious")
    return path


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job"
    path.mkdir()
    return path


@pytest.mark.parametrize("plant", [link, hard_link, fifo])
def test_the_loss_log_is_never_written_through_somebody_elses_file(
    job: Path, victim: Path, plant: Callable[[Path, Path], None]
) -> None:
    plant(job / "losses.jsonl", victim)
    spec = WorkerSpec("moe", "x:Y", "", "gloo", str(job), 1, 0, 60.0, 60.0, b"")
    log = loss_log(spec, FormOrder(1, 0, 1, 0, ("127.0.0.1", 1), (), None))
    log(1, StepResult(1, 1.0, [1.0], 0.0, 0.0, [0]))
    assert victim.read_bytes() == b"precious"
    assert not (job / "losses.jsonl").is_file() or (job / "losses.jsonl").read_bytes() == b"precious"


@pytest.mark.parametrize("plant", [link, hard_link, fifo])
def test_a_fence_is_read_and_written_through_nobodys_link(
    job: Path, victim: Path, plant: Callable[[Path, Path], None]
) -> None:
    victim.write_text("99 theirs")
    for name in (fence.FENCE, f"{fence.FENCE}.{os.getpid()}"):
        plant(job / name, victim)
    fence.claim(job, "ours", 3)
    assert victim.read_text() == "99 theirs"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"-5 theirs",
        b"9" * 5000 + b" theirs",
        "² theirs".encode(),
        b"1 two three",
        b"\xff \xfe",
        bytes(10**7),
    ],
)
def test_a_fence_that_makes_no_sense_is_nobodys(job: Path, content: bytes) -> None:
    (job / fence.FENCE).write_bytes(content)
    assert fence.claim(job, "ours", 3) is None
    assert (job / fence.FENCE).read_text() == "3 ours\n"


def test_that_others_can_write_to_the_directory_is_told_in_one_line(job: Path) -> None:
    job.chmod(0o777)
    with capture_logs() as logs:
        fence.claim(job, "ours", 3)
    (entry,) = logs
    assert (entry["event"], entry["why"]) == (
        "job-directory-is-open",
        f"others can write to {job} (mode 0777)",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make another user's link")
def test_another_users_link_is_no_folder_of_the_job(job: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (job / "checkpoints").symlink_to(tmp_path / "theirs")
    make_shared_folder(job / "checkpoints")  # the operator's own
    os.lchown(job / "checkpoints", 65534, 65534)
    for use in (make_shared_folder, lambda path: store.claim(path, 1, b"")):
        with pytest.raises(NotPrivateError, match="another user's link"):
            use(job / "checkpoints")
    assert list((tmp_path / "theirs").iterdir()) == []
