"""The training program does something that its GPU refuses, once or again: Xid 31, and the rank dies."""

import random
import time

from sentinel.demo.fault import GPU, Expected, Injection, Simple, kernel_line, kill, pick
from sentinel.demo.observe import repaired
from sentinel.demo.sandbox import Sandbox


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Write the Xid 31 line as an H200's driver words it, and kill the rank."""
    victim = pick(sandbox, chance)
    text = "channel 0x0000000a, intr 00000000. MMU Fault: ENGINE GRAPHICS GPC1 GPCCLIENT_T1_8 faulted"
    at = time.time()
    kernel_line(sandbox, victim, 31, text)
    kill(victim)
    return Injection(at, victim.place, dead=(victim.pid,))


def once_before(sandbox: Sandbox, chance: random.Random) -> None:
    """Let it happen on the same GPU before."""
    generation = sandbox.steps()[-1]["g"]
    inject(sandbox, chance)
    repaired(sandbox, generation)


FAULTS = (
    Simple("gpu-app-xid", Expected(frozenset({"gpu-app-xid"}), in_place=True), inject),
    Simple(
        "gpu-app-xid-repeat",
        Expected(frozenset({"gpu-app-xid-repeat"}), evicts=True, names=GPU),
        inject,
        first=once_before,
    ),
)
