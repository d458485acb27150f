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
from local_http import LOCAL

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
def start(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Start a module of Sentinel, to which the tests' back end can be imported; it ends with the test."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with ExitStack() as ending, (tmp_path / "log").open("w") as log:

        def begin(module: str, *argv: str) -> "subprocess.Popen[bytes]":
            command = [sys.executable, "-P", "-m", module, *argv]
            started = subprocess.Popen(
                command, env=os.environ | {"PYTHONPATH": paths}, stdout=log, stderr=log, cwd=tmp_path
            )
            ending.callback(started.wait)
            ending.callback(started.terminate)
            return started

        yield begin


class Cluster:
    """One node in a folder, with a controller and an agent."""

    def __init__(self, folder: Path, start: Callable[..., "subprocess.Popen[bytes]"]) -> None:
        self.state, self.start = folder / "state", start
        self.node, self.config = self.state / "nodes" / "n1", folder / "sentinel.toml"
        self.web, reports = free_port(), free_port()
        self.state.mkdir(mode=0o700)
        self.node.parent.mkdir(mode=0o700)
        self.node.write_text(IDLE)
        where = f"state_dir = '{self.state}'\nweb_port = {self.web}\nreport_port = {reports}"
        rest = "[job]\nworld = 0\n[policy]\nretry_limit_s = 1.0\n"
        self.config.write_text(f"[cluster]\nbackend = 'file_backend'\n{where}\n{rest}")
        self.starts_controller()
        key = self.state / "keys/nodes/n1.key"
        until(lambda: Keys(self.state / "keys").of_node(NodeId("n1")) if key.exists() else 0)
        told = f"--controller=tcp://127.0.0.1:{reports}", f"--keys={self.state / 'keys'}"
        quiet = "--gpus=none", "--kernel-log=none", "--backend=file_backend"
        start("sentinel.runtime.agent", "--node=n1", *told, f"--memory={folder / 'memory'}", *quiet)
        until(lambda: self.shown() == "")

    def starts_controller(self) -> None:
        self.controller = self.start("sentinel.runtime.controller", "--config", str(self.config))

    def status(self) -> dict[str, Any]:
        try:
            status = LOCAL.get(f"http://127.0.0.1:{self.web}/api/status").json()
        except httpx.HTTPError:
            return {"nodes": [], "left": []}
        assert not status["ray_trouble"]
        return dict(status)

    def shown(self) -> str | None:
        """Give how its node's cordon is shown."""
        return next((str(each["cordon"]) for each in self.status()["nodes"] if each["node"] == "n1"), None)

    def says(self, command: str) -> None:
        """An operator's word about the node."""
        token = {"Authorization": f"Bearer {Keys(self.state / 'keys').api_token}"}
        body = {"target": "n1", "who": "ann", "reason": "new fan"}
        where = f"http://127.0.0.1:{self.web}/api/{command}"
        assert LOCAL.post(where, json=body, headers=token).is_success


@pytest.fixture
def cluster(tmp_path: Path, start: Callable[..., "subprocess.Popen[bytes]"]) -> Cluster:
    return Cluster(tmp_path, start)


def test_what_others_cordon_there_is_shown_and_comes_back(cluster: Cluster) -> None:
    cluster.node.write_text(f"{IDLE}state=drained\nwho=kevin\nreason=bad DIMM\n")
    until(lambda: cluster.shown() == "kevin: bad DIMM (scheduler)")
    cluster.node.write_text(IDLE)
    until(lambda: cluster.shown() == "")


def test_a_drain_is_seen_there_and_taken_back_after_a_restart_if_not_before(cluster: Cluster) -> None:
    cluster.says("drain")
    until(lambda: "reason=drained by ann: new fan" in cluster.node.read_text())
    assert cluster.shown() == "new fan (operator ann)"
    nodes, away = cluster.node.parent, cluster.state / "away"
    nodes.rename(away)  # nobody answers
    nodes.mkdir()
    cluster.node.mkdir()
    cluster.says("undrain")
    until(lambda: any("that n1 is given back: " in line for line in cluster.status()["left"]))
    cluster.controller.terminate()
    cluster.controller.wait()
    cluster.node.rmdir()
    nodes.rmdir()
    away.rename(nodes)
    cluster.starts_controller()
    until(lambda: cluster.node.read_text() == IDLE)
    until(lambda: cluster.shown() == "" and not cluster.status()["left"])


def proof(cluster: Cluster) -> tuple[str, str]:
    """How far its node's proof is, and what was said of it."""
    (node,) = [each for each in cluster.status()["nodes"] if each["node"] == "n1"] or [{}]
    return node.get("proof_stage", ""), node.get("proof", "")


def test_a_node_comes_back_when_it_has_shown_that_it_is_well(cluster: Cluster) -> None:
    """`gemm` itself is left out: it loads this machine for long."""
    cluster.controller.terminate()
    cluster.controller.wait()
    cluster.config.write_text(f"{cluster.config.read_text()}preflight = []\n")
    cluster.starts_controller()
    until(lambda: [each["report_age_s"] is not None for each in cluster.status()["nodes"]] == [True])
    cluster.says("drain")
    cluster.says("prove")
    until(lambda: proof(cluster)[0] == "passed")
    until(lambda: cluster.shown() == "" and "drained by ann" not in cluster.node.read_text())
