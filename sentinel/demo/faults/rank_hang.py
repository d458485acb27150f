"""One rank stops, wherever it happens to be: the others wait for it."""

import random
import signal
import time

from sentinel.demo.fault import Expected, Injection, Simple, kill, pick
from sentinel.demo.recorded import lines, no_stack
from sentinel.demo.sandbox import Sandbox


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """SIGSTOP one rank, in or outside a collective."""
    victim = pick(sandbox, chance)
    at = time.time()
    kill(victim, signal.SIGSTOP)
    return Injection(
        at, victim.place, dead=(victim.pid,), verify=lambda: no_stack(lines(sandbox, at), victim.pid)
    )


FAULT = Simple("rank-hang", Expected(frozenset({"rank-hang"}), in_place=True), inject)
