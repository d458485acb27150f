"""A GPU computes wrong numbers and says nothing: one bit of its gradients, once or from now on."""

import random
import time

from sentinel.demo.fault import Expected, Injection, Simple, completed, edit_gpu, heal_gpus, needs_ranks, pick
from sentinel.demo.recorded import compared, lines
from sentinel.demo.sandbox import Sandbox
from sentinel.trainer.replay import FIRST_STEPS

EXPECTED = Expected(frozenset({"silent-corruption"}), evicts=True)


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Turn a bit, once it is known what is usual in this generation."""
    steps = sandbox.steps()
    first = min(step["step"] for step in steps if step["g"] == steps[-1]["g"])
    completed(sandbox, first + FIRST_STEPS)
    victim = pick(sandbox, chance)
    at = time.time()
    edit_gpu(sandbox, victim.node, victim.gpu, **{chance.choice(("flip", "flip_next")): True})
    return Injection(
        at,
        victim.place,
        lambda: heal_gpus(sandbox, victim.node),
        halts=True,
        verify=lambda: compared(lines(sandbox, at), victim.rank),
        expected=EXPECTED,
    )


FAULT = Simple(
    "silent-corruption",
    EXPECTED,
    inject,
    needs_ranks(3, "to tell whose numbers are wrong"),
)
