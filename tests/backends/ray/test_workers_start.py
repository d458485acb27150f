"""However many workers start, and however slowly, the ray link does everything else meanwhile."""

import asyncio
import time
from pathlib import Path

import pytest
from fake_ray import FakeRay, hands_of
from link_process import serving

from sentinel.backends.ray.link import LinkError
from sentinel.backends.ray.requests import Nodes, StartWorker, Statuses, StopWorker
from sentinel.gang.orders import WorkerSpec, WorkerStatus
from sentinel.model.ids import JobId, NodeId, WorkerId

STARTS = 300
WARM_S = 4.0


SPEC = WorkerSpec("train", "x:Y", "", "gloo", "/tmp/job", 1, 0, 60.0, 60.0, b"secret")


def start(worker: str, within_s: float = 60.0) -> StartWorker:
    return StartWorker(SPEC, WorkerId(worker), NodeId("n1"), 0, "/tmp", within_s)


def test_many_slow_starts_hold_up_nothing(tmp_path: Path) -> None:
    async def work() -> set[int]:
        async with serving(tmp_path, WARM_S) as link:
            names = [f"w{number}" for number in range(STARTS)]
            asked = [asyncio.create_task(link.ask(start(name))) for name in names]
            await asyncio.sleep(WARM_S / 8)
            began = time.monotonic()
            assert [node.node for node in await link.ask(Nodes())] == ["n1"]
            await link.ask(StopWorker(JobId("train"), WorkerId("w7")))
            assert time.monotonic() - began < WARM_S / 2
            return {status.pid for status in await asyncio.gather(*asked)}

    assert asyncio.run(work()) == {1}


def test_a_start_that_takes_too_long_is_ended_and_said(tmp_path: Path) -> None:
    async def work() -> dict[WorkerId, WorkerStatus]:
        async with serving(tmp_path, 0.0) as link:
            with pytest.raises(LinkError, match=r"TimeoutError: train\.slow starts: not within 0 s"):
                await link.ask(start("slow", 0.3))
            return await link.ask(Statuses(JobId("train"), (WorkerId("slow"),), 1.0))

    assert asyncio.run(work()) == {}


def test_a_start_that_takes_too_long_is_killed() -> None:
    ray = FakeRay()
    hands = hands_of(ray)
    late, good = hands.start_worker(start("slow", 0.2)), hands.start_worker(start("w2"))
    assert isinstance(late.exception(timeout=10.0), TimeoutError)
    assert (good.result(timeout=10.0), ray.killed) == (WorkerStatus(1, -1, -1), ["train.slow"])


def test_a_worker_that_is_stopped_first_does_not_start_later() -> None:
    ray = FakeRay()
    hands = hands_of(ray)
    hands.stop_worker(StopWorker(JobId("train"), WorkerId("w1")))
    with pytest.raises(ValueError, match=r"train\.w1 was to be stopped"):
        hands.start_worker(start("w1"))
    assert ray.named == {}
