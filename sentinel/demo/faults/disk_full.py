"""The volume that holds the checkpoints fills up, and has room again after somebody was paged."""

import os
import random
import subprocess
import time
from pathlib import Path

from sentinel.demo.fault import NOBODY, Expected, Injection, Place, Simple
from sentinel.demo.sandbox import Sandbox, wait
from sentinel.trainer.checkpoint import Checkpoint, DamagedError, UnsealedError, folders, verify

EVERY = 20
"""Steps between checkpoints."""
SIZE = "64m"
SAVED_WITHIN_S = 60.0


def inject(sandbox: Sandbox, _chance: random.Random) -> Injection:
    """Put the checkpoints on a small volume, let one commit there, then fill the volume."""
    store = sandbox.cluster.root / "job" / "checkpoints"
    _wait_for_next(store)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "sentinel-demo", str(store)], check=True)
    sandbox.at_end.callback(subprocess.run, ["umount", "-l", str(store)], check=True)
    saved = _wait_for_next(store)
    filler = store / "filler"
    at = time.time()
    _fill(filler)
    free = lambda: filler.unlink(missing_ok=True)  # noqa: E731
    return Injection(
        at, Place(), free, passes=free, verify=lambda: _whole(store, saved, sandbox.checkpoint_key)
    )


def _wait_for_next(store: Path) -> int:
    """Wait until a checkpoint commits; returns its step."""
    last = _newest(store)
    wait("a checkpoint", SAVED_WITHIN_S, lambda: _newest(store) > last, 0.01)
    return _newest(store)


def _newest(store: Path) -> int:
    return max((found.step for found in folders(store) if found.committed), default=-1)


def _fill(path: Path) -> None:
    """Write until nothing more fits."""
    size = 1 << 20
    with path.open("wb", buffering=0) as file:
        while size:
            try:
                os.write(file.fileno(), bytes(size))
            except OSError:
                size //= 2


def _whole(store: Path, saved: int, key: bytes) -> list[str]:
    """Nothing truncated passes for a checkpoint, and a new one commits once there is room."""
    wrong = [line for found in folders(store) if found.committed and (line := _damage(found, key))]
    wait("the next checkpoint", SAVED_WITHIN_S, lambda: _newest(store) > saved)
    return wrong


def _damage(checkpoint: Checkpoint, key: bytes) -> str:
    try:
        verify(checkpoint, key)
    except (OSError, DamagedError, UnsealedError) as error:
        return f"{checkpoint.path}: {error}"
    return ""


FAULT = Simple(
    "disk-full",
    Expected(frozenset({"disk-full"}), names=NOBODY, steps_lost=0, advances=True),
    inject,
    lambda _sandbox: "" if os.geteuid() == 0 else "needs root, to mount a small volume",
    sandbox={"job": {"checkpoint_every": EVERY}},
)
