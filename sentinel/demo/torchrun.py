"""The launcher of the watched demo, also its restart command: one torchrun on each node that may be used."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from sentinel.demo.hosts import Host

JOB = "torchrun"
CHECKPOINT, STEP_S = "DEMO_CHECKPOINT", "DEMO_STEP_S"
PLAN = "torchrun.json"
GRACE_S = 2.0
"""Who was asked to end has so long."""
OURS = ("torch.distributed.run", "sentinel.demo.torchrun_script")


def launch(root: Path, avoid: frozenset[str] = frozenset()) -> None:
    """End what is left of the job, and start it on nodes that are not to be avoided. Raises SystemExit."""
    plan, hosts = _read(root)
    end(root)
    chosen = [host for host in hosts if host.name not in avoid][: plan["world"]]
    if len(chosen) < plan["world"]:
        sys.exit(f"{plan['world']} nodes are needed, and only {len(chosen)} may be used")
    port = _free_port(chosen[0].address)
    for number, host in enumerate(chosen):
        _start(host, root, ["--node-rank", str(number), "--master-port", str(port)], chosen, plan["step_s"])


def end(root: Path) -> None:
    """End launchers and ranks as a scheduler does: ask them, and kill who stays."""
    found = [process for host in _read(root)[1] for process in host.processes() if _is_ours(process)]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        _, found = psutil.wait_procs(found, timeout=GRACE_S)


def _read(root: Path) -> tuple[dict[str, Any], list[Host]]:
    plan = json.loads((root / PLAN).read_text())
    return plan, [
        Host(name, address, root / name, plan["cluster"]) for name, address in plan["nodes"].items()
    ]


def _start(host: Host, root: Path, place: list[str], chosen: list[Host], step_s: float) -> None:
    argv = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(len(chosen)), *place]
    argv += [
        "--nproc-per-node",
        "1",
        "--master-addr",
        chosen[0].address,
        "--log-dir",  # else it leaves a folder in /tmp with each start
        str(host.root / "torchrun"),
        "--module",
        "sentinel.demo.torchrun_script",
    ]
    env = {
        "SENTINEL_JOB": JOB,
        "GLOO_SOCKET_IFNAME": "lo",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        CHECKPOINT: str(root / "checkpoint"),
        STEP_S: str(step_s),
    }
    with (host.root / "torchrun.log").open("ab") as out:
        host.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def _is_ours(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(name in process.cmdline() for name in OURS)
    return False


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    launch(Path(sys.argv[1]), frozenset(filter(None, os.environ.get("SENTINEL_AVOID", "").split(","))))
