"""Ray's GCS is watched, whatever can be remembered of it, and judged by its answers."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sentinel.backends.ray import gcs, watch_gcs
from sentinel.model.fact import Fact, GcsBack, GcsLost


class Door:
    """A GCS, as far as one hears it from outside: it answers, or accepts connections alone."""

    def __init__(self) -> None:
        self.hangs = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                if self.hangs.is_set():
                    self._held.append(caller)
                else:
                    with caller:
                        caller.sendall(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for each in (self._listening, *self._held):
            each.close()


@pytest.fixture
def listener() -> Iterator[Door]:
    with closing(Door()) as found:
        yield found


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = gcs.answers
    monkeypatch.setattr(watch_gcs, "GCS_EVERY_S", 0.01)
    monkeypatch.setattr(gcs, "answers", lambda address: answers(address, 0.1))


def watched(listener: Door, memory: Path, *steps: Callable[[list[Fact]], bool]) -> list[Fact]:
    """Watch until each of the steps has come true, one after the other; gives what was learned."""
    learned: list[Fact] = []

    async def scenario() -> None:
        now = asyncio.get_running_loop().time
        watching = asyncio.create_task(watch_gcs.watch_gcs(listener.address, memory, learned.append, now))
        async with asyncio.timeout(20):
            for step in steps:
                while not step(learned):
                    assert not watching.done()
                    await asyncio.sleep(0.01)
        watching.cancel()

    asyncio.run(scenario())
    return learned


def test_a_gcs_that_hangs_is_lost_and_one_that_answers_again_is_back(
    tmp_path: Path, listener: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    listener.hangs.set()

    def goes_on(learned: list[Fact]) -> bool:
        if learned:
            listener.hangs.clear()
        return bool(learned)

    lost, back = watched(listener, tmp_path / "gcs.json", goes_on, lambda learned: len(learned) > 1)
    assert isinstance(lost, GcsLost)
    assert (lost.address, lost.detail) == (listener.address, watch_gcs.HUNG)
    assert isinstance(back, GcsBack)


@pytest.mark.parametrize("ever", [False, True], ids=["it never answered", "it did"])
def test_one_that_nobody_needs_is_missed_only_if_it_was_ever_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ever: bool
) -> None:
    asked, learned = list[str](), list[Fact]()

    def answers(_: str) -> str:
        asked.append("ok" if ever and not asked else "refused")
        return asked[-1]

    async def scenario() -> None:
        watching = asyncio.create_task(
            watch_gcs.watch_gcs("h:1", tmp_path / "gcs.json", learned.append, lambda: 0.0, needed=False)
        )
        async with asyncio.timeout(20):
            while len(asked) < 3 * watch_gcs.GCS_MISSES:
                await asyncio.sleep(0.01)
        watching.cancel()

    quick(monkeypatch)
    monkeypatch.setattr(gcs, "answers", answers)
    asyncio.run(scenario())
    assert [type(fact) for fact in learned] == [GcsLost] * ever


def test_one_that_is_late_once_is_not_missed(
    tmp_path: Path, listener: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter([*["hung"] * (watch_gcs.GCS_HANGS - 1), "ok"] * 3)
    asked: list[str] = []

    def answers(_: str) -> str:
        asked.append(next(said, "ok"))
        return asked[-1]

    quick(monkeypatch)
    monkeypatch.setattr(gcs, "answers", answers)
    assert watched(listener, tmp_path / "gcs.json", lambda _: len(asked) > 3 * watch_gcs.GCS_HANGS) == []


def test_a_gcs_that_can_t_be_remembered_is_watched_all_the_same_and_told_of_once(
    tmp_path: Path, listener: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def denied(*_: object) -> None:
        asked.append(1)
        raise gcs.GcsError("access denied")

    quick(monkeypatch)
    monkeypatch.setattr(watch_gcs, "GCS_LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(gcs, "find", lambda *_: 1)
    monkeypatch.setattr(gcs, "remember", denied)
    with capture_logs() as logs:
        assert watched(listener, tmp_path / "gcs.json", lambda _: len(asked) > 3) == []
    assert [entry["event"] for entry in logs] == ["gcs-not-remembered"]
