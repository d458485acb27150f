"""Hosts made on one machine: links and ports that really go dead, Ray on top, and nothing left behind."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sentinel.backends.ray import gcs as ray_gcs
from sentinel.demo.hosts import Host, kill_all, processes_below, remove_files
from sentinel.demo.network import Network, available
from sentinel.demo.ray_cluster import Cluster
from sentinel.ready import is_ready

NO_NETNS = available()
needs_netns = pytest.mark.skipif(bool(NO_NETNS), reason=NO_NETNS)

DETACH = "import os; os.fork() and os._exit(0); os.setsid(); os.execvp('sleep', ['sleep', '1000'])"

CHATTER = """
import socket, sys, threading, time
role, address, port = sys.argv[1:]
if role == "listen":
    door = socket.create_server((address, int(port)))
    print("listening", flush=True)
    line, _ = door.accept()
else:
    line = socket.create_connection((address, int(port)))
def talk():
    while True:
        line.sendall(b"x")
        time.sleep(0.02)
threading.Thread(target=talk, daemon=True).start()
while line.recv(4096):
    print("heard", flush=True)
"""

DRIVER = """
import json, os, subprocess, sys, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
ray.init(address=os.environ["RAY_ADDRESS"], namespace="test", log_to_driver=False, logging_level="ERROR")

@ray.remote(num_cpus=0)
class Counter:
    def __init__(self): self.count = 0
    def next(self):
        self.count += 1
        return {"count": self.count, "pid": os.getpid(), "env": dict(os.environ)}
    def spawn(self, detach):
        subprocess.run([sys.executable, "-c", detach], check=True)

if sys.argv[1] == "create":
    ids = {node["NodeName"]: node["NodeID"] for node in ray.nodes() if node["Alive"]}
    place = On(ids["n2"], soft=False)
    counter = Counter.options(name="c", lifetime="detached", scheduling_strategy=place).remote()
    ray.get(counter.spawn.remote(sys.argv[2]))
else:
    ids, counter = {}, ray.get_actor("c")
while True:
    print(json.dumps({"ids": ids, **ray.get(counter.next.remote(), timeout=30)}), flush=True)
    sys.stdin.readline() or sys.exit()
"""

RESTARTS = """
import pathlib, sys
from sentinel.backends.ray import gcs
print(gcs.restart(pathlib.Path(sys.argv[1])))
"""


def until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Talk:
    """One TCP connection between two hosts over which both ends send all the time."""

    def __init__(self, server: Host, client: Host, port: int) -> None:
        self.ends = [self._end(server, "listen", server.address, port)]
        assert self._heard(self.ends[0], 10)
        self.ends.append(self._end(client, "connect", server.address, port))

    def flows(self) -> bool:
        """Whether both ends hear something from now on."""
        for end in self.ends:
            self._drain(end)
        return all(self._heard(end, 10) for end in self.ends)

    def falls_silent(self) -> bool:
        """Whether both ends come to hear nothing for ten times the interval between two sends."""
        return until(lambda: not any(self._heard(end, 0.2) for end in self.ends), 10)

    @staticmethod
    def _end(host: Host, *arguments: object) -> "subprocess.Popen[bytes]":
        argv = [sys.executable, "-c", CHATTER, *map(str, arguments)]
        return host.run(argv, stdout=subprocess.PIPE)

    @staticmethod
    def _heard(end: "subprocess.Popen[bytes]", seconds: float) -> bool:
        assert end.stdout is not None
        ready = is_ready(end.stdout, seconds)
        return ready and bool(os.read(end.stdout.fileno(), 65536))

    @classmethod
    def _drain(cls, end: "subprocess.Popen[bytes]") -> None:
        while cls._heard(end, 0):
            pass


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[tuple[Network, Host, Host]]:
    run = secrets.token_hex(3)
    network = Network(run)
    for name in ("head", "n1"):
        network.add(name)
    hosts = [
        Host(name, network.address(name), tmp_path / name, run, network.netns(name))
        for name in ("head", "n1")
    ]
    for host in hosts:
        host.prepare()
    yield network, hosts[0], hosts[1]
    kill_all([host.root for host in hosts])
    network.remove()
    remove_files(hosts)


@needs_netns
@pytest.mark.root
def test_a_cut_link_silences_an_established_connection_and_healing_revives_it(
    lan: tuple[Network, Host, Host],
) -> None:
    network, head, n1 = lan
    talk = Talk(head, n1, 7001)
    assert talk.flows()
    network.cut("n1")
    assert talk.falls_silent()
    network.heal("n1")
    assert talk.flows()


@needs_netns
@pytest.mark.root
def test_a_blocked_port_is_silent_both_ways_while_another_port_talks_on(
    lan: tuple[Network, Host, Host],
) -> None:
    network, head, n1 = lan
    reports, other = Talk(head, n1, 7001), Talk(head, n1, 7002)
    network.block("n1", 7001, server="head")
    assert reports.falls_silent()
    assert other.flows()
    network.unblock("n1", 7001, server="head")
    assert reports.flows()


@needs_netns
@pytest.mark.root
def test_the_process_outside_reaches_a_page_on_the_head(lan: tuple[Network, Host, Host]) -> None:
    _, head, _ = lan
    head.run([sys.executable, "-m", "http.server", "8000", "--bind", head.address], stderr=subprocess.DEVNULL)
    assert until(lambda: ray_gcs.alive(f"{head.address}:8000") == "ok")


def test_a_host_finds_what_was_started_in_it_even_after_a_double_fork(tmp_path: Path) -> None:
    host = Host("n1", "127.0.0.11", tmp_path / "n1", secrets.token_hex(3), gpus=2)
    host.prepare()
    try:
        host.run([sys.executable, "-c", DETACH], cwd="/").wait()
        assert until(lambda: [process.name() for process in host.processes()] == ["sleep"])
        assert [gpu["uuid"] for gpu in host.gpu_states()] == ["GPU-n1-0", "GPU-n1-1"]
    finally:
        kill_all([host.root])
        remove_files([host])
    assert host.processes() == []
    assert not host.memory.exists()


ASKS = """
from sentinel.runtime.prober import open_events, open_gpus
gpus, events = open_gpus("nvml"), open_events("nvml")
print(len(gpus.sample()), events.take(), flush=True)
input()
seen = [(gpu.uuid, gpu.present, gpu.ecc_uncorrectable) for gpu in gpus.sample()]
print(seen, [each.xid for each in events.take()])
"""


def test_gpus_behind_the_stand_in_driver_follow_the_device_file(tmp_path: Path, nvml_library: Path) -> None:
    host = Host("n1", "127.0.0.11", tmp_path / "n1", secrets.token_hex(3), gpus=3, driver=nvml_library)
    host.prepare()
    try:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": Path.cwd()}
        asking = host.run([sys.executable, "-c", ASKS], **pipes)
        assert asking.stdout is not None
        assert asking.stdout.readline() == "3 ()\n"
        lost, ecc, good = host.gpu_states()
        host.write_gpus([lost | {"present": False}, ecc | {"ecc_uncorrectable": 2}, good | {"xids": [31]}])
        said, _ = asking.communicate("\n", timeout=60)
        seen = [("GPU-n1-0", False, None), ("GPU-n1-1", True, 2), ("GPU-n1-2", True, 0)]
        assert said.strip() == f"{seen} [31]"
    finally:
        kill_all([host.root])
        remove_files([host])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pytest.importorskip("ray")
    with Cluster.start(nodes=2, gpus_per_node=1, topology="loopback" if NO_NETNS else "netns") as cluster:
        yield cluster


def drive(cluster: Cluster, command: str) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-c", DRIVER, command, DETACH]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return cluster.head.run(argv, env=cluster.driver_env, **pipes)


def answer(driver: "subprocess.Popen[str]", ask: bool = False) -> dict[str, Any]:
    assert driver.stdin is not None
    assert driver.stdout is not None
    if ask:
        driver.stdin.write("again\n")
        driver.stdin.flush()
    said: dict[str, Any] = json.loads(driver.stdout.readline())
    return said


def restart(cluster: Cluster) -> int:
    """Restart the GCS where the controller would: on the head's network."""
    argv = [sys.executable, "-c", RESTARTS, str(cluster.gcs_memory)]
    with cluster.head.run(argv, stdout=subprocess.PIPE, text=True) as process:
        said, _ = process.communicate()
    return int(said)


