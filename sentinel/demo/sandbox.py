"""The demo's sandbox: a real Ray cluster with Sentinel and a training job on it."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from sentinel import private
from sentinel.adapters.enrolment import Enrolment
from sentinel.adapters.keys import Keys, ensure_keys
from sentinel.demo.hosts import Host
from sentinel.demo.nvml import StandInError
from sentinel.demo.ray_cluster import Cluster, Topology
from sentinel.gang.snapshot_keys import checkpoint_key, job_key
from sentinel.model.ids import NodeId
from sentinel.runtime.last_words import last_words
from sentinel.runtime.plain_http import NO_TLS
from sentinel.trainer.settings import TrainerSettings

REPORT_PORT, WEB_PORT = 7801, 7800
JOB = "moe"
ON_CALL, BACKUP = "C-ONCALL", "C-BACKUP"
FALLBACK_AFTER_S = 3.0
"""Shorter than the default, so that a person sees the fallback at work."""

FRESH_S = 120.0
"""From a started sandbox to the first step, and to warm standbys: four nodes share two cores."""
HOPELESS = 2
"""Controllers that ended before the first step; the demo kills none until then."""


class SandboxError(RuntimeError):
    """Something that must happen did not happen in time; the message says what."""


def wait(what: str, within_s: float, condition: Callable[[], Any], every_s: float = 0.05) -> Any:
    """Return the condition's first true value; raise SandboxError when it takes too long."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise SandboxError(f"{what}: not within {within_s:.0f} s")
        time.sleep(every_s)


@dataclass
class Sandbox:
    """A running cluster with Sentinel on it. Leaving the `with` block ends everything."""

    cluster: Cluster
    world: int
    watchdog: "subprocess.Popen[bytes]"
    env: dict[str, str] = field(default_factory=dict)
    slack_url: str = ""
    """The local server that speaks Slack's API."""
    http: httpx.Client = field(
        default_factory=lambda: httpx.Client(timeout=5.0, trust_env=False, verify=NO_TLS)
    )
    """Asks the controller and that server. One for all: making one takes 50 ms of a processor."""
    at_end: ExitStack = field(default_factory=ExitStack)
    """What a fault leaves to be undone before the cluster goes, such as a mount."""

    @classmethod
    def start(
        cls,
        *,
        nodes: int = 3,
        gpus_per_node: int = 2,
        world: int = 4,
        topology: Topology = "loopback",
        step_seconds: float = 0.1,
        slack: bool = True,
        nvml: bool = False,
        stand_in: bool = False,
        job: dict[str, Any] | None = None,
        policy: dict[str, Any] | None = None,
        racks: Mapping[str, str] | None = None,
    ) -> "Sandbox":
        """Bring up Ray, the watchdog and with it the controller, which starts agents and ranks."""
        try:
            cluster = Cluster.start(nodes, gpus_per_node, topology, nvml=nvml, stand_in=stand_in)
        except StandInError as error:
            raise SandboxError(f"{error}") from None
        slack_url = start_slack(cluster) if slack else ""
        (cluster.root / "job").mkdir(mode=0o700)  # as a volume of a cluster is there before its jobs
        tables = settings(cluster, write_trainer(cluster.root, step_seconds), world)
        tables["job"] |= job or {}
        tables["policy"] |= policy or {}
        if racks:
            tables["cluster"]["topology"] = str(write_racks(cluster.root, racks))
        tables["pages"] = slack_channels(slack_url, cluster.root) if slack else {}
        (cluster.root / "sentinel.toml").write_text(to_toml(tables))
        enrolment = Enrolment(ensure_keys(cluster.root / "state" / "keys"))
        for host in cluster.nodes:
            enrolment.enroll(NodeId(host.name))
        env = {
            **cluster.driver_env,
            "SENTINEL_FAILPOINT": str(cluster.root / "failpoint"),
            "SENTINEL_PAGES__SLACK_TOKEN": "",  # nobody's real one: the settings name a file
        }
        return cls(cluster, world, start_watchdog(cluster, env), env, slack_url)

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End everything that was started."""
        self.at_end.close()
        self.cluster.stop()
        self.watchdog.wait()
        self.http.close()

    def wait_for_training(self, within_s: float) -> None:
        """Return when the job steps. Raises SandboxError as soon as it is clear what keeps it from that."""

        def stepping() -> bool:
            self._check_starts()
            return len(self.steps()) > 1

        wait("training", within_s, stepping)

    def _check_starts(self) -> None:
        """Raise SandboxError when the watchdog has ended or its controllers keep ending."""
        log = self.cluster.root / "watchdog.log"
        if self.watchdog.poll() is not None:
            raise SandboxError(f"the watchdog ended: {last_words(log)}")
        if log.read_text(errors="replace").count("controller-ended") >= HOPELESS:
            raise SandboxError(
                f"the controller does not start: {last_words(self.state_dir / 'controller.log')}"
            )

    def write_command(self) -> Path:
        """Write a script that is `sentinel` on the head: its network, settings and token; returns its path.

        What that starts is the head's as all else, and ends with it.
        """
        head, script = self.cluster.head, self.cluster.root / "sentinel"
        given = [f"{name}={value}" for name, value in (head.env | self.env).items()]
        argv = [*head.enter, "env", *given, *private.MODULE, "sentinel.cli", "--config", str(self.config)]
        script.write_text(f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n')
        script.chmod(0o700)
        return script

    @property
    def config(self) -> Path:
        """The settings of its Sentinel, for commands by hand."""
        return self.cluster.root / "sentinel.toml"

    # --- looking at it ---------------------------------------------------------------------------------

    @property
    def state_dir(self) -> Path:
        """The controller's directory."""
        return self.cluster.root / "state"

    @property
    def url(self) -> str:
        """The controller's pages."""
        return f"http://{self.cluster.head.address}:{WEB_PORT}"

    @property
    def token(self) -> str:
        """Bearer token of the control API."""
        return Keys(self.state_dir / "keys").api_token

    @property
    def checkpoint_key(self) -> bytes:
        """With which the job seals its checkpoints."""
        return checkpoint_key(job_key(Keys(self.state_dir / "keys").snapshot_secret, JOB))

    def status(self) -> dict[str, Any] | None:
        """Ask the controller for its status; None while it does not answer."""
        try:
            answer = self.http.get(f"{self.url}/api/status", timeout=2.0)
            found: dict[str, Any] = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return None
        return found

    def job(self) -> dict[str, Any] | None:
        """Return the job's part of the status."""
        status = self.status()
        return status["jobs"][0] if status and status["jobs"] else None

    def command(self, name: str, **body: Any) -> str:
        """Give an operator's command."""
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = self.http.post(f"{self.url}/api/{name}", json=body, headers=headers)
        return answer.text

    def end_job(self) -> None:
        """Stop the ranks, if the controller answers: whoever computes next has the machine to itself."""
        with suppress(httpx.HTTPError):
            self.command("stop-job", target=JOB, who="demo", reason="what it trained is compared")

    def steps(self) -> list[dict[str, Any]]:
        """Return the trainer's own log: step, loss, generation and time of each completed step."""
        path = self.cluster.root / "job" / "losses.jsonl"
        return list(json_lines(path)) if path.exists() else []

    def skipped(self) -> list[int]:
        """Return the steps whose batch is left out, from the trainer's log: their loss is exactly 0."""
        return sorted({line["step"] for line in self.steps() if float.fromhex(line["loss"]) == 0.0})

    def host_of(self, node: str) -> Host:
        """Return the host of a node."""
        return self.cluster.host(node)

    def ready(self) -> bool:
        """Tell whether training is under way with every standby warm and every node usable."""
        status = self.status()
        job = status["jobs"][0] if status and status["jobs"] else None
        if status is None or job is None or job["stage"] != "running" or len(job["seats"]) != self.world:
            return False
        seated = {seat["node"] for seat in job["seats"]}
        nodes = [node for node in status["nodes"] if not node["cordon"] and not node["silent"]]
        want = sum(1 if node["node"] in seated else min(node["gpus"], self.world) for node in nodes)
        return len(job["standbys"]) >= want and len(nodes) == len(self.cluster.nodes)


