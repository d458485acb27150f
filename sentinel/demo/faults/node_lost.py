"""A node reboots: all its processes vanish at once, and its memory with them."""

import contextlib
import random
import shutil
import time

import psutil

from sentinel.demo.fault import NODE, Expected, Injection, Place, Simple, ranks
from sentinel.demo.sandbox import Sandbox


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """SIGKILL everything on one node with a rank."""
    victims = ranks(sandbox)
    node = chance.choice(victims).node
    host = sandbox.host_of(node)
    doomed = host.processes()
    time.sleep(chance.uniform(0.0, 0.3))
    at = time.time()
    for process in doomed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    shutil.rmtree(host.memory, ignore_errors=True)
    dead = tuple(victim.pid for victim in victims if victim.node == node)
    return Injection(at, Place(node), lambda: sandbox.cluster.restart_node(node), dead=dead)


FAULT = Simple("node-lost", Expected(frozenset({"node-lost"}), evicts=True, names=NODE), inject)
