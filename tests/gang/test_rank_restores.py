"""Ranks agree on what to restore, and tell each other nothing that is secret."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
import torch.distributed as dist

from sentinel.gang import agree, restore
from sentinel.gang.orders import FormOrder, WorkerSpec
from sentinel.gang.snapshots import Slots, SnapshotHolder, encode, job_key, snapshots_of

KEY = b"the snapshot secret"


class Loads:
    """All of a trainable that a restore asks for."""

    def latest(self, _directory: Any, **_limits: Any) -> tuple[int, tuple[str, ...]]:
        return -1, ()

    def load(self, state: Any) -> None:
        self.loaded = state


def test_the_snapshot_secret_is_not_told_and_other_nodes_are_asked_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    monkeypatch.setattr(dist, "get_backend", lambda: "gloo")
    monkeypatch.setattr(dist, "broadcast", lambda tensor, src: sent.append(tensor.numpy().tobytes()))
    monkeypatch.setattr(agree, "all_of", bool)
    Slots(snapshots_of(tmp_path / "other", "moe"), "peer", 0).write(7, 1, 1, encode({"step": 7}))
    spec = WorkerSpec("moe", "x:Y", "", "gloo", str(tmp_path / "job"), 1, 0, 60.0, 60.0, job_key(KEY, "moe"))
    trainable = Loads()
    with SnapshotHolder(tmp_path / "other", "127.0.0.3", key=KEY) as holder:
        order = FormOrder(2, 0, 1, 0, ("127.0.0.1", 1), (("127.0.0.1", 1), holder.address), None)
        formed = restore.restore(trainable, spec, order, tmp_path / "own", 9)  # type: ignore[arg-type]
    assert (formed.step, formed.source, trainable.loaded) == (7, "memory", {"step": 7})
    assert sent
    assert KEY not in b"".join(sent)
    assert job_key(KEY, "moe") not in b"".join(sent)
