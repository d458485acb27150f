"""Ray's GCS is killed: it is brought back with what it knew, and ranks can be replaced as before."""

import os
import random
import signal
import time

from sentinel.backends.ray import gcs
from sentinel.demo.fault import NOBODY, Expected, Injection, Place, Simple, kill, pick
from sentinel.demo.sandbox import Sandbox, wait

REPLACED_S = 60.0
"""For a later crash: the ray link may have to start anew first."""


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """SIGKILL the GCS."""
    cluster = sandbox.cluster
    pid = gcs.find(cluster.head.address, cluster.port)
    time.sleep(chance.uniform(0.0, 0.3))
    at = time.time()
    os.kill(pid, signal.SIGKILL)
    return Injection(at, Place(), verify=lambda: _as_before(sandbox, chance, pid))


def _as_before(sandbox: Sandbox, chance: random.Random, killed: int) -> list[str]:
    """Kill a rank: a new one takes its place, which needs Ray from end to end."""
    cluster = sandbox.cluster
    wrong = [] if gcs.find(cluster.head.address, cluster.port) != killed else ["the GCS was not killed"]
    wait("standbys are ready", REPLACED_S, sandbox.ready)
    generation = sandbox.steps()[-1]["g"]
    kill(pick(sandbox, chance))
    wait("a later crash is repaired", REPLACED_S, lambda: sandbox.steps()[-1]["g"] > generation)
    wait("its standby starts", REPLACED_S, sandbox.ready)
    return wrong


FAULT = Simple("gcs-dead", Expected(frozenset({"gcs-dead"}), names=NOBODY, steps_lost=0), inject)
