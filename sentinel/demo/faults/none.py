"""A long first step, slow saves, and 200 steps of which half are under load: no incident, no page."""

import random
import subprocess
import sys
import time

from sentinel.demo.fault import Expected, Injection, Place, Simple
from sentinel.demo.stage import Stage, wait

STEPS = 200
BURN = "import time; end = time.monotonic() + 600\nwhile time.monotonic() < end: pass"


def inject(stage: Stage, _chance: random.Random) -> Injection:
    """Let 200 steps pass, the second half beside a process that takes a whole core."""
    at = time.time()
    first = stage.steps()[-1]["step"]
    wait("100 quiet steps", 120, lambda: stage.steps()[-1]["step"] >= first + STEPS // 2)
    load = subprocess.Popen([sys.executable, "-c", BURN])
    try:
        wait("100 steps under load", 240, lambda: stage.steps()[-1]["step"] >= first + STEPS)
    finally:
        load.kill()
        load.wait()
    return Injection(at, Place())


FAULT = Simple(
    "none",
    Expected(frozenset(), pages=(0, 0), steps_lost=0, within_s=10.0),
    inject,
    stage={"job": {"trainable": "sentinel.demo.slow:SlowTrainer"}},
)
