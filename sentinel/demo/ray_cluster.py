"""A real Ray cluster of several nodes on one machine, started and ended by the calling process."""

import atexit
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from sentinel.backends.ray import gcs
from sentinel.demo import leftovers
from sentinel.demo.hosts import Host, kill_all, remove_files
from sentinel.demo.network import Network, netns_file
from sentinel.demo.nvml import build

Topology = Literal["loopback", "netns"]

COMMON_ENV = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
}
"""No idle workers are started ahead, nothing is exported: two cores are enough for four nodes."""


class ClusterError(RuntimeError):
    """Ray did not come up; the message ends with the tail of its log."""


@dataclass(slots=True)
class Cluster:
    """Head and nodes. `start` makes one; leaving the `with` block, exit, SIGINT and SIGTERM end it."""

    name: str
    root: Path
    head: Host
    nodes: tuple[Host, ...]
    port: int
    """Of the GCS, at the head's address."""
    node_ids: dict[str, str]
    """Ray's node id of each host; its `NodeName` in `ray.nodes()` is the host's name."""
    network: Network | None = None
    _stopped: bool = field(default=False, repr=False)

    @classmethod
    def start(
        cls,
        nodes: int = 3,
        gpus_per_node: int = 2,
        topology: Topology = "loopback",
        *,
        nvml: bool = False,
        stand_in: bool = False,
    ) -> Self:
        """Start a head without GPUs and `nodes` hosts n1, n2 …; returns when all are in Ray's node table.

        `stand_in`: their GPUs are met through NVIDIA's own binding and a stand-in for its library. Raises
        StandInError where that can't be built.
        """
        cluster = cls.without_ray(nodes, gpus_per_node, topology, nvml=nvml, stand_in=stand_in)
        try:
            cluster._bring_up()
        except BaseException:
            cluster.stop()
            raise
        return cluster

    @classmethod
    def without_ray(
        cls,
        nodes: int,
        gpus_per_node: int,
        topology: Topology = "loopback",
        *,
        nvml: bool = False,
        stand_in: bool = False,
    ) -> Self:
        """Prepare a head and `nodes` hosts on which nothing runs."""
        _exit_on_sigterm()
        leftovers.sweep()
        cluster = cls._plan(nodes, gpus_per_node, topology, nvml, stand_in)
        atexit.register(cluster.stop)
        try:
            for host in cluster.hosts:
                host.prepare()
        except BaseException:
            cluster.stop()
            raise
        return cluster

    @classmethod
    def _plan(cls, nodes: int, gpus_per_node: int, topology: Topology, nvml: bool, stand_in: bool) -> Self:
        name = secrets.token_hex(3)
        root = leftovers.root_of(name)
        leftovers.sign(root)  # before anything that would outlive this process
        names = ["head", *(f"n{number}" for number in range(1, nodes + 1))]
        try:
            driver = build(root) if stand_in else None
            network = _network(name, names) if topology == "netns" else None
        except BaseException:
            leftovers.remove(root)
            raise
        address = network.address if network else _loopback_addresses(name, names).__getitem__
        hosts = [
            Host(
                node, address(node), root / node, name,
                network.netns(node) if network else None, gpus_per_node if node != "head" else 0, nvml,
                driver if node != "head" else None,
            )
            for node in names
        ]  # fmt: skip
        port = 6379 if network else _free_port(hosts[0].address)
        # Chosen here: Ray processes forked from one launcher would draw the same "random" node id.
        node_ids = {node: secrets.token_hex(28) for node in names}
        return cls(name, root, hosts[0], tuple(hosts[1:]), port, node_ids, network)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The head and all nodes."""
        return (self.head, *self.nodes)

    def host(self, name: str) -> Host:
        """The host of this name; raises KeyError."""
        return {host.name: host for host in self.hosts}[name]

    @property
    def address(self) -> str:
        """What a driver passes to `ray.init(address=…)`; in `netns` it must run inside a host."""
        return f"{self.head.address}:{self.port}"

    @property
    def token_file(self) -> Path:
        """The cluster's own authentication token, mode 0600."""
        return self.root / "token"

    @property
    def driver_env(self) -> dict[str, str]:
        """What a driver needs in its environment before it imports Ray."""
        return {
            "RAY_ADDRESS": self.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
        }

    @property
    def gcs_memory(self) -> Path:
        """Where the GCS's command line is remembered for `gcs.restart`."""
        return self.root / "gcs.json"

    def gcs_pid(self) -> int:
        """Give the pid of its GCS; another cluster may run one at the same address of its own network."""
        return gcs.find(self.head.address, self.port, self.head.network)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill what belongs to the hosts, remove namespaces, shared memory, files; twice is harmless."""
        if self._stopped:
            return
        try:
            kill_all([self.root, *(host.root for host in self.hosts)])
        finally:
            if self.network:
                self.network.remove()
            remove_files(self.hosts)
            shutil.rmtree(self.root, ignore_errors=True)
        # Only now: a second Ctrl-C on the way leaves the rest to the exit handler.
        self._stopped = True
        atexit.unregister(self.stop)

    def restart_node(self, name: str) -> None:
        """Bring a node back as after a reboot: nothing of before runs, Ray sees a node that it never saw."""
        host = self.host(name)
        kill_all([host.root])
        host.memory.mkdir(mode=0o700, exist_ok=True)
        self.start_ray(name)

    def start_ray(self, name: str) -> None:
        """Start Ray on a node again, beside what runs there; Ray sees a node that it never saw."""
        self.node_ids[name] = secrets.token_hex(28)
        self._launch([[self.host(name)]])

    def _bring_up(self) -> None:
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(secrets.token_hex(32))
        self._launch([[self.head], self.nodes])

    def _launch(self, waves: Sequence[Sequence[Host]]) -> None:
        """Start Ray on these hosts, one wave after the other."""
        launcher = subprocess.Popen(
            [sys.executable, "-m", "sentinel.demo.ray_start"],
            env=_clean_environment() | COMMON_ENV | {"RAY_AUTH_TOKEN_PATH": str(self.token_file)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=self.root,
        )  # fmt: skip
        try:
            for hosts in waves:
                self._order(launcher, hosts)
                if self.head in hosts:
                    gcs.remember(self.gcs_memory, self.gcs_pid())
        finally:
            launcher.kill()
            launcher.communicate()

    def _order(self, launcher: "subprocess.Popen[str]", hosts: Sequence[Host]) -> None:
        """Have Ray started on these hosts at the same time."""
        assert launcher.stdin is not None
        assert launcher.stdout is not None
        for host in hosts:
            order = {**self._order_for(host), "wait": host is hosts[-1]}
            order["env"] |= self._ray_env(host)
            launcher.stdin.write(json.dumps(order) + "\n")
        launcher.stdin.flush()
        waiting = {host.name for host in hosts}
        for line in launcher.stdout:
            name, _, code = line.strip().partition(" ")
            if code not in ("", "0"):
                log = self.host(name).root / "ray.log"
                raise ClusterError(f"Ray on {name} ended with {code}:\n{_tail(log)}")
            waiting.discard(name)
            if not waiting:
                return
        raise ClusterError(f"Ray did not come up on {', '.join(sorted(waiting))}")

    def _order_for(self, host: Host) -> dict[str, Any]:
        return {
            "name": host.name,
            "argv": self._ray_arguments(host),
            "env": host.env,
            "cwd": str(host.root),
            "log": str(host.root / "ray.log"),
            "netns": str(netns_file(host.netns)) if host.netns else None,
        }

    def write_start(self, host: Host) -> Path:
        """Write a script with which a person starts Ray on a node again, as it was started; returns its path.

        Ray gives the node an id that it never saw.
        """
        order, script = host.root / "start-ray.json", host.root / "start-ray.sh"
        order.write_text(json.dumps({**self._order_for(host), "wait": True}) + "\n")
        settings = COMMON_ENV | {"RAY_AUTH_TOKEN_PATH": str(self.token_file)}
        given = [f"{name}={value}" for name, value in settings.items()]
        argv = ["exec", "env", *given, sys.executable, "-m", "sentinel.demo.ray_start"]
        script.write_text(f"#!/bin/sh\n{shlex.join(argv)} < {shlex.quote(str(order))}\n")
        return script

    def _ray_arguments(self, host: Host) -> list[str]:
        if host is self.head:
            role = ["--head", f"--port={self.port}", "--include-dashboard=false", "--no-monitor"]
        else:
            role = [f"--address={self.address}"]
        return [
            "start", *role, f"--node-ip-address={host.address}", f"--node-name={host.name}",
            f"--temp-dir={host.root / 'r'}", "--disable-usage-stats", "--include-log-monitor=false",
            "--num-cpus=8", "--num-gpus=0", "--object-store-memory=100000000",
            "--dashboard-agent-listen-port=0",
        ]  # fmt: skip

    def _ray_env(self, host: Host) -> dict[str, str]:
        """The head's embedded store lets a killed GCS come back with what it knew."""
        node_id = {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": self.node_ids[host.name]}
        if host is not self.head:
            return node_id
        return node_id | {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(self.root / "gcs")}


def _exit_on_sigterm() -> None:
    """Let SIGTERM end the process through its exit handlers, as Ctrl-C does, unless the caller handles it."""
    on_main_thread = threading.current_thread() is threading.main_thread()
    if on_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def _loopback_addresses(name: str, nodes: Sequence[str]) -> dict[str, str]:
    """Addresses of its own for each cluster, so that fixed ports of two clusters do not meet.

    None is 127.0.0.1: Ray replaces that by the machine's outer address.
    """
    high, low = int(name[:2], 16), int(name[2:4], 16)
    return {node: f"127.{high}.{low}.{number}" for number, node in enumerate(nodes, start=11)}


def _network(name: str, nodes: Sequence[str]) -> Network:
    network = Network(name)
    for node in nodes:
        network.add(node)
    return network


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def _clean_environment() -> dict[str, str]:
    """The caller's environment without settings for some other Ray cluster."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def _tail(path: Path, characters: int = 2000) -> str:
    return path.read_text(errors="replace")[-characters:] if path.exists() else "(no log)"
