"""What rank 0 tells all ranks is plain, and its own."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
import torch.distributed as dist

from sentinel.gang import agree, restore
from sentinel.gang.orders import FormOrder, WorkerSpec


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Program:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 1",)


def broadcasts(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    """Somebody between rank 0 and this rank says this."""

    def broadcast(tensor: torch.Tensor, src: int) -> None:
        if tensor.dtype == torch.int64:
            tensor.fill_(len(said))
        else:
            tensor.copy_(torch.frombuffer(bytearray(said), dtype=torch.uint8))

    monkeypatch.setattr(dist, "broadcast", broadcast)


def test_what_rank_0_says_is_heard() -> None:
    assert agree.broadcast(b"key", lambda: b"words", 0) == b"words"
    assert agree.all_of(True)
    assert not agree.all_of(False)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"x" * 32 + b"words", id="without a seal"),
        pytest.param(agree._sealed(b"another key", b"words"), id="by another key"),
        pytest.param(b"", id="nothing"),
        pytest.param(pickle.dumps([Program()]), id="a program"),
    ],
)
def test_what_somebody_else_says_is_a_failed_collective(
    monkeypatch: pytest.MonkeyPatch, said: bytes, tmp_path: Path
) -> None:
    broadcasts(monkeypatch, said)
    monkeypatch.setattr(os, "system", pytest.fail)
    spec = WorkerSpec("moe", "x:Y", "", "gloo", str(tmp_path), 1, 0, 60.0, 60.0, b"key")
    order = FormOrder(2, 1, 2, 0, ("127.0.0.1", 1), (("127.0.0.1", 1),), None)
    with pytest.raises(dist.DistError):
        restore.restore(None, spec, order, tmp_path, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [-1, 2**40, 2**62])
def test_an_absurd_length_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(dist, "broadcast", lambda tensor, src: tensor.fill_(size))
    with pytest.raises(dist.DistError, match="is said to have told"):
        agree.broadcast(b"key", bytes, 1)
