"""The loss is not a number: one batch is bad, or one GPU computed wrong."""

import math
import random
import struct
import time
from pathlib import Path

from sentinel.demo.fault import (
    NOBODY,
    Expected,
    Injection,
    Place,
    Simple,
    completed,
    edit_gpu,
    heal_gpus,
    pick,
)
from sentinel.demo.recorded import compared, lines, replays
from sentinel.demo.sandbox import Sandbox
from sentinel.trainer.layout import layout_of, shard_path
from sentinel.trainer.settings import read_settings

AHEAD = 4
"""Steps until the bad batch is read."""
BATCH = Expected(frozenset({"bad-batch"}), names=NOBODY)
HARDWARE = Expected(frozenset({"silent-corruption"}), evicts=True)


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Spoil a batch that is still to come, or one result of one GPU."""
    return _batch(sandbox, chance) if chance.random() < 1 / 2 else _hardware(sandbox, chance)


def _batch(sandbox: Sandbox, chance: random.Random) -> Injection:
    victim = pick(sandbox, chance)
    step = sandbox.steps()[-1]["step"] + AHEAD
    _weigh(sandbox.cluster.root / "trainer.json", victim.rank, step, math.nan)
    at = completed(sandbox, step - 1)

    def verify() -> list[str]:
        skipped = sandbox.skipped()
        wrong = [] if step in skipped else [f"step {step} was not skipped, only {skipped}"]
        return wrong + _not_replayed(sandbox, at)

    return Injection(at, Place(), halts=True, verify=verify, expected=BATCH)


def _weigh(settings_file: Path, rank: int, step: int, weight: float) -> None:
    settings = read_settings(settings_file)
    with shard_path(settings.data, rank).open("r+b") as shard:
        shard.seek(layout_of(settings).weight_offset(step))
        shard.write(struct.pack("<f", weight))


def _hardware(sandbox: Sandbox, chance: random.Random) -> Injection:
    victim = pick(sandbox, chance)
    at = time.time()
    edit_gpu(sandbox, victim.node, victim.gpu, corrupt_next=True)
    return Injection(
        at,
        victim.place,
        lambda: heal_gpus(sandbox, victim.node),
        halts=True,
        verify=lambda: compared(lines(sandbox, at), victim.rank),
        expected=HARDWARE,
    )


def _not_replayed(sandbox: Sandbox, at: float) -> list[str]:
    return [] if replays(lines(sandbox, at)) else ["the failed step was not repeated first"]


FAULT = Simple("loss-nan", BATCH, inject)
