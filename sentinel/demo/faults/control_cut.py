"""Only the controller's traffic with some nodes is blocked: it must keep its hands still."""

import random
import time

from sentinel.demo.fault import Expected, Injection, Place, Simple, needs_network
from sentinel.demo.observe import messages
from sentinel.demo.stage import REPORT_PORT, Stage, wait

SEEN_WITHIN_S = 15.0
FROZEN_S = 12.0
"""How long it stays cut after it was seen: longer than a lease, so that a rank could stop by mistake."""


def inject(stage: Stage, chance: random.Random) -> Injection:
    """Block the report port for one node with a rank, or for all; look at it; take it back."""
    network, job = stage.cluster.network, stage.job()
    assert network is not None
    assert job is not None
    one = chance.choice(job["seats"])["node"]
    nodes = [one] if chance.random() < 1 / 2 else [host.name for host in stage.cluster.nodes]
    pages, first = len(messages(stage)), stage.steps()[-1]["step"]
    at = time.time()
    for node in nodes:
        network.block(node, REPORT_PORT)
    wait("actions are frozen", SEEN_WITHIN_S, lambda: (stage.status() or {}).get("frozen"))
    wait("a page", SEEN_WITHIN_S, lambda: len(messages(stage)) > pages)
    while_cut = time.time() + FROZEN_S
    wait("the cut has lasted", FROZEN_S + 1, lambda: time.time() > while_cut)
    steps = stage.steps()[-1]["step"] - first
    for node in nodes:
        network.unblock(node, REPORT_PORT)
    truth = Place(one if len(nodes) == 1 else None)
    return Injection(at, truth, verify=lambda: _after(stage, steps))


def _after(stage: Stage, steps_while_cut: int) -> list[str]:
    """Say what is not as it must be once the traffic flows again."""
    wrong = [] if steps_while_cut > 1 else [f"{steps_while_cut} steps while the controller was cut off"]
    frozen = (stage.status() or {}).get("frozen", "unknown")
    return wrong + ([f"still frozen: {frozen}"] if frozen else [])


FAULT = Simple(
    "control-cut", Expected(frozenset({"control-cut"}), steps_lost=0), inject, needs_network
)
