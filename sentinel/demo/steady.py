"""`sentinel demo --steady`: a cluster that trains until Ctrl-C, and what a person can break in it."""

import time
from contextlib import suppress
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from sentinel.demo.fault import records
from sentinel.demo.sandbox import FRESH_S, Sandbox, wait

LOOK_EVERY_S = 2.0
ROLES = ("runtime.watchdog", "runtime.controller", "ray.link_process", "runtime.agent", "runtime.prober")


def keep_running(console: Console, options: dict[str, Any]) -> int:
    """List every process and file, and list them anew whenever a process took another one's place."""
    console.print(
        f"starting a head, {options['nodes']} nodes and {options['world']} ranks on this machine; they train "
        "until Ctrl-C, so that you can break things by hand. Processes are listed in about half a minute"
    )
    with Sandbox.start(**options) as sandbox:
        _where(console, sandbox)
        sandbox.wait_for_training(FRESH_S)
        wait("standbys", FRESH_S, sandbox.ready)
        shown: dict[int, str] = {}
        while True:
            present = _workers(sandbox)
            if present and present != shown and sandbox.ready():
                shown = present
                _describe(console, sandbox, shown)
            time.sleep(LOOK_EVERY_S)


def _where(console: Console, sandbox: Sandbox) -> None:
    """Say where its pages, its settings and its Slack are."""
    console.print(f"pages:    {sandbox.url}/ (logbook: {sandbox.url}/logbook)")
    console.print(f"commands: sentinel --config {sandbox.config} status", soft_wrap=True)
    console.print(f"Slack:    {sandbox.slack_url}/messages, what arrived at the local server", soft_wrap=True)


def _workers(sandbox: Sandbox) -> dict[int, str]:
    """Give the pid of each worker and its rank, as the controller seats them; empty while it is away."""
    job = sandbox.job()
    if job is None:
        return {}
    seats = {seat["worker"]: f"rank {seat['rank']}" for seat in job["seats"]}
    return {record.pid: seats.get(record.worker, "standby") for record in records(sandbox)}


def _describe(console: Console, sandbox: Sandbox, workers: dict[int, str]) -> None:
    table = Table(title=f"{sandbox.url}/  (logbook: {sandbox.url}/logbook), at {time.strftime('%H:%M:%S')}")
    for name in ("node", "pid", "role"):
        table.add_column(name)
    for host in sandbox.cluster.hosts:
        for process in host.processes():
            with suppress(psutil.NoSuchProcess):  # it ended meanwhile
                role = workers.get(process.pid) or _role(" ".join(process.cmdline()))
                table.add_row(host.name, str(process.pid), role)
    console.print(table)
    for host in sandbox.cluster.nodes:
        console.print(f"{host.name}: simulated GPUs {host.device_file}, kernel log {host.kernel_log}")
    console.print("break something; whoever takes its place is listed again. Ctrl-C ends it all")


def _role(command: str) -> str:
    for role in ROLES:
        if role in command:
            return role.rpartition(".")[2]
    for word, role in (("gcs_server", "Ray GCS"), ("raylet", "raylet")):
        if word in command:
            return role
    return command[:60]
