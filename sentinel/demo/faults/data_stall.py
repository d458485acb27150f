"""Data stops coming: one rank's loader blocks in its shard, or all ranks' loaders do."""

import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from sentinel.demo.blocking import Blocked, refused
from sentinel.demo.fault import NOBODY, Expected, Injection, Place, Simple, needs_ranks, pick, ranks
from sentinel.demo.sandbox import Sandbox, SandboxError, wait
from sentinel.trainer.layout import shard_path

READ_WITHIN_S = 5.0
TOGETHER_S = 1.0
"""Less than what makes a stall: nothing is seen of a try that failed."""
ONE = Expected(frozenset({"data-stall"}), in_place=True)
ALL = Expected(frozenset({"storage-stall"}), names=NOBODY, steps_lost=0)


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Block one shard, or all of them until it was paged."""
    return _all(sandbox) if chance.random() < 1 / 2 else _one(sandbox, chance)


def _one(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Hold one rank at its shard, and give whoever comes after it a new file."""
    victim = pick(sandbox, chance)
    shard = shard_path(_data(sandbox), victim.rank)
    copy = shard.with_suffix(".copy")
    shutil.copy(shard, copy)
    blocked = Blocked([shard])
    wait("the loader at its shard", READ_WITHIN_S, blocked.wanted, 0.001)
    at = time.time()
    copy.replace(shard)
    return Injection(at, victim.place, blocked.release, (victim.pid,), expected=ONE)


def _all(sandbox: Sandbox) -> Injection:
    """Hold every rank at its shard; between two steps, for then all of them read next."""
    shards = [shard_path(_data(sandbox), victim.rank) for victim in ranks(sandbox)]
    blocked = wait("all loaders at their shards", READ_WITHIN_S * 4, lambda: _held(sandbox, shards), 0.001)
    return Injection(time.time(), Place(), blocked.release, passes=blocked.release, expected=ALL)


def _held(sandbox: Sandbox, shards: Sequence[Path]) -> Blocked | None:
    """Block all shards; None when some rank had read its batch already, and so waits for the others."""
    last = len(sandbox.steps())
    wait("a step", READ_WITHIN_S, lambda: len(sandbox.steps()) > last, 0.001)
    blocked = Blocked(shards)
    try:
        wait("the loaders at their shards", TOGETHER_S, blocked.wanted, 0.001)
    except SandboxError:
        blocked.release()
        return None
    return blocked


def _data(sandbox: Sandbox) -> Path:
    return sandbox.cluster.root / "data"


def _needs(sandbox: Sandbox) -> str:
    return refused(sandbox.cluster.root) or needs_ranks(2, "to tell a rank's loader from the storage")(
        sandbox
    )


FAULT = Simple("data-stall", ONE, inject, _needs)
