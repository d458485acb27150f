"""A GPU's memory fails: the ECC counter rises, the kernel says Xid 48, the rank dies, in any order."""

import contextlib
import random
import time
from collections.abc import Callable

from sentinel.demo.fault import GPU, Expected, Injection, Simple, edit_gpu, heal_gpus, kernel_line, kill, pick
from sentinel.demo.recorded import lines, reused
from sentinel.demo.sandbox import Sandbox

GAP_S = 0.2
"""Between the signs: longer than a probe, so that the order is really seen."""
ACCUSES = frozenset({"ecc-uncorrectable", "xid-48"})
"""Findings after which nothing may be put on the node. A death before them is a crash like any other."""


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Show the three signs in random order."""
    victim = pick(sandbox, chance)
    signs: list[Callable[[], None]] = [
        lambda: edit_gpu(sandbox, victim.node, victim.gpu, ecc_uncorrectable=2),
        lambda: kernel_line(sandbox, victim, 48, "DBE (double bit error) ECC Error"),
        lambda: kill(victim),
    ]
    chance.shuffle(signs)
    at = time.time()
    for sign in signs:
        with contextlib.suppress(ProcessLookupError):  # the rank is evicted before its own death came
            sign()
        time.sleep(chance.uniform(0.0, GAP_S))
    return Injection(
        at,
        victim.place,
        lambda: heal_gpus(sandbox, victim.node),
        dead=(victim.pid,),
        verify=lambda: reused(lines(sandbox, at), victim.node, ACCUSES),
    )


FAULT = Simple(
    "gpu-ecc",
    # The gang re-forms twice, a step each at most, where the rank dies a moment before its GPU is accused.
    Expected(frozenset({"gpu-ecc"}), evicts=True, names=GPU, steps_lost=2),
    inject,
)
