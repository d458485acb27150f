"""What an agent is started with: command line first, environment second."""

import argparse
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sentinel.model.ids import MOST_LABELS, NodeId, Seconds, label, node_name

CLUSTER = "sentinel-"
"""How the folder of a cluster's nodes begins, before its name."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """One agent's settings."""

    controller: str
    """`tcp://host:port`"""
    keys: Path
    join_token: str
    """Shown by an agent that has no key yet; empty for none."""
    node: NodeId
    memory: Path
    """The node's memory directory: heartbeat records, errors, lease, snapshots."""
    gpus: str
    """`nvml`, `simulated:FILE` or `none`"""
    kernel_log: str
    """A file, `/dev/kmsg` or `none`"""
    expected_gpus: int | None
    disks: tuple[str, ...]
    address: str
    metrics_port: int
    """0 lets the kernel choose, -1 serves no metrics."""
    report_every: Seconds
    labels: Mapping[str, str]
    """Where the node sits and what it runs: kind of domain → name."""
    backend: str
    """Whose process on the node is watched, as `cluster.backend` names it."""
    take_over: bool
    """End the agent that watches the node already: it is not heard."""
    xid_fatal: frozenset[int] = frozenset()
    """Xids that the setting `checks.xid_fatal` calls fatal."""
    xid_ignored: frozenset[int] = frozenset()
    nvidia_smi: str = ""
    """What is run in the place of `nvidia-smi`; empty for that itself, or for none if GPUs are simulated."""

    @property
    def kept(self) -> str:
        """Folder in which checks keep what has to outlive their prober."""
        return str(self.memory / "checks")

    @property
    def cluster(self) -> str:
        """Whose node it is, as its memory directory says; empty where that is named otherwise."""
        folder = self.memory.parent.name
        return folder.removeprefix(CLUSTER) if folder.startswith(CLUSTER) else ""


def parse(arguments: Sequence[str] | None = None) -> AgentSettings:
    """Read the command line; a wrong one ends the process with one line and exit code 2."""
    given = _parser().parse_args(arguments)
    return AgentSettings(
        controller=given.controller,
        keys=given.keys,
        join_token=os.environ.get("SENTINEL_JOIN_TOKEN", ""),
        node=given.node,
        memory=given.memory,
        gpus=given.gpus,
        kernel_log=given.kernel_log,
        expected_gpus=given.expected_gpus,
        disks=(*(given.disk or ("/",)), str(given.memory)),
        address=given.address,
        metrics_port=given.metrics_port,
        report_every=given.report_every,
        labels=given.labels,
        backend=given.backend,
        take_over=given.take_over,
        xid_fatal=given.xid_fatal,
        xid_ignored=given.xid_ignored,
        nvidia_smi=os.environ.get("SENTINEL_NVIDIA_SMI", ""),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sentinel-agent", description="Watch one node and report.")
    node = os.environ.get("SENTINEL_NODE") or socket.gethostname()
    add = parser.add_argument
    add("--controller", required=True, type=_endpoint, help="tcp://host:port of the controller")
    add(
        "--keys", required=True, type=Path, help="directory with controller.pub, snapshot.key, nodes/NODE.key"
    )
    add("--node", type=_node, default=node, help="stable name of this machine; its Ray node has the same")
    memory = Path(os.environ.get("SENTINEL_MEMORY") or f"/dev/shm/sentinel/{node}")  # noqa: S108
    add("--memory", type=Path, default=memory, help="heartbeat records and snapshots; the ranks see the same")
    gpus, kernel_log = os.environ.get("SENTINEL_GPUS"), os.environ.get("SENTINEL_KERNEL_LOG")
    add("--gpus", type=_gpus, default=gpus or "nvml", help="nvml, none or simulated:FILE")
    add("--kernel-log", default=kernel_log or "/dev/kmsg", help="a file, /dev/kmsg or none")
    add("--expected-gpus", type=int, help="how many GPUs this node should have")
    add(
        "--disk",
        action="append",
        help="a path or an object store's URL that is watched; may be repeated",
    )
    address = os.environ.get("SENTINEL_ADDRESS") or "127.0.0.1"
    add("--address", default=address, help="of this node; others reach its snapshots and metrics there")
    add("--metrics-port", type=int, default=0, help="0: the kernel chooses, see agent.json; -1: none")
    add("--report-every", type=float, default=0.25, help="seconds between reports")
    labels = os.environ.get("SENTINEL_LABELS", "")
    add("--labels", type=_labels, default=labels, help="where it sits, such as rack=r12,feed=A,image=2026.11")
    add("--backend", default="ray", help="what places work on the node, as the setting cluster.backend")
    add("--take-over", action="store_true", help="end the agent that holds the node's lock, for it hangs")
    add("--xid-fatal", type=_codes, default="", help="Xids that evict a node here, such as 31,43")
    add("--xid-ignored", type=_codes, default="", help="Xids that are nothing here")
    return parser


def _codes(text: str) -> frozenset[int]:
    if re.fullmatch(r"(\d{1,3}(,\d{1,3})*)?", text):
        return frozenset(int(code) for code in text.split(",") if code)
    raise argparse.ArgumentTypeError(f"{text!r:.80}: expected numbers of Xids such as 31,43")


def _endpoint(text: str) -> str:
    if re.fullmatch(r"tcp://[^\s/:]+:\d{1,5}", text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not tcp://host:port")


def _node(text: str) -> NodeId:
    try:
        return node_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _labels(text: str) -> dict[str, str]:
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    try:
        labels = dict(label(kind, name) for kind, _, name in pairs)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; expected such as rack=r12,feed=A") from None
    if len(labels) < len(pairs) or len(labels) > MOST_LABELS:
        raise argparse.ArgumentTypeError(f"{text!r:.80}: expected each kind once, {MOST_LABELS} at most")
    return labels


def _gpus(text: str) -> str:
    if text in ("nvml", "none") or text.startswith("simulated:"):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is none of nvml, none, simulated:FILE")
