"""A GCS is looked for before it is started, and never started without what it knew."""

import json
import os
import socket
from pathlib import Path

import pytest

from sentinel.adapters import ray_gcs


@pytest.mark.parametrize(("listening", "answer"), [(True, "ok"), (False, "refused")])
def test_alive_tells_an_open_door_from_a_closed_one(listening: bool, answer: str) -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        if listening:
            door.listen()
        assert ray_gcs.alive(f"127.0.0.1:{door.getsockname()[1]}") == answer


def test_a_gcs_that_does_not_run_is_not_found() -> None:
    with pytest.raises(ray_gcs.GcsError, match=r"127\.0\.0\.1:1 "):
        ray_gcs.find("127.0.0.1", 1)


def test_a_gcs_that_kept_its_state_in_memory_is_not_started_again(tmp_path: Path) -> None:
    memory = tmp_path / "gcs.json"
    remembered = {"address": "127.0.0.1:1", "command": ["false"], "environment": {}, "directory": "/"}
    memory.write_text(json.dumps(remembered))
    with pytest.raises(ray_gcs.GcsError, match="in memory only"):
        ray_gcs.restart(memory)


def test_a_process_that_is_no_gcs_is_not_remembered(tmp_path: Path) -> None:
    with pytest.raises(ray_gcs.GcsError, match="without --"):
        ray_gcs.remember(tmp_path / "gcs.json", os.getpid())
    assert not (tmp_path / "gcs.json").exists()
