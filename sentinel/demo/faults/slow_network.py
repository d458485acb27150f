"""A node's link, the way between two, or that out of a rack, at 3 Mbit/s until people know of it."""

import random
import time

from sentinel.demo.fault import NOBODY, NODE, Expected, Injection, Place, Simple, needs_network, pick, ranks
from sentinel.demo.observe import rows
from sentinel.demo.sandbox import Sandbox, wait
from sentinel.model.policy import Policy

MEGABITS, QUEUE_MS = 3.0, 300.0
"""A queue that long makes each way slow, and loses little."""
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


def inject_between(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Throttle what the nodes of two ranks send each other, until it is paged."""
    network = sandbox.cluster.network
    assert network is not None
    one, other = chance.sample(sorted({rank.node for rank in ranks(sandbox)}), 2)
    at = time.time()
    network.slow_between([one], [other], MEGABITS, QUEUE_MS)
    return Injection(
        at, Place(one), passes=lambda: network.slow_between([one], [other], 0), other_end=Place(other)
    )


def inject_rack(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Throttle what the nodes of a rack and all others send each other, until it is paged."""
    network = sandbox.cluster.network
    assert network is not None
    rack = chance.choice(sorted({*RACKS.values()}))
    inside = [node for node in RACKS if RACKS[node] == rack]
    outside = [node for node in RACKS if RACKS[node] != rack]
    at = time.time()
    network.slow_between(inside, outside, MEGABITS, QUEUE_MS)

    def verify() -> list[str]:
        said = [row for row in rows(sandbox) if row["cause"] == "rack-slow" and row["opened"] >= at]
        return [] if any(rack in row["words"] for row in said) else [f"{rack} is not named: {said}"]

    return Injection(at, Place(), passes=lambda: network.slow_between(inside, outside, 0), verify=verify)


RACKS = {f"n{number}": f"r{(number + 1) // 2}" for number in range(1, 7)}
"""Three of two nodes each: of two racks nobody could say whose way out is slow."""
EXPECTED = Expected(frozenset({"link-slow"}), names=NODE, moved=MOVED, steps_lost=LOST, within_s=180.0)
OF_RACK = Expected(frozenset({"rack-slow"}), names=NOBODY, moved=MOVED, steps_lost=LOST, within_s=180.0)
PACE = {"policy": {"slow_pace_s": PACE_S, "settled_s": Policy().settled_s}}
IN_RACKS = PACE | {"nodes": len(RACKS), "gpus_per_node": 1, "world": len(RACKS) - 1, "racks": RACKS}
FAULTS = (
    Simple("slow-network", EXPECTED, inject, needs_network, sandbox=PACE, first=usual_pace),
    Simple("slow-link", EXPECTED, inject_between, needs_network, sandbox=PACE, first=usual_pace),
    Simple("slow-rack", OF_RACK, inject_rack, needs_network, sandbox=IN_RACKS, first=usual_pace),
)
