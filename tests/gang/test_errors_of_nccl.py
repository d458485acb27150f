"""What becomes of an NCCL error is the gang's to say: torch's watchdog would end the survivors."""

import contextlib
import os

import pytest
import torch.distributed as dist

from sentinel.gang.group import Group

HOW = "TORCH_NCCL_ASYNC_ERROR_HANDLING"


@pytest.mark.parametrize(
    ("backend", "chosen", "is_so"), [("nccl", None, "0"), ("nccl", "1", "1"), ("gloo", None, None)]
)
def test_torch_ends_no_process_for_an_error_unless_somebody_chose_so(
    monkeypatch: pytest.MonkeyPatch, backend: str, chosen: str | None, is_so: str | None
) -> None:
    monkeypatch.delenv(HOW, raising=False)
    if chosen is not None:
        monkeypatch.setenv(HOW, chosen)
    group = Group(backend, 0, 1, 1, 5.0)
    with contextlib.suppress(Exception):  # where torch has no NCCL it refuses, after it was told
        group.form(dist.HashStore())
    group.leave()
    assert os.environ.get(HOW) == is_so
    monkeypatch.delenv(HOW, raising=False)
