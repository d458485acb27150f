"""A node's link goes down, and comes up again before or after Ray has given the node up (65 s)."""

import random
import time

import psutil

from sentinel.demo.fault import NODE, Expected, Injection, Place, Simple, needs_network, ranks
from sentinel.demo.hosts import Host
from sentinel.demo.sandbox import Sandbox, SandboxError, wait

RAY_WAITS_S = 65.0
"""How long a node may be cut off until Ray declares it dead (measured); its raylet then ends itself."""
HEALS_AFTER_S = (25.0, 75.0)
"""Before and after that; the ranks' lease (10 s) lapses before either."""
STOPS_WITHIN_S = 15.0
COMES_BACK_S = 12.0
"""How long to look for anything of the old generation after the link is up."""


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Take the link of one node with a rank down at the bridge."""
    network = sandbox.cluster.network
    assert network is not None
    victims = ranks(sandbox)
    host = sandbox.host_of(chance.choice(victims).node)
    mine = [psutil.Process(victim.pid) for victim in victims if victim.node == host.name]
    heals_after = chance.choice(HEALS_AFTER_S)
    time.sleep(chance.uniform(0.0, 0.3))
    at = time.time()
    network.cut(host.name)

    def verify() -> list[str]:
        wrong = _stops_itself(host, mine)
        time.sleep(max(0.0, at + heals_after - time.time()))
        network.heal(host.name)
        return wrong + _stays_away(sandbox, host)

    dead = tuple(process.pid for process in mine)
    given_up = heals_after > RAY_WAITS_S
    return Injection(
        at, Place(host.name), lambda: _restart(sandbox, host) if given_up else None, dead=dead, verify=verify
    )


def _stops_itself(host: Host, mine: list[psutil.Process]) -> list[str]:
    """Look on the cut node itself: its ranks must end while nobody can tell them to."""
    try:
        wait("ranks end", STOPS_WITHIN_S, lambda: not any(map(_lives, mine)))
    except SandboxError:
        return [f"{host.name} was cut off and its rank {p.pid} still runs" for p in mine if _lives(p)]
    return []


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _stays_away(sandbox: Sandbox, host: Host) -> list[str]:
    """With the link up again, nothing may work on the node, and nobody may be disturbed by it."""
    generation = sandbox.steps()[-1]["g"]
    wait("workers of before the cut end", COMES_BACK_S, lambda: not _workers(host), 0.2)
    first = sandbox.steps()[-1]["step"]
    wait("training goes on", COMES_BACK_S, lambda: sandbox.steps()[-1]["step"] > first + 5)
    late = sandbox.steps()[-1]["g"] - generation
    return [f"{late} more generations after {host.name} came back"] if late else []


def _workers(host: Host) -> list[int]:
    return [p.pid for p in host.processes() if "RankActor" in " ".join(_command(p))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _restart(sandbox: Sandbox, host: Host) -> None:
    """Start a node anew that Ray had given up, once its raylet has heard of that and ended."""
    wait("the raylet ends", COMES_BACK_S, lambda: not _raylets(host), 0.2)
    sandbox.cluster.restart_node(host.name)


def _raylets(host: Host) -> list[int]:
    return [p.pid for p in host.processes() if "raylet" in " ".join(_command(p)[:1])]


FAULT = Simple(
    "node-cut",
    Expected(frozenset({"node-cut"}), evicts=True, names=NODE),
    inject,
    needs_network,
)
