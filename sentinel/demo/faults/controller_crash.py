"""The controller is killed amid a recovery, or left dead for a minute: nothing is lost or done twice."""

import dataclasses
import os
import random
import signal
import time
from collections import Counter

from sentinel.demo.fault import Injection, Simple, records
from sentinel.demo.faults import gpu_ecc, rank_crash
from sentinel.demo.pace import pace, too_slow
from sentinel.demo.sandbox import Sandbox, wait
from sentinel.runtime import running
from sentinel.runtime.running import CONTROLLER

MOMENTS = ("before-commit", "after-commit", "before-outcome", "after-outcome")
LEFT_DEAD = "left dead"
LEFT_DEAD_S = 60.0
TRIGGERS = (rank_crash.FAULT, gpu_ecc.FAULT)
WITHIN_S = 90.0


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Break something for the controller to repair, and the controller while it does."""
    trigger = chance.choice(TRIGGERS)
    moment = chance.choice((*MOMENTS, LEFT_DEAD))
    generation = sandbox.steps()[-1]["g"]
    if moment == LEFT_DEAD:
        injection, wrong = _leave_dead(sandbox, chance, trigger)
    else:
        (sandbox.cluster.root / "failpoint").write_text(moment)
        injection, wrong = trigger.inject(sandbox, chance), []
    injection.expected = dataclasses.replace(trigger.expected, within_s=WITHIN_S)
    most = 1 if trigger is rank_crash.FAULT else 2  # ECC may show only after the rank is replaced in place
    also = injection.verify

    def verify() -> list[str]:
        return [f"{moment}: {line}" for line in wrong + _once(sandbox, generation, most) + also()]

    injection.verify = verify
    return injection


def _leave_dead(sandbox: Sandbox, chance: random.Random, trigger: Simple) -> tuple[Injection, list[str]]:
    """Hold the watchdog, kill the controller, and let the trigger happen while nobody is there."""
    os.kill(sandbox.watchdog.pid, signal.SIGSTOP)
    try:
        controller = running.find(sandbox.state_dir / "controller.pid", CONTROLLER)
        assert controller is not None
        controller.send(signal.SIGKILL)
        dead_until = time.time() + LEFT_DEAD_S
        first, since = sandbox.steps()[-1], time.time()
        wait("the controller was dead", LEFT_DEAD_S + 1, lambda: time.time() > dead_until - 3.0)
        alone, share = sandbox.steps()[-1], pace(sandbox.steps(), since, time.time())
        injection = trigger.inject(sandbox, chance)
        wait("the controller was dead", LEFT_DEAD_S + 1, lambda: time.time() > dead_until)
    finally:
        os.kill(sandbox.watchdog.pid, signal.SIGCONT)
    broken = [] if alone["g"] == first["g"] else ["training broke off without a controller"]
    return injection, broken + too_slow("without a controller", share)


def _once(sandbox: Sandbox, generation: int, most: int) -> list[str]:
    """Say what was done twice, seen from outside: generations formed, processes placed."""
    wrong = []
    if (sandbox.cluster.root / "failpoint").exists():
        wrong.append("the controller was never there")
    if not 1 <= (formed := sandbox.steps()[-1]["g"] - generation) <= most:
        wrong.append(f"{formed} generations were formed, expected {most} at most")
    twice = [worker for worker, times in Counter(r.worker for r in records(sandbox)).items() if times > 1]
    return wrong + [f"{worker} was placed twice" for worker in twice]


FAULT = Simple("controller-crash", dataclasses.replace(rank_crash.FAULT.expected, within_s=WITHIN_S), inject)
