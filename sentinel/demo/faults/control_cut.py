"""Only the controller's traffic with some nodes is blocked: with all, it must keep its hands still."""

import dataclasses
import random
import time

from sentinel.demo.fault import NOBODY, NODE, Expected, Injection, Place, Simple, needs_network
from sentinel.demo.sandbox import REPORT_PORT, Sandbox, wait

SEEN_WITHIN_S = 15.0
FROZEN_S = 12.0
"""How long it stays cut after it was seen: longer than a lease, so that a rank could stop by mistake."""


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Block the report port for one node with a rank, or for all."""
    network, job = sandbox.cluster.network, sandbox.job()
    assert network is not None
    assert job is not None
    one = chance.choice(job["seats"])["node"]
    alone = chance.random() < 1 / 2
    nodes = [one] if alone else [host.name for host in sandbox.cluster.nodes]
    truth, wrong = Place(one if alone else None), list[str]()
    at = time.time()
    for node in nodes:
        network.block(node, REPORT_PORT)

    def flow_again() -> None:
        wrong.extend(_while_one_is_cut(sandbox) if alone else _while_cut(sandbox))
        for node in nodes:
            network.unblock(node, REPORT_PORT)

    expected = ONE if alone else ALL
    return Injection(at, truth, passes=flow_again, verify=lambda: wrong + _after(sandbox), expected=expected)


def _while_cut(sandbox: Sandbox) -> list[str]:
    """Say what is not as it must be while the controller is cut off: actions stay frozen."""
    wait("actions are frozen", SEEN_WITHIN_S, lambda: (sandbox.status() or {}).get("frozen"))
    until = time.time() + FROZEN_S
    wait("the cut has lasted", FROZEN_S + 1, lambda: time.time() > until)
    return [] if (sandbox.status() or {}).get("frozen") else ["actions were not frozen all the time"]


def _while_one_is_cut(sandbox: Sandbox) -> list[str]:
    """Say what is not as it must be while one node is not heard: that is no reason to freeze anything."""
    wait("the silent node is seen", SEEN_WITHIN_S, lambda: (sandbox.status() or {}).get("incidents"))
    until = time.time() + FROZEN_S
    wait("the cut has lasted", FROZEN_S + 1, lambda: time.time() > until)
    return ["actions were frozen for one node's sake"] if (sandbox.status() or {}).get("frozen") else []


def _after(sandbox: Sandbox) -> list[str]:
    """Say what is not as it must be once the traffic flows again."""
    frozen = (sandbox.status() or {}).get("frozen", "unknown")
    return [f"still frozen: {frozen}"] if frozen else []


ALL = Expected(frozenset({"control-cut"}), names=NOBODY, steps_lost=0, advances=True)
ONE = dataclasses.replace(ALL, causes=frozenset({"agent-hung"}), names=NODE, pages=(0, 1))
"""It is paged if the restart did not help in time."""
FAULT = Simple("control-cut", ALL, inject, needs_network)
