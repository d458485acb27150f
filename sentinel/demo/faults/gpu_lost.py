"""A GPU falls off the bus: it stops answering, or only the kernel log says so, or both."""

import random
import time

from sentinel.demo.fault import GPU, Expected, Injection, Simple, edit_gpu, heal_gpus, kernel_line, pick
from sentinel.demo.sandbox import Sandbox


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Lose a GPU that a rank uses."""
    victim = pick(sandbox, chance)
    shows = chance.choice(("device", "kernel log", "both"))
    at = time.time()
    if shows != "kernel log":
        edit_gpu(sandbox, victim.node, victim.gpu, present=False)
    if shows != "device":
        kernel_line(sandbox, victim, 79, "GPU has fallen off the bus.")
    return Injection(at, victim.place, lambda: heal_gpus(sandbox, victim.node), dead=(victim.pid,))


FAULT = Simple("gpu-lost", Expected(frozenset({"gpu-lost"}), evicts=True, names=GPU), inject)
