"""`sentinel demo --steady`: a cluster that trains until Ctrl-C, and what a person can break in it."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import psutil
from rich.console import Console
from rich.table import Table

from sentinel.demo import monitoring
from sentinel.demo.fault import records
from sentinel.demo.sandbox import FRESH_S, Sandbox, wait
from sentinel.model.policy import Policy

Process: TypeAlias = tuple[str, int, str]
"""Host, pid and role."""
LOOK_EVERY_S = 2.0
ROLES = ("runtime.watchdog", "runtime.controller", "ray.link_process", "runtime.agent", "runtime.prober")


def keep_running(console: Console, options: dict[str, Any], *, monitored: bool = False) -> int:
    """List every process and file, and list them anew whenever a process took another one's place."""
    console.print(
        f"starting a head, {options['nodes']} nodes and {options['world']} ranks on this machine; they train "
        "until Ctrl-C, so that you can break things by hand. "
        "Processes are listed when all are there, in a minute or so"
    )
    by_hand: dict[str, Any] = {"policy": {"settled_s": Policy().settled_s}}  # the short one is the judge's
    with Sandbox.start(**options, **by_hand) as sandbox:
        _where(console, sandbox)
        if monitored:
            _monitor(console, sandbox)
        sandbox.wait_for_training(FRESH_S)
        wait("standbys", FRESH_S, sandbox.ready)
        shown: list[Process] = []
        last: list[Process] = []
        while True:
            last, before = _processes(sandbox), last
            if last and last == before != shown:  # those that only come or go are not worth a list
                shown = last
                _describe(console, sandbox, shown)
            time.sleep(LOOK_EVERY_S)


def _where(console: Console, sandbox: Sandbox) -> None:
    """Say where its pages, its settings and its Slack are."""
    console.print(f"pages:    {sandbox.url}/ (logbook: {sandbox.url}/logbook)")
    command = sandbox.write_command()
    console.print(f"commands: {command} status", soft_wrap=True)
    console.print(f"          {command} page-test", soft_wrap=True)
    console.print(f"          {command} up --apply (settings: {sandbox.config})", soft_wrap=True)
    console.print(f"Slack:    {sandbox.slack_url}/messages, what arrived at the local server", soft_wrap=True)


def _monitor(console: Console, sandbox: Sandbox) -> None:
    """Start Prometheus and Alertmanager on the head, and say where they are."""
    found = monitoring.start(sandbox.cluster.head, sandbox.url.removeprefix("http://"))
    console.print(f"Prometheus:   {found.prometheus}/targets and {found.prometheus}/alerts", soft_wrap=True)
    console.print(f"Alertmanager: {found.alertmanager}/#/alerts", soft_wrap=True)


def _workers(sandbox: Sandbox) -> dict[int, str] | None:
    """Give the pid of each worker and its rank, as the controller seats them; None while it is away."""
    job = sandbox.job()
    if job is None:
        return None
    seats = {seat["worker"]: f"rank {seat['rank']}" for seat in job["seats"]}
    return {record.pid: seats.get(record.worker, "standby") for record in records(sandbox)}


def _processes(sandbox: Sandbox) -> list[Process]:
    """Give whoever has a part, by host; nobody while the controller is away, who knows who is which rank."""
    if (workers := _workers(sandbox)) is None:
        return []
    found = []
    for host in sandbox.cluster.hosts:
        for process in host.processes():
            with suppress(psutil.NoSuchProcess):  # it ended meanwhile
                if role := workers.get(process.pid) or _role(" ".join(process.cmdline())):
                    found.append((host.name, process.pid, role))
    return sorted(found)


def _describe(console: Console, sandbox: Sandbox, processes: Sequence[Process]) -> None:
    console.print(
        f"{sandbox.url}/ (logbook: {sandbox.url}/logbook), at {time.strftime('%H:%M:%S')}", soft_wrap=True
    )
    table = Table()
    for name in ("node", "pid", "role"):
        table.add_column(name)
    for host, pid, role in processes:
        table.add_row(host, str(pid), role)
    console.print(table)
    for node in sandbox.cluster.nodes:
        console.print(
            f"{node.name}: simulated GPUs {node.device_file}, kernel log {node.kernel_log}; Ray anew: "
            f"sh {sandbox.cluster.write_start(node)}",
            soft_wrap=True,
        )
    console.print("break something; whoever takes its place is listed again. Ctrl-C ends it all")


def _role(command: str) -> str:
    """Name a process's part; empty for what has none, such as what a person started there."""
    for role in ROLES:
        if role in command:
            return role.rpartition(".")[2]
    for word, role in (("gcs_server", "Ray GCS"), ("raylet", "raylet")):
        if word in command:
            return role
    return ""
