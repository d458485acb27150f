"""What becomes of an NCCL error is the gang's to say: torch's watchdog would end the survivors."""

import contextlib
import os
import threading

import pytest
import torch.distributed as dist

from sentinel.gang.group import WATCHDOG, Group

HOW = "TORCH_NCCL_ASYNC_ERROR_HANDLING"


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WATCHDOG:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("backend", "chosen", "is_so"), [("nccl", None, "0"), ("nccl", "1", "1"), ("gloo", None, None)]
)
def test_torch_ends_no_process_for_an_error_unless_somebody_chose_so(
    monkeypatch: pytest.MonkeyPatch, backend: str, chosen: str | None, is_so: str | None
) -> None:
    if chosen is not None:
        monkeypatch.setenv(HOW, chosen)
    group = Group(backend, 0, 1, 1, 5.0)
    with contextlib.suppress(Exception):  # where torch has no NCCL it refuses, after it was told
        group.form(dist.HashStore())
    group.leave(failed=True)
    assert os.environ.get(HOW) == is_so


class Torch:
    """What it was asked to do, in its order; an abort begins, and ends when it may."""

    def __init__(self) -> None:
        self.asked = list[str]()
        self.aborting, self.may_end = threading.Event(), threading.Event()

    def abort(self) -> None:
        self.asked.append("abort begins")
        self.aborting.set()
        assert self.may_end.wait(10)
        self.asked.append("abort ends")

    def destroy(self) -> None:
        self.asked.append("destroy")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Torch:
    torch = Torch()
    monkeypatch.setattr(dist.distributed_c10d, "_abort_process_group", torch.abort)
    monkeypatch.setattr(dist, "destroy_process_group", torch.destroy)
    return torch


def test_a_group_is_left_when_the_abort_under_way_has_ended(asked: Torch) -> None:
    group = Group("nccl", 0, 2, 1, 5.0)
    aborts = threading.Thread(target=group.abort)
    aborts.start()
    assert asked.aborting.wait(10)
    leaves = threading.Thread(target=lambda: group.leave(failed=False))
    leaves.start()
    leaves.join(0.2)
    assert asked.asked == ["abort begins"]
    asked.may_end.set()
    aborts.join(10)
    leaves.join(10)
    assert asked.asked == ["abort begins", "abort ends", "destroy"]


def test_what_an_abort_finds_once_the_group_is_left_is_none_of_its_business(asked: Torch) -> None:
    """It is the next generation's."""
    asked.may_end.set()
    group = Group("nccl", 0, 2, 1, 5.0)
    leaves = threading.Thread(target=lambda: group.leave(failed=False))
    leaves.start()
    leaves.join(10)
    group.abort()
    assert asked.asked == ["destroy"]


@pytest.mark.parametrize(
    ("failed", "how"), [(True, ["abort begins", "abort ends", "destroy"]), (False, ["destroy"])]
)
def test_only_who_leaves_together_with_all_others_waits_for_what_is_on_its_way(
    asked: Torch, failed: bool, how: list[str]
) -> None:
    asked.may_end.set()
    Group("nccl", 0, 2, 1, 5.0).leave(failed)
    assert asked.asked == how
