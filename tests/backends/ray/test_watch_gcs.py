"""Ray's GCS is watched, whatever can be remembered of it."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sentinel.backends.ray import gcs, watch_gcs
from sentinel.model.fact import Fact


@pytest.fixture
def listener() -> Iterator[str]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_a_gcs_that_can_t_be_remembered_is_watched_all_the_same_and_told_of_once(
    tmp_path: Path, listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise gcs.GcsError("access denied")

    learned: list[Fact] = []
    monkeypatch.setattr(watch_gcs, "GCS_EVERY_S", 0.01)
    monkeypatch.setattr(watch_gcs, "GCS_LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(gcs, "find", lambda *_: 1)
    monkeypatch.setattr(gcs, "remember", denied)

    async def scenario() -> None:
        watching = asyncio.create_task(
            watch_gcs.watch_gcs(
                listener, tmp_path / "gcs.json", learned.append, asyncio.get_running_loop().time
            )
        )
        await asyncio.sleep(0.5)
        assert not watching.done()
        watching.cancel()

    with capture_logs() as logs:
        asyncio.run(scenario())
    assert [entry["event"] for entry in logs] == ["gcs-not-remembered"]
    assert learned == []
