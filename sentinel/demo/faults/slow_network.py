"""One node's link is throttled to 3 Mbit/s, with a queue of 300 ms, and well again once people know of it."""

import random
import time

from sentinel.demo.fault import NODE, Expected, Injection, Place, Simple, needs_network, pick
from sentinel.demo.sandbox import Sandbox, wait
from sentinel.model.policy import Policy

MEGABITS, QUEUE_MS = 3.0, 300.0
PACE_S = 4.0
"""A third of the default: so much of the job's usual pace has to be seen before, three times over."""
STEPS = 200
MOVED, LOST = 3, 4
"""A generation that forms over such a link may come to nothing, and its ranks end themselves."""


def usual_pace(sandbox: Sandbox, _chance: random.Random) -> None:
    """Train until it is known how long a step takes."""
    wait("a usual pace", 120.0, lambda: sandbox.steps()[-1]["step"] > STEPS)


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Throttle the link of one node with a rank, until it is paged."""
    network = sandbox.cluster.network
    assert network is not None
    node = pick(sandbox, chance).node
    at = time.time()
    network.slow(node, MEGABITS, QUEUE_MS)
    return Injection(at, Place(node), passes=lambda: network.slow(node, 0))


FAULT = Simple(
    "slow-network",
    Expected(frozenset({"link-slow"}), names=NODE, moved=MOVED, steps_lost=LOST, within_s=180.0),
    inject,
    needs_network,
    sandbox={"policy": {"slow_pace_s": PACE_S, "settled_s": Policy().settled_s}},
    first=usual_pace,
)
