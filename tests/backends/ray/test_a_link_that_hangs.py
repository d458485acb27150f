"""A ray link that is stopped, or dies, is missed and replaced, and what was under way is asked again."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from sentinel import private
from sentinel.backends.ray import link as module
from sentinel.backends.ray.link import Link, LinkEndedError, LinkError
from sentinel.backends.ray.requests import Nodes, StartWorker, Statuses
from sentinel.backends.ray.watch_link import watch_link
from sentinel.demo.sandbox import wait
from sentinel.gang.orders import WorkerSpec
from sentinel.model.fact import Fact, LinkBack, LinkLost
from sentinel.model.ids import JobId, NodeId, WorkerId

PROGRAM = (sys.executable, str(Path(__file__).with_name("fake_link.py")))
SPEC = WorkerSpec("train", "x:Y", "", "gloo", "/tmp/job", 1, 0, 60.0, 60.0, b"secret")
SOON = 60.0


@pytest.fixture(autouse=True)
def _started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "MODULE", PROGRAM)


@contextlib.asynccontextmanager
async def running(path: Path) -> AsyncIterator[Link]:
    link = Link("no:1", path)
    task = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(SOON):
            await link.up.wait()
            yield link
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        link._context.destroy(0)


def send(link: Link, number: signal.Signals) -> int:
    assert link.process is not None
    link.process.send_signal(number)
    return link.process.pid


def start(worker: str) -> StartWorker:
    return StartWorker(SPEC, WorkerId(worker), NodeId("n1"), 0, "/tmp", 60.0)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_another_link_takes_its_place_and_is_asked_what_the_first_has_not_answered(
    tmp_path: Path, number: signal.Signals
) -> None:
    async def work() -> None:
        async with running(tmp_path) as link:
            ordered = asyncio.create_task(link.order(start("w1"), 30.0))
            old = send(link, number)
            asked = asyncio.create_task(link.ask(Nodes(), 30.0))
            assert [node.node for node in await asked] == ["n1"]
            assert (await ordered).pid == 1
            assert link.process is not None
            assert link.process.pid != old
            assert not psutil.pid_exists(old)
            assert link.trouble == ""

    asyncio.run(work())


def test_while_it_is_away_it_is_said_why(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(tmp_path) as link:
            pid = send(link, signal.SIGSTOP)
            await link.away.wait()
            watched = f"the ray link, pid {pid}, has not answered for 2 s: another one is started"
            assert (link.trouble, link.silent_s) == (watched, 2.0)
            with pytest.raises(LinkError, match=r"statuses: no answer within 0 s: the ray link, pid"):
                await link.ask(Statuses(JobId("train"), (), 1.0), timeout=0.01)

    asyncio.run(work())


def test_an_order_s_time_counts_only_while_the_link_is_there(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(tmp_path) as link:
            send(link, signal.SIGKILL)
            await link.away.wait()
            assert (await link.order(start("w1"), 5.0)).pid == 1  # longer than it is away
            with pytest.raises(LinkError, match="start_worker: no answer within 0 s"):
                await link.order(start("slow"), 0.3)

    asyncio.run(work())


def test_what_ends_one_link_after_the_other_is_not_asked_for_ever(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(tmp_path) as link:
            ordered = asyncio.create_task(link.order(start("slow"), SOON))
            for _ in range(module.TIMES):
                await link.up.wait()
                while not link._waiting:
                    await asyncio.sleep(0.01)
                send(link, signal.SIGKILL)
                await link.away.wait()
            with pytest.raises(LinkEndedError):
                await ordered

    asyncio.run(work())


def test_links_that_hang_one_after_the_other_are_given_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PING_S", 0.1)

    async def work() -> list[int]:
        found = []
        async with running(tmp_path) as link:
            for _ in range(2):
                await link.up.wait()
                found.append(link._patience)
                send(link, signal.SIGSTOP)
                await link.away.wait()
        return found

    assert asyncio.run(work()) == [module.PATIENCE, 2 * module.PATIENCE]


def test_a_link_that_joins_no_ray_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "MODULE", (sys.executable, "-c", "import time; time.sleep(60)"))
    monkeypatch.setattr(module, "JOINS_WITHIN_S", 0.2)

    async def work() -> None:
        link = Link("no:1", tmp_path)
        task = asyncio.create_task(link.run())
        async with asyncio.timeout(SOON):
            while "has not joined Ray within" not in link.trouble:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())


def test_a_link_that_is_stopped_ends_with_its_controller(tmp_path: Path) -> None:
    program = (
        f"import os, subprocess, time; argv = {[*PROGRAM, 'module', '--address', 'no:1']!r}; "
        f"argv += ['--endpoint', 'ipc://{tmp_path}/a.sock', '--parent', str(os.getpid())]; "
        "print(subprocess.Popen(argv).pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout is not None
        pid = int(controller.stdout.readline())
        wait("the link serves", SOON, (tmp_path / "a.sock").exists)
        os.kill(pid, signal.SIGSTOP)
        controller.kill()
        wait("the link ends", SOON, lambda: not _lives(pid))


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Watched:
    """What a watch of a link has told."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.facts: list[Fact] = []
        self.link, self.options = Link("no:1", path), options

    async def see(self, *turns: Callable[[], object]) -> list[type[Fact]]:
        """Let things happen one after the other, each seen."""
        watching = asyncio.create_task(watch_link(self.link, self.facts.append, lambda: 0.0, **self.options))
        for turn in (lambda: None, *turns):
            turn()
            for _ in range(20):
                await asyncio.sleep(0.001)
        watching.cancel()
        return [type(fact) for fact in self.facts]

    def joins(self) -> None:
        self.link.away.clear()
        self.link.up.set()

    def goes(self) -> None:
        self.link.up.clear()
        self.link.away.set()


def test_a_link_that_goes_and_comes_back_is_told(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    assert asyncio.run(watched.see(watched.joins, watched.goes, watched.joins)) == [LinkLost, LinkBack]


def test_a_link_that_is_never_there_is_told_once(tmp_path: Path) -> None:
    assert asyncio.run(Watched(tmp_path, first_s=0.0).see()) == [LinkLost]
    assert asyncio.run(Watched(tmp_path, first_s=None).see()) == []


def test_what_an_earlier_controller_missed_is_told_to_be_back(tmp_path: Path) -> None:
    watched = Watched(tmp_path, lost=True)
    assert asyncio.run(watched.see(watched.joins)) == [LinkBack]


def test_how_long_a_link_had_not_answered_is_told_with_its_loss(tmp_path: Path) -> None:
    """Who had ordered something meanwhile has waited since then."""
    watched = Watched(tmp_path)
    watched.link.silent_s = 2.0
    asyncio.run(watched.see(watched.joins, watched.goes))
    assert [fact.silent_s for fact in watched.facts if isinstance(fact, LinkLost)] == [2.0]
