"""One rank is killed; or, the third time within an hour, one on the node where two failed before."""

import random
import signal
import time

from sentinel.demo.fault import NODE, Expected, Injection, Simple, kill, pick
from sentinel.demo.observe import repaired
from sentinel.demo.sandbox import Sandbox


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """SIGKILL one rank."""
    victim = pick(sandbox, chance)
    at = time.time()
    kill(victim)
    return Injection(at, victim.place, dead=(victim.pid,))


def fail_twice(sandbox: Sandbox, chance: random.Random) -> None:
    """Kill or stop the same rank twice; it is replaced on its node each time."""
    place = chance.getstate()
    for number in (signal.SIGKILL, signal.SIGSTOP):
        chance.setstate(place)
        generation = sandbox.steps()[-1]["g"]
        kill(pick(sandbox, chance), number)
        repaired(sandbox, generation)


FAULT = Simple("rank-crash", Expected(frozenset({"rank-crash"}), in_place=True), inject)
LOOP = Simple(
    "crash-loop", Expected(frozenset({"crash-loop"}), evicts=True, names=NODE), inject, first=fail_twice
)
FAULTS = (FAULT, LOOP)
