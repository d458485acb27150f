"""`sentinel demo --watched`: a job that torchrun starts, broken four times, and what Sentinel makes of it."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sentinel.adapters.enrolment import Enrolment
from sentinel.adapters.keys import ensure_keys
from sentinel.console import console
from sentinel.demo import torchrun
from sentinel.demo.fault import Victim, edit_gpu, heal_gpus, kill, ranks
from sentinel.demo.observe import rows
from sentinel.demo.ray_cluster import Cluster
from sentinel.demo.sandbox import REPORT_PORT, Sandbox, settings, start_watchdog, to_toml, wait
from sentinel.model.ids import NodeId, Seconds

NODES, WORLD, STEP_S = 4, 3, 0.1
SPEED = 0.2
PAST_S: Seconds = 3.0
TRAINS_S: Seconds = 90.0
SEEN_S: Seconds = 60.0


@dataclass(frozen=True, slots=True)
class Broken:
    """What is done to a rank, and what must come of it."""

    name: str
    cause: str
    act: Callable[[Sandbox, Victim], None]
    trains: bool = False
    """Training goes on: people are asked to end it when it suits, and then its ranks leave the node."""
    leaves: bool = False
    """The node is evicted."""


def _stop(_sandbox: Sandbox, victim: Victim) -> None:
    kill(victim, signal.SIGSTOP)


def _kill(_sandbox: Sandbox, victim: Victim) -> None:
    kill(victim)


def _slow(sandbox: Sandbox, victim: Victim) -> None:
    edit_gpu(sandbox, victim.node, victim.gpu, speed=SPEED)


def _lose(sandbox: Sandbox, victim: Victim) -> None:
    edit_gpu(sandbox, victim.node, victim.gpu, present=False)


FAULTS = (
    Broken("killed", "rank-crash", _kill),
    Broken("stopped", "rank-hang", _stop),
    Broken("slowed", "straggler", _slow, trains=True, leaves=True),
    Broken("gpu-lost", "gpu-lost", _lose, leaves=True),
)


@contextmanager
def sandbox(*, restarts: bool = True, policy: dict[str, Any] | None = None) -> Iterator[Sandbox]:
    """Start a controller and agents without Ray, and a job by torchrun; end everything on leaving."""
    cluster = Cluster.without_ray(NODES, 1)
    try:
        plan = {"cluster": cluster.name, "world": WORLD, "step_s": STEP_S}
        plan["nodes"] = {host.name: host.address for host in cluster.nodes}
        (cluster.root / torchrun.PLAN).write_text(json.dumps(plan))
        tables = settings(cluster, cluster.root / "trainer.json", 0)
        command = f"{sys.executable} -m sentinel.demo.torchrun {cluster.root}"
        tables["ray"] = {}
        tables["job"] = {"name": torchrun.JOB, "world": 0, "restart_command": command if restarts else ""}
        tables["policy"] |= policy or {}
        (cluster.root / "sentinel.toml").write_text(to_toml(tables))
        enrolment = Enrolment(ensure_keys(cluster.root / "state" / "keys"))
        for host in cluster.nodes:
            enrolment.enroll(NodeId(host.name))
        found = Sandbox(cluster, WORLD, start_watchdog(cluster, {}))
        _start_agents(found)
        torchrun.launch(cluster.root)
        wait("the job is seen, and trains", TRAINS_S, lambda: _trains(found, 0))
        yield found
        found.watchdog.terminate()
    finally:
        cluster.stop()


def _start_agents(sandbox: Sandbox) -> None:
    controller = f"tcp://{sandbox.cluster.head.address}:{REPORT_PORT}"
    argv = [sys.executable, "-m", "sentinel.runtime.agent", "--controller", controller]
    argv += ["--keys", str(sandbox.state_dir / "keys")]
    for host in sandbox.cluster.nodes:
        with (host.root / "agent.log").open("ab") as out:
            host.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def _trains(sandbox: Sandbox, generation: int) -> bool:
    job = sandbox.job()
    running = job is not None and job["stage"] == "running" and job["generation"] > generation
    return running and min(seat["step"] for seat in job["seats"]) >= 0  # type: ignore[index]


def break_it(sandbox: Sandbox, fault: Broken, rank: int) -> list[str]:
    """Do it, and say what is wrong with what came of it."""
    job, known = sandbox.job(), {row["incident"] for row in rows(sandbox)}
    assert job is not None
    victim = ranks(sandbox)[rank]
    fault.act(sandbox, victim)
    new = wait(fault.name, SEEN_S, lambda: [row for row in rows(sandbox) if row["incident"] not in known])
    if fault.trains:
        wait("people are asked", SEEN_S, lambda: _left(sandbox))
        torchrun.end(sandbox.cluster.root)
    wait("it trains again", TRAINS_S, lambda: _trains(sandbox, job["generation"]))
    return list(_wrong(sandbox, fault, victim, new))


def _left(sandbox: Sandbox) -> list[str]:
    status = sandbox.status()
    return [line for line in status["left"] if "resume" in line] if status else []


def _wrong(sandbox: Sandbox, fault: Broken, victim: Victim, new: list[dict[str, Any]]) -> Iterator[str]:
    row = next(row for row in rows(sandbox) if row["incident"] == new[-1]["incident"])
    if row["cause"] != fault.cause:
        yield f"the cause is {row['cause']}, and not {fault.cause}"
    if victim.node not in row["where"]:
        yield f"{row['where'] or 'nobody'} is blamed, and not {victim.node}"
    if f"rank {victim.rank}" not in row["where"]:
        yield f"{row['where'] or 'nobody'} is blamed, and not rank {victim.rank}"
    status, job = sandbox.status(), sandbox.job()
    assert status is not None
    assert job is not None
    cordoned = {node["node"] for node in status["nodes"] if node["cordon"]}
    if fault.leaves and cordoned != {victim.node}:
        yield f"{', '.join(sorted(cordoned)) or 'no node'} is evicted, and not {victim.node}"
    if fault.leaves and victim.node in {seat["node"] for seat in job["seats"]}:
        yield f"a rank sits on {victim.node}, which was to be avoided"


def main() -> int:
    """Break it four times; 0 only if everything came out as it must."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    show, began, failed = console(stderr=False, highlight=False), time.monotonic(), 0
    show.print(
        f"starting agents on {NODES} nodes, and a torchrun job with {WORLD} ranks that knows none of it"
    )
    with sandbox() as found:
        show.print(f"{time.monotonic() - began:6.1f} s  {found.url}/: the job is watched")
        for number, fault in enumerate(FAULTS):
            wrong = break_it(found, fault, number % WORLD)
            failed += bool(wrong)
            show.print(f"{time.monotonic() - began:6.1f} s  {fault.name}: {'; '.join(wrong) or 'as it must'}")
            _repair(found)
    return 1 if failed else 0


def _repair(sandbox: Sandbox) -> None:
    for host in sandbox.cluster.nodes:
        heal_gpus(sandbox, host.name)
        sandbox.command("undrain", target=host.name, who="demo", reason="repaired")
    wait("it has kept its pace for a while", SEEN_S, lambda: all(map(_is_past, rows(sandbox))), 0.2)


def _is_past(row: dict[str, Any]) -> bool:
    """Say whether what breaks next is another incident; this one may stay open while the machine is busy."""
    stepped: float = row["opened"] + row["times"].get("new_step", 1e9)
    return time.time() - stepped > PAST_S
