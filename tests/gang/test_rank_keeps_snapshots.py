"""What a rank keeps in memory, here and at its peer, while generations come and go."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
from sentinel.gang.keeping import Keeper
from sentinel.gang.orders import FormOrder, WorkerSpec
from sentinel.gang.snapshots import Slots, SnapshotHolder, snapshots_of
from sentinel.heartbeat import HeartbeatWriter

KEY = b"secret"


class State:
    """All of a trainable that a keeper asks for."""

    def __init__(self, size: int = 1) -> None:
        self.size = size

    def state(self) -> Mapping[str, Any]:
        return {"bytes": bytes(self.size)}


def order(generation: int, peer: tuple[str, int] | None = None, **more: Any) -> FormOrder:
    return FormOrder(generation, 0, 2, 0, ("127.0.0.1", 1), (), peer, **more)


@contextlib.contextmanager
def keeping(memory: Path, state: State | None = None) -> Iterator[Keeper]:
    spec = WorkerSpec("moe", "x:Y", "", "gloo", str(memory / "job"), 1, 0, 60.0, 60.0, KEY)
    beats = HeartbeatWriter(memory / "beats" / "w1.beat", job="moe", worker="w1", gpu=0)
    try:
        yield Keeper(spec, memory, state or State(), beats)  # type: ignore[arg-type]
    finally:
        beats.close()


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    with keeping(tmp_path) as made:
        yield made


def steps(memory: Path, kind: str = "owner") -> set[int]:
    return {info.step for info in Slots(snapshots_of(memory, "moe"), kind, 0).inventory()}


def until_acked(keeper: Keeper, step: int) -> None:
    end = time.monotonic() + 10.0
    while keeper.acked() < step:
        assert time.monotonic() < end
        time.sleep(0.002)


def test_what_a_generation_began_from_stays_until_a_step_of_its_own_is_complete(
    tmp_path: Path, keeper: Keeper
) -> None:
    keeper.aim(order(1), -1)
    for step in (8, 9, 10, 11, 12):
        keeper.keep(order(1), step, step - 2)
    assert steps(tmp_path) == {10, 11, 12}
    keeper.aim(order(2), 10)
    for step in (11, 12, 13, 14):
        keeper.keep(order(2), step, -1)
        assert 10 in steps(tmp_path)
    keeper.keep(order(2), 15, 13)
    keeper.keep(order(2), 16, 14)
    assert steps(tmp_path) == {14, 15, 16}


def test_the_peer_keeps_it_too(tmp_path: Path, keeper: Keeper) -> None:
    other = tmp_path / "other"
    with SnapshotHolder(other, "127.0.0.3", key=KEY) as holder:
        keeper.aim(order(1, holder.address), -1)
        for step in (8, 9, 10):
            keeper.keep(order(1), step, step - 2)
            until_acked(keeper, step)
        keeper.aim(order(2, holder.address), 8)
        for step in (9, 10, 11, 12):
            keeper.keep(order(2), step, -1)
            until_acked(keeper, step)
        assert 8 in steps(other, "peer")
