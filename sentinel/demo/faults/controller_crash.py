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
from sentinel.demo.stage import Stage, wait
from sentinel.runtime import running
from sentinel.runtime.running import CONTROLLER

MOMENTS = ("before-commit", "after-commit", "before-outcome", "after-outcome")
LEFT_DEAD = "left dead"
LEFT_DEAD_S = 60.0
TRIGGERS = (rank_crash.FAULT, gpu_ecc.FAULT)
WITHIN_S = 90.0


def inject(stage: Stage, chance: random.Random) -> Injection:
    """Break something for the controller to repair, and the controller while it does."""
    trigger = chance.choice(TRIGGERS)
    moment = chance.choice((*MOMENTS, LEFT_DEAD))
    generation = stage.steps()[-1]["g"]
    if moment == LEFT_DEAD:
        injection, wrong = _leave_dead(stage, chance, trigger)
    else:
        (stage.cluster.root / "failpoint").write_text(moment)
        injection, wrong = trigger.inject(stage, chance), []
    injection.expected = dataclasses.replace(trigger.expected, within_s=WITHIN_S)
    most = 1 if trigger is rank_crash.FAULT else 2  # ECC may show only after the rank is replaced in place
    also = injection.verify

    def verify() -> list[str]:
        return [f"{moment}: {line}" for line in wrong + _once(stage, generation, most) + also()]

    injection.verify = verify
    return injection


def _leave_dead(stage: Stage, chance: random.Random, trigger: Simple) -> tuple[Injection, list[str]]:
    """Hold the watchdog, kill the controller, and let the trigger happen while nobody is there."""
    os.kill(stage.watchdog.pid, signal.SIGSTOP)
    try:
        controller = running.find(stage.state_dir / "controller.pid", CONTROLLER)
        assert controller is not None
        controller.send(signal.SIGKILL)
        dead_until = time.time() + LEFT_DEAD_S
        first, since = stage.steps()[-1], time.time()
        wait("the controller was dead", LEFT_DEAD_S + 1, lambda: time.time() > dead_until - 3.0)
        alone, share = stage.steps()[-1], pace(stage.steps(), since, time.time())
        injection = trigger.inject(stage, chance)
        wait("the controller was dead", LEFT_DEAD_S + 1, lambda: time.time() > dead_until)
    finally:
        os.kill(stage.watchdog.pid, signal.SIGCONT)
    broken = [] if alone["g"] == first["g"] else ["training broke off without a controller"]
    return injection, broken + too_slow("without a controller", share)


def _once(stage: Stage, generation: int, most: int) -> list[str]:
    """Say what was done twice, seen from outside: generations formed, processes placed."""
    wrong = []
    if (stage.cluster.root / "failpoint").exists():
        wrong.append("the controller was never there")
    if not 1 <= (formed := stage.steps()[-1]["g"] - generation) <= most:
        wrong.append(f"{formed} generations were formed, expected {most} at most")
    twice = [worker for worker, times in Counter(r.worker for r in records(stage)).items() if times > 1]
    return wrong + [f"{worker} was placed twice" for worker in twice]


FAULT = Simple("controller-crash", dataclasses.replace(rank_crash.FAULT.expected, within_s=WITHIN_S), inject)
