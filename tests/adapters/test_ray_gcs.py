"""A GCS is looked for before it is started, and never started without what it knew."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
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


@pytest.fixture
def gcs() -> Iterator[int]:
    """A process that looks like a GCS from outside."""
    asked = ["--gcs_server_port=1", "--node-ip-address=127.0.0.1"]
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *asked]) as process:
        yield process.pid
        process.kill()


def test_a_gcs_is_remembered_for_its_user_only(tmp_path: Path, gcs: int) -> None:
    memory = tmp_path / "gcs.json"
    ray_gcs.remember(memory, gcs)
    assert json.loads(memory.read_text())["address"] == "127.0.0.1:1"
    assert memory.stat().st_mode & 0o777 == 0o600


def test_a_gcs_of_another_user_is_not_remembered(
    tmp_path: Path, gcs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_process: psutil.Process) -> None:
        raise psutil.AccessDenied(gcs)

    monkeypatch.setattr(psutil.Process, "environ", denied)
    with pytest.raises(ray_gcs.GcsError, match=f"pid {gcs}"):
        ray_gcs.remember(tmp_path / "gcs.json", gcs)


def test_a_disk_that_takes_nothing_remembers_no_gcs(tmp_path: Path, gcs: int) -> None:
    (tmp_path / "gcs.new").mkdir()
    with pytest.raises(ray_gcs.GcsError, match="can't be remembered"):
        ray_gcs.remember(tmp_path / "gcs.json", gcs)


def test_a_process_that_is_no_gcs_is_not_remembered(tmp_path: Path) -> None:
    with pytest.raises(ray_gcs.GcsError, match="without --"):
        ray_gcs.remember(tmp_path / "gcs.json", os.getpid())
    assert not (tmp_path / "gcs.json").exists()
