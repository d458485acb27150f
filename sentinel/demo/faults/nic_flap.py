"""A node's link goes down and up again and again: for moments, which is nothing, then for longer."""

import random
import threading
import time

from sentinel.demo.fault import NODE, Expected, Injection, Place, Simple, needs_network, pick
from sentinel.demo.network import Network
from sentinel.demo.observe import rows
from sentinel.demo.sandbox import Sandbox, SandboxError, wait

BLIPS, BLIP_S, BETWEEN_S = 3, 0.4, 2.0
"""TCP sends again after 0.2 s and 0.6 s: a drop of less costs the job no step."""
FLAPS, DOWN_S, UP_S = 4, 6.0, 4.0
"""A drop that is seen, and ends before the ranks' lease does (10 s): they run still when the link is back."""
GOES_ON = 10


def blips(sandbox: Sandbox, chance: random.Random) -> None:
    """Take the link of another node down for moments, of which nobody is told."""
    network, before = _network(sandbox), len(rows(sandbox))
    node = pick(sandbox, chance).node
    for _ in range(BLIPS):
        _drop(network, node, BLIP_S, BETWEEN_S)
    step = sandbox.steps()[-1]["step"]
    wait("training goes on", 30.0, lambda: sandbox.steps()[-1]["step"] > step + GOES_ON)
    if len(rows(sandbox)) > before:
        raise SandboxError(f"the link of {node} was away for {BLIP_S} s, and that was told as an incident")


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Let the link of one node with a rank go down and up, several times."""
    network, node = _network(sandbox), pick(sandbox, chance).node
    at = time.time()
    network.cut(node)
    flapping = threading.Thread(target=_flap, args=(network, node), daemon=True)
    flapping.start()

    def verify() -> list[str]:
        flapping.join()
        generation, step = (sandbox.steps()[-1][key] for key in ("g", "step"))
        wait("training goes on", 30.0, lambda: sandbox.steps()[-1]["step"] > step + GOES_ON)
        late = sandbox.steps()[-1]["g"] - generation
        return [f"{late} more generations after the link of {node} had settled"] if late else []

    return Injection(at, Place(node), halts=True, verify=verify)


def _flap(network: Network, node: str) -> None:
    """Go on with a link that is down."""
    time.sleep(DOWN_S)
    network.heal(node)
    for _ in range(FLAPS - 1):
        time.sleep(UP_S)
        network.cut(node)
        time.sleep(DOWN_S)
        network.heal(node)


def _drop(network: Network, node: str, down_s: float, up_s: float) -> None:
    network.cut(node)
    time.sleep(down_s)
    network.heal(node)
    time.sleep(up_s)


def _network(sandbox: Sandbox) -> Network:
    assert sandbox.cluster.network is not None
    return sandbox.cluster.network


FAULT = Simple(
    "nic-flap", Expected(frozenset({"node-cut"}), evicts=True, names=NODE), inject, needs_network, first=blips
)
