"""A rank's heartbeat record is cut, overwritten, exchanged or removed: it writes it anew and goes on."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from sentinel import heartbeat
from sentinel.demo.fault import NOBODY, Expected, Injection, Simple, pick
from sentinel.demo.sandbox import Sandbox, wait

WHOLE_S = 5.0


def _cut(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.choice((0, 100, 700)))


def _overwrite(path: Path, chance: random.Random) -> None:
    with path.open("r+b") as file:
        file.seek(chance.randrange(512))
        file.write(chance.randbytes(256))


def _exchange(path: Path, chance: random.Random) -> None:
    other = path.with_name(f".{path.name}.other")
    other.write_bytes(chance.randbytes(1024))
    other.replace(path)


def _remove(path: Path, _chance: random.Random) -> None:
    path.unlink()


def _set_back(path: Path, _chance: random.Random) -> None:
    """Put back what it said a while ago."""
    before = path.read_bytes()
    time.sleep(1.0)  # so much older is what it says then
    with path.open("r+b") as file:
        file.write(before)


WAYS: tuple[Callable[[Path, random.Random], None], ...] = (_cut, _overwrite, _exchange, _remove, _set_back)


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Damage one rank's record in one of these ways."""
    victim = pick(sandbox, chance)
    path = sandbox.host_of(victim.node).memory / "beats" / f"{victim.worker}{heartbeat.SUFFIX}"
    at = time.time()
    chance.choice(WAYS)(path, chance)
    return Injection(at, victim.place, verify=lambda: _is_whole(path, victim.pid))


def _is_whole(path: Path, pid: int) -> list[str]:
    """Say whether the record of this rank is not readable, or does not go on."""
    before = heartbeat.read(path)
    wait("the record goes on", WHOLE_S, lambda: heartbeat.read(path).step > before.step)
    return [] if before.pid == pid else [f"{path.name} is of process {before.pid}, not {pid}"]


FAULT = Simple(
    "record-damaged",
    Expected(frozenset({"record-damaged"}), pages=(0, 0), names=NOBODY, steps_lost=0, advances=True),
    inject,
)
