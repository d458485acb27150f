"""A controller and an agent with a back end that is not Ray: the very processes, told its name only."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from sentinel.adapters.keys import Keys
from sentinel.model.ids import NodeId

DEADLINE_S = 90.0
IDLE = "address=127.0.0.1\nstate=idle\n"


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Start a module of Sentinel, to which the tests' back end can be imported; it ends with the test."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with ExitStack() as ending, (tmp_path / "log").open("w") as log:

        def begin(module: str, *argv: str) -> None:
            command = [sys.executable, "-P", "-m", module, *argv]
            started = subprocess.Popen(
                command, env=os.environ | {"PYTHONPATH": paths}, stdout=log, stderr=log, cwd=tmp_path
            )
            ending.callback(started.wait)
            ending.callback(started.terminate)

        yield begin


def test_what_others_cordon_there_is_shown_and_comes_back(tmp_path: Path, start: Callable[..., None]) -> None:
    node, state = tmp_path / "state" / "nodes" / "n1", tmp_path / "state"
    web, reports = free_port(), free_port()
    state.mkdir(mode=0o700)
    node.parent.mkdir(mode=0o700)
    node.write_text(IDLE)
    config = tmp_path / "sentinel.toml"
    cluster = f"backend = 'file_backend'\nstate_dir = '{state}'\nweb_port = {web}\nreport_port = {reports}"
    config.write_text(f"[cluster]\n{cluster}\n[job]\nworld = 0\n")
    start("sentinel.runtime.controller", "--config", str(config))
    until(lambda: Keys(state / "keys").of_node(NodeId("n1")) if (state / "keys/nodes/n1.key").exists() else 0)
    memory = f"--memory={tmp_path / 'memory'}"
    where = f"--controller=tcp://127.0.0.1:{reports}", f"--keys={state / 'keys'}", memory
    quiet = "--gpus=none", "--kernel-log=none", "--backend=file_backend"
    start("sentinel.runtime.agent", "--node=n1", *where, *quiet)

    def shown() -> str | None:
        try:
            status = httpx.get(f"http://127.0.0.1:{web}/api/status", trust_env=False).json()
        except httpx.HTTPError:
            return None
        assert not status["ray_trouble"]
        return next((str(each["cordon"]) for each in status["nodes"] if each["node"] == "n1"), None)

    until(lambda: shown() == "")
    node.write_text(f"{IDLE}state=drained\nwho=kevin\nreason=bad DIMM\n")
    until(lambda: shown() == "kevin: bad DIMM (scheduler)")
    node.write_text(IDLE)
    until(lambda: shown() == "")
