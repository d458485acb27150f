"""However many workers start, and however slowly, the ray link does everything else meanwhile."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from fake_ray import FakeRay, link_to

from sentinel.runtime.link import Link, LinkError

STARTS = 300
WARM_S = 4.0


def start(worker: str, within_s: float = 60.0) -> dict[str, Any]:
    place = {"worker": worker, "node": "n1", "gpu": 0, "memory": "/tmp"}
    return {"spec": {"job": "train"}, **place, "within_s": within_s}


@contextlib.asynccontextmanager
async def serving(path: Path, warm_s: float) -> AsyncIterator[Link]:
    """A ray link, in a process of its own, to a Ray where workers are warm after so many seconds."""
    link = Link("no:1", path)
    link._socket = link._context.socket(zmq.PAIR)
    link._socket.bind(link._endpoint)
    reader = asyncio.create_task(link._read(link._socket))
    program = Path(__file__).with_name("fake_ray.py")
    process = subprocess.Popen([sys.executable, str(program), link._endpoint, str(warm_s)])
    try:
        async with asyncio.timeout(60.0):
            await link.up.wait()
        yield link
    finally:
        process.kill()
        process.wait()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        link._context.destroy(0)


def test_many_slow_starts_hold_up_nothing(tmp_path: Path) -> None:
    async def work() -> set[int]:
        async with serving(tmp_path, WARM_S) as link:
            names = [f"w{number}" for number in range(STARTS)]
            asked = [asyncio.create_task(link.ask("start_worker", **start(name))) for name in names]
            await asyncio.sleep(WARM_S / 8)
            began = time.monotonic()
            assert [node["node"] for node in await link.ask("nodes")] == ["n1"]
            await link.ask("stop_worker", job="train", worker="w7")
            assert time.monotonic() - began < WARM_S / 2
            return {status["pid"] for status in await asyncio.gather(*asked)}

    assert asyncio.run(work()) == {1}


def test_a_start_that_takes_too_long_is_ended_and_said(tmp_path: Path) -> None:
    async def work() -> dict[str, Any]:
        async with serving(tmp_path, 0.0) as link:
            with pytest.raises(LinkError, match=r"TimeoutError: train\.slow starts: not within 0 s"):
                await link.ask("start_worker", **start("slow", 0.3))
            asked = {"job": "train", "workers": ["slow"], "timeout_s": 1.0}
            found: dict[str, Any] = await link.ask("statuses", **asked)
            return found

    assert asyncio.run(work()) == {}


def test_a_start_that_takes_too_long_is_killed() -> None:
    ray = FakeRay()
    link = link_to(ray)
    late, good = link.start_worker(**start("slow", 0.2)), link.start_worker(**start("w2"))
    assert isinstance(late.exception(timeout=10.0), TimeoutError)
    assert (good.result(timeout=10.0), ray.killed) == ({"pid": 1}, ["train.slow"])


def test_a_worker_that_is_stopped_first_does_not_start_later() -> None:
    ray = FakeRay()
    link = link_to(ray)
    link.stop_worker("train", "w1")
    with pytest.raises(ValueError, match=r"train\.w1 was to be stopped"):
        link.start_worker(**start("w1"))
    assert ray.named == {}
