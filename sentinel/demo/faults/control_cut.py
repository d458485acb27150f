"""Only the controller's traffic with some nodes is blocked: it must keep its hands still."""

import random
import time

from sentinel.demo.fault import Expected, Injection, Place, Simple, needs_network
from sentinel.demo.stage import REPORT_PORT, Stage, wait

SEEN_WITHIN_S = 15.0
FROZEN_S = 12.0
"""How long it stays cut after it was seen: longer than a lease, so that a rank could stop by mistake."""


def inject(stage: Stage, chance: random.Random) -> Injection:
    """Block the report port for one node with a rank, or for all."""
    network, job = stage.cluster.network, stage.job()
    assert network is not None
    assert job is not None
    one = chance.choice(job["seats"])["node"]
    nodes = [one] if chance.random() < 1 / 2 else [host.name for host in stage.cluster.nodes]
    truth, wrong = Place(one if len(nodes) == 1 else None), list[str]()
    at = time.time()
    for node in nodes:
        network.block(node, REPORT_PORT)

    def flow_again() -> None:
        wrong.extend(_while_cut(stage))
        for node in nodes:
            network.unblock(node, REPORT_PORT)

    return Injection(at, truth, passes=flow_again, verify=lambda: wrong + _after(stage))


def _while_cut(stage: Stage) -> list[str]:
    """Say what is not as it must be while the controller is cut off: actions frozen, training going on."""
    wait("actions are frozen", SEEN_WITHIN_S, lambda: (stage.status() or {}).get("frozen"))
    first, until = stage.steps()[-1]["step"], time.time() + FROZEN_S
    wait("the cut has lasted", FROZEN_S + 1, lambda: time.time() > until)
    steps = stage.steps()[-1]["step"] - first
    return [] if steps > FROZEN_S / 2 else [f"{steps} steps in {FROZEN_S:.0f} s of being cut off"]


def _after(stage: Stage) -> list[str]:
    """Say what is not as it must be once the traffic flows again."""
    frozen = (stage.status() or {}).get("frozen", "unknown")
    return [f"still frozen: {frozen}"] if frozen else []


FAULT = Simple("control-cut", Expected(frozenset({"control-cut"}), steps_lost=0), inject, needs_network)