@pytest.mark.cluster
def test_an_actor_keeps_pid_and_state_when_a_killed_gcs_is_brought_back(cluster: Cluster) -> None:
    old = drive(cluster, "create")
    first = answer(old)
    assert first["ids"] == cluster.node_ids
    assert first["env"].items() >= cluster.host("n2").env.items()

    killed = psutil.Process(cluster.gcs_pid())
    assert cluster.gcs_memory.stat().st_mode & 0o777 == 0o600
    killed.kill()
    assert until(lambda: ray_gcs.alive(cluster.address) == "refused")

    pid = restart(cluster)
    assert pid == cluster.gcs_pid() != killed.pid
    assert restart(cluster) == pid
    assert until(lambda: ray_gcs.alive(cluster.address) == "ok")

    second, third = answer(old, ask=True), answer(drive(cluster, "find"))
    assert [said["count"] for said in (first, second, third)] == [1, 2, 3]
    assert first["pid"] == second["pid"] == third["pid"]


@pytest.mark.cluster
def test_stopping_leaves_no_process_namespace_file_or_shared_memory(cluster: Cluster) -> None:
    roots = [host.root for host in cluster.hosts]
    assert len(processes_below(roots)) > len(roots)
    cluster.stop()
    assert processes_below(roots) == []
    assert not cluster.root.exists()
    assert not any(host.memory.parent.exists() for host in cluster.hosts)
    assert not [name for name in psutil.net_if_addrs() if cluster.name in name]
    assert not [path for path in Path("/run").glob("netns/*") if cluster.name in path.name]


def test_what_a_person_started_with_a_clusters_settings_ends_with_it(tmp_path: Path) -> None:
    waits = "import time; print(flush=True); time.sleep(60)"
    said = ["-c", waits, "-m", "sentinel.runtime.watchdog", "--config", str(tmp_path / "sentinel.toml")]
    other = ["-c", waits, str(tmp_path / "sentinel.toml")]
    started = [
        subprocess.Popen([sys.executable, *argv], stdout=subprocess.PIPE, start_new_session=True)
        for argv in (said, other)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        assert [each.pid for each in processes_below([tmp_path])] == [started[0].pid]
        kill_all([tmp_path])
        assert started[0].wait(10) is not None
        assert started[1].poll() is None, "who only reads there is nobody of the cluster's"
    finally:
        for process in started:
            process.kill()
            process.communicate()
