"""One node's agent and a rank of it are killed together: nobody is there to tell of the rank's end."""

import os
import random
import signal
import time

from sentinel.adapters.agent_card import read
from sentinel.demo.fault import Expected, Injection, Simple, kill, pick
from sentinel.demo.sandbox import Sandbox


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """SIGKILL both."""
    victim = pick(sandbox, chance)
    card = read(sandbox.host_of(victim.node).memory)
    assert card is not None
    at = time.time()
    os.kill(card.pid, signal.SIGKILL)
    kill(victim)
    return Injection(at, victim.place, dead=(victim.pid,))


FAULT = Simple(
    "agent-and-rank", Expected(frozenset({"rank-crash"}), beside=frozenset({"agent-dead"})), inject
)
