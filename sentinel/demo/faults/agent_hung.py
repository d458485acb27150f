"""One node's agent is stopped, and a rank dies on another: only the one node is exempt from what is done."""

import os
import random
import signal
import time

from sentinel.adapters.agent_card import read
from sentinel.demo.fault import NODE, Expected, Injection, Place, Simple, kill, ranks
from sentinel.demo.sandbox import Sandbox, wait

STARTED_S = 30.0
"""The job may be whole again before the new agent has written its card."""


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """SIGSTOP the agent of one node with a rank, and SIGKILL a rank of another node."""
    hung = chance.choice(ranks(sandbox)).node
    others = [victim for victim in ranks(sandbox) if victim.node != hung]
    card = read(sandbox.host_of(hung).memory)
    assert card is not None
    at = time.time()
    os.kill(card.pid, signal.SIGSTOP)
    time.sleep(chance.uniform(0.0, 6.0))  # before it is missed, or after
    victim = chance.choice(others)
    kill(victim)

    def is_new() -> bool:
        new = read(sandbox.host_of(hung).memory)
        return new is not None and new.pid != card.pid

    def verify() -> list[str]:
        wait(f"a new agent on {hung}", STARTED_S, is_new)
        return ["actions are frozen"] if (sandbox.status() or {}).get("frozen") else []

    return Injection(at, Place(hung), dead=(victim.pid,), struck=(victim.place,), verify=verify)


def _need(sandbox: Sandbox) -> str:
    nodes = {victim.node for victim in ranks(sandbox)}
    return "" if len(nodes) > 1 else "needs ranks on two nodes"


FAULT = Simple(
    "agent-hung",
    Expected(frozenset({"agent-hung"}), pages=(1, 2), names=NODE, beside=frozenset({"rank-crash"})),
    inject,
    _need,
)