def write_trainer(root: Path, step_seconds: float) -> Path:
    """Write the bundled trainer's own settings; returns their path."""
    path = root / "trainer.json"
    path.write_text(json.dumps({"data": str(root / "data"), "step_seconds": step_seconds}))
    return path


def settings(cluster: Cluster, trainer: Path, world: int) -> dict[str, dict[str, Any]]:
    """Give the tables of `sentinel.toml`, without pages; its guards allow one fault after another."""
    root, model = cluster.root, TrainerSettings("")
    return {
        "cluster": {
            "name": cluster.name,
            "state_dir": str(root / "state"),
            "bind": cluster.head.address,
            "report_port": REPORT_PORT,
            "web_port": WEB_PORT,
        },
        "ray": {"address": cluster.address},
        "job": {
            "name": JOB,
            "world": world,
            "trainer_config": str(trainer),
            "checkpoint_dir": str(root / "job"),
            "checkpoint_every": 50,
            "backend": "gloo",
            "tokens_per_step": world * model.batch * model.sequence,
        },
        "policy": {"evict_share": 0.5, "evictions_per_hour": 100, "settled_s": 1.0},
    }


def write_racks(root: Path, racks: Mapping[str, str]) -> Path:
    """Write the topology file of nodes in racks; returns its path."""
    path = root / "topology.toml"
    path.write_text("".join(f'"{node}" = {{ rack = "{rack}" }}\n' for node, rack in racks.items()))
    return path


def slack_channels(slack_url: str, root: Path) -> dict[str, Any]:
    """Give the settings of pages to the local Slack server; whoever has them pages as the controller does."""
    token = root / "slack.token"
    token.write_text("xoxb-demo\n")
    return {
        "slack_token_file": str(token),
        "channel": ON_CALL,
        "fallback_channel": BACKUP,
        "base_url": f"{slack_url}/api/",
        "fallback_after_s": FALLBACK_AFTER_S,
    }


def start_watchdog(cluster: Cluster, env: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start the watchdog on the head, and with it the controller."""
    root = cluster.root
    argv = [sys.executable, "-m", "sentinel.runtime.watchdog", "--config", str(root / "sentinel.toml")]
    with (root / "watchdog.log").open("ab") as out:
        return cluster.head.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def start_slack(cluster: Cluster) -> str:
    """Start the local Slack server on the head; returns its address."""
    argv = [sys.executable, "-u", "-m", "sentinel.demo.slack_server", "--address", cluster.head.address]
    server = cluster.head.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert server.stdout is not None
    port = int(server.stdout.readline().split()[-1])
    return f"http://{cluster.head.address}:{port}"


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read whole JSON lines; a last one that is still being written is left out."""
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)


def to_toml(tables: dict[str, dict[str, Any]]) -> str:
    """Write plain tables of strings, numbers and booleans; JSON's scalars are TOML's."""
    parts = []
    for name, table in tables.items():
        lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        parts.append("\n".join([f"[{name}]", *lines]))
    return "\n\n".join(parts) + "\n"
