"""One rank is three times slower: for good, or only as long as contention on its host lasts."""

import random
import signal
import time

from sentinel.demo.fault import (
    NOBODY,
    Expected,
    Injection,
    Place,
    Simple,
    Victim,
    edit_gpu,
    heal_gpus,
    kill,
    needs_ranks,
    pick,
)
from sentinel.demo.sandbox import Sandbox, wait
from sentinel.model.policy import Policy

SPEED = 0.33
SLOW_STEPS = 9
"""Contention that passes: well under the 20 steps that make a straggler."""
BURSTS, STOPPED_S, RUNNING_S = 6, 0.4, 0.2
GOOD = Expected(frozenset({"straggler"}), evicts=True, steps_lost=0, within_s=120.0)
PASSES = Expected(frozenset(), pages=(0, 0), names=NOBODY, steps_lost=0, within_s=120.0)


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Slow one GPU down for good, or a rank for a short while."""
    victim = pick(sandbox, chance)
    how = chance.choice((_for_good, _for_good, _slow_for_a_while, _stop_and_go))
    return how(sandbox, victim)


def _for_good(sandbox: Sandbox, victim: Victim) -> Injection:
    at = time.time()
    edit_gpu(sandbox, victim.node, victim.gpu, speed=SPEED)
    return Injection(at, victim.place, lambda: heal_gpus(sandbox, victim.node), expected=GOOD)


def _slow_for_a_while(sandbox: Sandbox, victim: Victim) -> Injection:
    at, first = time.time(), sandbox.steps()[-1]["step"]
    edit_gpu(sandbox, victim.node, victim.gpu, speed=SPEED)
    wait("slow steps", 60.0, lambda: sandbox.steps()[-1]["step"] >= first + SLOW_STEPS)
    heal_gpus(sandbox, victim.node)
    return Injection(at, Place(), expected=PASSES)


def _stop_and_go(_sandbox: Sandbox, victim: Victim) -> Injection:
    """Stop and continue the process as a scheduler under pressure would."""
    at = time.time()
    for _ in range(BURSTS):
        kill(victim, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        kill(victim, signal.SIGCONT)
        time.sleep(RUNNING_S)
    return Injection(at, Place(), expected=PASSES)


FAULT = Simple(
    "straggler",
    GOOD,
    inject,
    needs_ranks(Policy().straggler_peers, "to tell which rank is the odd one"),
    sandbox={"step_seconds": 0.2},
)
