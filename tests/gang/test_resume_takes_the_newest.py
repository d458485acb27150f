"""A gang goes on from the newest state that verifies, in its memory or in a checkpoint."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch.distributed as dist

from sentinel.gang import restore
from sentinel.gang.orders import Formed, FormOrder, WorkerSpec
from sentinel.gang.snapshots import Slots, SnapshotHolder, encode, job_key, snapshots_of
from sentinel.trainer import checkpoint as store

GOOD, DAMAGED = True, False
DONE = 6000
"""The newest step that the rank has completed."""


@dataclass
class Trained:
    """A trainer whose checkpoints are a store's; a rank that is alone needs no more of it."""

    looked_at: list[str] = field(default_factory=list)
    loaded: int = -1

    def load(self, state: Mapping[str, Any]) -> None:
        self.loaded = state["step"]

    def latest(
        self, directory: os.PathLike[str], above: int = -1, since: int = -1
    ) -> tuple[int, Sequence[str]]:
        self.looked_at += [each.path.name for each in store.committed(Path(directory), above, since)]
        found, passed_over = store.newest_verified(Path(directory), b"key", above, since)
        return found.step if found else -1, passed_over


@dataclass
class Rank:
    """A rank alone in generation 4, with what it has been left."""

    memory: Path
    job: Path
    trainer: Trained = field(default_factory=Trained)

    def snapshot(self, generation: int, step: int, world: int = 1) -> None:
        slots = Slots(snapshots_of(self.memory, "moe"), "owner", 0)
        slots.write(step, generation, world, encode({"step": step}))

    def checkpoint(self, generation: int, step: int, good: bool = GOOD) -> None:
        target = store.folder(self.job / "checkpoints", step, generation)
        target.path.mkdir(parents=True)
        file = target.path / "__0_0.distcp"
        file.write_bytes(b"parameters")
        store.commit(target, 1, store.hash_files(target.path, [file.name]), b"key")
        if not good:
            file.write_bytes(b"Parameters")

    def resume(self) -> Formed:
        with closing(SnapshotHolder(self.memory, "127.0.0.1", key=b"secret")) as holder:
            key = job_key(b"secret", "moe")
            spec = WorkerSpec("moe", "", "", "gloo", str(self.job), 1, 1, 60.0, 60.0, key)
            order = FormOrder(4, 0, 1, 0, ("127.0.0.1", 0), (holder.address,), None)
            return restore.restore(self.trainer, spec, order, self.memory, DONE)  # type: ignore[arg-type]


@pytest.fixture
def rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rank]:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield Rank(tmp_path / "memory", tmp_path / "job")
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("snapshots", "checkpoints", "step", "source"),
    [
        pytest.param([], [], -1, "start", id="nothing is left"),
        pytest.param([(1, 1000)], [(1, 4999)], 4999, "checkpoint", id="the memory was full since step 1000"),
        pytest.param([(1, 5000)], [(1, 4999)], 5000, "memory", id="the snapshot is newer"),
        pytest.param([(1, 4999)], [(1, 4999)], 4999, "memory", id="of two equals the one that costs less"),
        pytest.param([(1, 400)], [(2, 500)], 500, "checkpoint", id="a later generation got further"),
        pytest.param([(2, 400)], [(1, 500)], 400, "memory", id="the snapshot's generation passed it over"),
        pytest.param([(1, 1000)], [(2, 949)], 1000, "memory", id="a smaller gang did not get as far"),
        pytest.param([], [(1, 500), (2, 349)], 349, "checkpoint", id="generation 2 passed step 500 over"),
        pytest.param([(1, 300)], [(1, 500), (2, 349)], 349, "checkpoint", id="and the snapshot is older"),
    ],
)
def test_the_newest_state_is_taken(
    rank: Rank, snapshots: list[tuple[int, int]], checkpoints: list[tuple[int, int]], step: int, source: str
) -> None:
    for each in snapshots:
        rank.snapshot(*each)
    for each in checkpoints:
        rank.checkpoint(*each)
    assert rank.resume() == Formed(4, step, source, DONE - step)
    assert rank.trainer.loaded == (step if source == "memory" else -1)


def test_a_snapshot_of_another_world_size_is_not_newer(rank: Rank) -> None:
    rank.snapshot(1, 5000, world=2)
    rank.checkpoint(1, 4999)
    assert rank.resume() == Formed(4, 4999, "checkpoint", DONE - 4999)


def test_no_checkpoint_is_read_where_a_snapshot_is_newer(rank: Rank) -> None:
    rank.snapshot(1, 5000)
    rank.checkpoint(1, 4999, DAMAGED)
    assert rank.resume() == Formed(4, 5000, "memory", DONE - 5000)
    assert rank.trainer.looked_at == []


def test_a_damaged_newer_checkpoint_is_told_and_the_snapshot_taken(rank: Rank) -> None:
    rank.snapshot(1, 1000)
    rank.checkpoint(1, 4999, DAMAGED)
    rank.checkpoint(1, 999)
    formed = rank.resume()
    assert (formed.step, formed.source, formed.lost) == (1000, "memory", DONE - 1000)
    assert [line.partition(": ")[2] for line in formed.damaged] == ["hash of __0_0.distcp differs"]
    assert "step-4999-generation-1" in formed.damaged[0]


def test_what_is_next_is_taken_when_a_snapshot_does_not_arrive(
    rank: Rank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 4999 is damaged, 1000 can't be fetched, 949 is a checkpoint, and 900 is in memory."""
    for step in (900, 1000):
        rank.snapshot(1, step)
    for step, good in ((849, GOOD), (949, GOOD), (4999, DAMAGED)):
        rank.checkpoint(1, step, good)
    monkeypatch.setattr(restore, "_fetch", lambda _copies, _rank, _step, _memory: None)
    formed = rank.resume()
    assert (formed.step, formed.source, len(formed.damaged)) == (949, "checkpoint", 1)
    for path in (rank.job / "checkpoints").glob("step-949-*"):
        store.discard(store.folder(path.parent, 949, 1))
    formed = rank.resume()
    assert (formed.step, formed.source, len(formed.damaged)) == (849, "checkpoint", 1)
