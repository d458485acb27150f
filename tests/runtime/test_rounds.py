"""The controller's rounds go on, whatever one thing that they look at is like."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sentinel.adapters import ray_gcs
from sentinel.model.fact import Fact
from sentinel.runtime import rounds


@pytest.fixture
def door() -> Iterator[str]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_a_gcs_that_can_t_be_remembered_is_watched_all_the_same_and_told_of_once(
    tmp_path: Path, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise ray_gcs.GcsError("access denied")

    learned: list[Fact] = []
    monkeypatch.setattr(rounds, "GCS_EVERY_S", 0.01)
    monkeypatch.setattr(rounds, "GCS_LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(ray_gcs, "find", lambda *_: 1)
    monkeypatch.setattr(ray_gcs, "remember", denied)

    async def scenario() -> None:
        watching = asyncio.create_task(
            rounds.watch_gcs(door, tmp_path / "gcs.json", learned.append, asyncio.get_running_loop().time)
        )
        await asyncio.sleep(0.5)
        assert not watching.done()
        watching.cancel()

    with capture_logs() as logs:
        asyncio.run(scenario())
    assert [entry["event"] for entry in logs] == ["gcs-not-remembered"]
    assert learned == []
