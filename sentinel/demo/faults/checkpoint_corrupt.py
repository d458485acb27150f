"""The newest checkpoint is damaged on disk; then every rank dies, and the memory snapshots with them."""

import random
import shutil
import time
from contextlib import suppress

from sentinel.demo.fault import NOBODY, Expected, Injection, Place, Simple, kill, ranks
from sentinel.demo.recorded import findings, lines
from sentinel.demo.sandbox import JOB, Sandbox, wait
from sentinel.trainer.checkpoint import Checkpoint, folders

EVERY = 20
"""Steps between checkpoints."""
TWO_WITHIN_S = 60.0


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Damage the newest of two checkpoints, kill all ranks, empty every node's memory."""
    wait("two checkpoints", TWO_WITHIN_S, lambda: len(_committed(sandbox)) > 1)
    last = _committed(sandbox)[0]
    wait("another checkpoint", TWO_WITHIN_S, lambda: _committed(sandbox)[0] > last, 0.01)
    victims = ranks(sandbox)
    newest, older = _committed(sandbox)[:2]
    _damage(newest, chance)
    at = time.time()
    for victim in victims:
        with suppress(ProcessLookupError):
            kill(victim)
    for host in sandbox.cluster.nodes:
        shutil.rmtree(host.memory / "snapshots" / JOB, ignore_errors=True)
    dead = tuple(victim.pid for victim in victims)
    struck = tuple(victim.place for victim in victims)
    generation = sandbox.steps()[-1]["g"]

    def verify() -> list[str]:
        return _resumed_from(sandbox, older, generation) + _reported(sandbox, at, newest)

    return Injection(at, Place(), struck=struck, dead=dead, verify=verify)


def _committed(sandbox: Sandbox) -> list[Checkpoint]:
    """Newest first."""
    return [found for found in folders(sandbox.cluster.root / "job" / "checkpoints") if found.committed]


def _damage(checkpoint: Checkpoint, chance: random.Random) -> None:
    """Flip a byte, or cut a file short."""
    file = chance.choice(sorted(checkpoint.path.glob("*.distcp")))
    data = bytearray(file.read_bytes())
    if chance.random() < 1 / 2:
        data[chance.randrange(len(data))] ^= 0xFF
    else:
        del data[chance.randrange(len(data)) :]
    file.write_bytes(data)


def _resumed_from(sandbox: Sandbox, older: Checkpoint, generation: int) -> list[str]:
    first = next(line["step"] for line in sandbox.steps() if line["g"] > generation)
    said = f"went on at step {first}, the good checkpoint is of {older.step}"
    return [] if first == older.step + 1 else [said]


def _reported(sandbox: Sandbox, at: float, newest: Checkpoint) -> list[str]:
    summaries = findings(lines(sandbox, at), "checkpoint-corrupt")
    named = any(newest.path.name in summary for summary in summaries)
    return [] if named else [f"the damage of {newest.path.name} was not reported, only {summaries}"]


FAULT = Simple(
    "checkpoint-corrupt",
    # What is lost is the fault itself: all steps since the checkpoint before, and what was trained while the
    # newest one was written, which ends before the next one begins.
    Expected(
        frozenset({"checkpoint-corrupt"}),
        pages=(2, 2),
        names=NOBODY,
        beside=frozenset({"rank-crash"}),
        steps_lost=2 * EVERY,
    ),
    inject,
    sandbox={"job": {"checkpoint_every": EVERY}},
)
