"""A long first step, slow saves, 200 quiet steps and 200 under load: no incident, no page."""

import os
import random
import subprocess
import sys
import time

from sentinel.demo.fault import NOBODY, Expected, Injection, Place, Simple
from sentinel.demo.sandbox import Sandbox, wait

STEPS = 200
QUIET_S, LOADED_S = 180.0, 360.0
"""Limits: with the slow saves between them."""
BURN = f"import time; end = time.monotonic() + {LOADED_S}\nwhile time.monotonic() < end: pass"


def inject(sandbox: Sandbox, _chance: random.Random) -> Injection:
    """Let 200 steps pass, and as many again beside a busy process for every second core of ours.

    With one for each, all ranks may take twice as long, which is something to tell people of.
    """
    at = time.time()
    _pass(sandbox, "quiet steps", QUIET_S)
    load = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in sorted(os.sched_getaffinity(0))[::2]]
    try:
        _pass(sandbox, "steps under load", LOADED_S)
    finally:
        for process in load:
            process.kill()
            process.wait()
    return Injection(at, Place())


def _pass(sandbox: Sandbox, what: str, within_s: float) -> None:
    first = sandbox.steps()[-1]["step"]
    wait(f"{STEPS} {what}", within_s, lambda: sandbox.steps()[-1]["step"] >= first + STEPS)


FAULT = Simple(
    "none",
    Expected(frozenset(), pages=(0, 0), names=NOBODY, steps_lost=0, within_s=10.0),
    inject,
    sandbox={"job": {"trainable": "sentinel.demo.slow:SlowTrainer"}},
)
