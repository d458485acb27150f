"""What a rank keeps in memory, here and at its peer, while generations come and go."""

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sentinel.demo.network import available
from sentinel.model.codec import from_plain
from sentinel.model.finding import Health
from sentinel.model.report import Event

pytest.importorskip("torch")
from sentinel.gang.keeping import Keeper
from sentinel.gang.orders import FormOrder, WorkerSpec
from sentinel.gang.snapshot_slots import slots_in
from sentinel.gang.snapshots import Slots, SnapshotHolder, job_key, snapshots_of, word_for
from sentinel.gang.telling import Teller
from sentinel.heartbeat import HeartbeatWriter

SECRET = b"secret"
KEY = job_key(SECRET, "moe")
small_volumes = pytest.mark.skipif(bool(available()), reason="mounting a small volume needs root")


class State:
    """All of a trainable that a keeper asks for."""

    def __init__(self, size: int = 1) -> None:
        self.size = size

    def state(self) -> Mapping[str, Any]:
        return {"bytes": bytes(self.size)}


def order(generation: int, peer: tuple[str, int] | None = None, **more: Any) -> FormOrder:
    word = word_for(SECRET, "moe", generation)
    return FormOrder(generation, 0, 2, 0, ("127.0.0.1", 1), (), peer, word=word, **more)


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


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10.0
    while not true():
        assert time.monotonic() < end, "the condition never came true"
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
    with SnapshotHolder(other, "127.0.0.3", key=SECRET) as holder:
        keeper.aim(order(1, holder.address), -1)
        for step in (8, 9, 10):
            keeper.keep(order(1), step, step - 2)
            until(lambda step=step: keeper.acked() >= step)
        keeper.aim(order(2, holder.address), 8)
        for step in (9, 10, 11, 12):
            keeper.keep(order(2), step, -1)
            until(lambda step=step: keeper.acked() >= step)
        assert 8 in steps(other, "peer")


# ------------------------------------------------------------------- ranks that are elsewhere now


def kept(memory: Path) -> set[tuple[str, int]]:
    return {(slots.kind, slots.rank) for slots in slots_in(snapshots_of(memory, "moe"))}


def test_ranks_that_a_node_has_no_more_are_forgotten_once_a_step_is_complete(
    tmp_path: Path, keeper: Keeper
) -> None:
    for kind, rank in (("owner", 0), ("owner", 1), ("peer", 2), ("peer", 3)):
        Slots(snapshots_of(tmp_path, "moe"), kind, rank).write(7, 1, 4, [b"x"])
    now = order(2, hosted=(0,), held=(2,))
    keeper.aim(now, 7)
    keeper.keep(now, 8, -1)
    time.sleep(0.1)
    assert kept(tmp_path) == {("owner", 0), ("owner", 1), ("peer", 2), ("peer", 3)}
    keeper.keep(now, 9, 8)
    until(lambda: kept(tmp_path) == {("owner", 0), ("peer", 2)})


# ------------------------------------------------------------------------------------- memory that is small


MEGABYTE = 1 << 20


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A memory volume with room for two snapshots of 2 MB, and some."""
    memory = tmp_path / "small"
    memory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "sentinel-test", str(memory)], check=True)
    yield memory
    subprocess.run(["umount", "-l", str(memory)], check=True)


def reported(memory: Path) -> list[tuple[str, str, Health]]:
    notes = sorted((memory / "errors").glob("*.json"), key=lambda note: note.stat().st_mtime_ns)
    findings = [from_plain(Event, json.loads(note.read_text())).finding for note in notes]
    return [(finding.code, finding.component, finding.health) for finding in findings]


@pytest.mark.root
@small_volumes
def test_memory_with_room_for_two_slots_goes_on_with_two(small: Path) -> None:
    with keeping(small, State(2 * MEGABYTE)) as keeper:
        keeper.aim(order(1), -1)
        written: list[int] = []
        for step in range(40):
            complete = max((each for each in written if each <= step - 2), default=-1)
            keeper.keep(order(1), step, complete)
            written += {step} & steps(small)
            assert complete in {-1} | steps(small)
        assert written[-1] >= 37
        assert keeper.full() == ""


@pytest.mark.root
@small_volumes
def test_memory_with_room_for_one_slot_keeps_the_complete_one_and_says_so(small: Path) -> None:
    state = State(3 * MEGABYTE)
    with keeping(small, state) as keeper:
        teller = Teller(keeper._spec, "w1", small)
        keeper.aim(order(1), -1)
        for step in range(6):
            keeper.keep(order(1), step, step - 1 if step < 2 else 0)
            teller.snapshots(order(1), step, keeper.full())
        assert steps(small) == {0}
        assert reported(small) == [("disk-full", "rank-0", Health.WARNING)]
        state.size = MEGABYTE
        for step in range(6, 9):
            keeper.keep(order(1), step, step - 1)
            teller.snapshots(order(1), step, keeper.full())
        assert max(steps(small)) == 8
        assert reported(small)[1:] == [("disk-full", "rank-0", Health.OK)]


@pytest.mark.root
@small_volumes
def test_a_peer_whose_memory_is_full_is_said(tmp_path: Path, small: Path) -> None:
    with (
        SnapshotHolder(small, "127.0.0.3", key=SECRET) as holder,
        keeping(tmp_path, State(6 * MEGABYTE)) as keeper,
    ):
        keeper.aim(order(1, holder.address), -1)
        keeper.keep(order(1), 0, -1)
        until(lambda: bool(keeper.full()))
        assert "127.0.0.3" in (keeper.full() or "")
        assert steps(tmp_path) == {0}


def test_what_a_rank_that_has_moved_said_is_taken_back_by_the_next(tmp_path: Path) -> None:
    with keeping(tmp_path) as keeper:
        directory = snapshots_of(tmp_path, "moe")
        directory.mkdir(parents=True)
        (directory / "rank-7").write_text("1")
        (directory / "rank-5").write_text("2")
        keeper.aim(order(2), -1)
        teller = Teller(keeper._spec, "w1", tmp_path)
        teller.snapshots(order(2), 0, keeper.full())
        assert reported(tmp_path) == []
        keeper.keep(order(2), 0, -1)
        teller.snapshots(order(2), 0, keeper.full())
        assert reported(tmp_path) == [("disk-full", "rank-7", Health.OK)]
