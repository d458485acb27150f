"""Ray's raylet on one node is killed: its ranks go elsewhere, and the node is used again once Ray is back."""

import contextlib
import random
import time

import psutil

from sentinel.demo.fault import NODE, Expected, Injection, Place, Simple, ranks
from sentinel.demo.hosts import Host
from sentinel.demo.sandbox import Sandbox, wait

RAYLET = "raylet"
BACK_S = 150.0
"""For Ray to start on the node, and for standbys to be warm there."""


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """SIGKILL the raylet of one node with a rank."""
    victims = ranks(sandbox)
    node = chance.choice(victims).node
    raylet = _raylet(sandbox.host_of(node))
    time.sleep(chance.uniform(0.0, 0.3))
    at = time.time()
    raylet.kill()
    dead = tuple(victim.pid for victim in victims if victim.node == node)
    return Injection(at, Place(node), dead=dead, verify=lambda: _comes_back(sandbox, node))


def _raylet(host: Host) -> psutil.Process:
    for process in host.processes():
        with contextlib.suppress(psutil.Error):
            if process.name() == RAYLET:
                return process
    raise AssertionError(f"no raylet runs on {host.name}")


def _comes_back(sandbox: Sandbox, node: str) -> list[str]:
    """Say what is not so: nothing is placed there and people are told, until Ray is started again."""
    status, job = sandbox.status() or {}, sandbox.job() or {}
    said = [line for line in status.get("left", ()) if node in line]
    there = [seat["rank"] for seat in job.get("seats", ()) if seat["node"] == node]
    wrong = [] if said else [f"nobody is told that nothing is placed on {node}"]
    wrong += [f"rank {rank} sits on {node}" for rank in there]
    sandbox.cluster.start_ray(node)
    wait(f"standbys of {node} are warm again", BACK_S, sandbox.ready, 0.2)
    return wrong


FAULT = Simple("raylet-dead", Expected(frozenset({"raylet-dead"}), names=NODE), inject)
