"""Whose a job's directory is: the newest generation's that ever formed there, of this journal or another."""

import os
from pathlib import Path

FENCE = "generation"


class OvertakenError(RuntimeError):
    """A newer generation has formed in this directory: this one must not train there."""

    def __init__(self, newest: int) -> None:
        super().__init__(f"generation {newest} has formed here before: its journal is another one")
        self.newest = newest


def claim(directory: Path, generation: int) -> int:
    """Make the directory this generation's, unless a newer one has it; returns whose it is.

    A volume that is full or does not answer stops no recovery: then the directory is this generation's.
    """
    fence = directory / FENCE
    try:
        newest = _read(fence)
        if newest < generation:
            directory.mkdir(parents=True, exist_ok=True)
            draft = fence.with_name(f"{FENCE}.{os.getpid()}")
            draft.write_text(str(generation), encoding="ascii")
            draft.rename(fence)
    except OSError:
        return generation
    return max(newest, generation)


def _read(fence: Path) -> int:
    """-1 where nobody has been, or where a damaged file does not say who."""
    try:
        return int(fence.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return -1
