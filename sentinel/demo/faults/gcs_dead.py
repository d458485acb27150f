"""Ray's GCS is killed or stopped: it is brought back with what it knew, ranks can be replaced as before."""

import os
import random
import signal
import time
from functools import partial

import psutil

from sentinel.demo.fault import NOBODY, Expected, Injection, Place, Simple, kill, pick
from sentinel.demo.sandbox import Sandbox, wait

REPLACED_S = 60.0
"""For a later crash: the ray link may have to start anew first."""


def inject(how: signal.Signals, sandbox: Sandbox, chance: random.Random) -> Injection:
    """Send the GCS a signal."""
    pid = sandbox.cluster.gcs_pid()
    time.sleep(chance.uniform(0.0, 0.3))
    at = time.time()
    os.kill(pid, how)
    return Injection(at, Place(), verify=lambda: _as_before(sandbox, chance, pid))


def _as_before(sandbox: Sandbox, chance: random.Random, old: int) -> list[str]:
    """Kill a rank: a new one takes its place, which needs Ray from end to end."""
    is_new = sandbox.cluster.gcs_pid() != old
    wrong = [] if is_new else [f"the GCS is the one of before, {psutil.Process(old).status()}"]
    wait("standbys are ready", REPLACED_S, sandbox.ready)
    generation = sandbox.steps()[-1]["g"]
    kill(pick(sandbox, chance))
    wait("a later crash is repaired", REPLACED_S, lambda: sandbox.steps()[-1]["g"] > generation)
    wait("its standby starts", REPLACED_S, sandbox.ready)
    return wrong


EXPECTED = Expected(frozenset({"gcs-dead"}), names=NOBODY, steps_lost=0)
FAULTS = (
    Simple("gcs-dead", EXPECTED, partial(inject, signal.SIGKILL)),
    Simple("gcs-hung", EXPECTED, partial(inject, signal.SIGSTOP)),
)
