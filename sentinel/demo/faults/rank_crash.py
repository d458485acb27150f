"""One rank is killed."""

import random
import time

from sentinel.demo.fault import Expected, Injection, Simple, kill, pick
from sentinel.demo.stage import Stage


def inject(stage: Stage, chance: random.Random) -> Injection:
    """SIGKILL one rank."""
    victim = pick(stage, chance)
    at = time.time()
    kill(victim)
    return Injection(at, victim.place, dead=(victim.pid,))


FAULT = Simple("rank-crash", Expected(frozenset({"rank-crash"})), inject)
