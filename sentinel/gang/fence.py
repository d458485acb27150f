"""Whose a job's directory is: the newest generation's that ever formed there, of this journal or another."""

import os
from pathlib import Path

FENCE = "generation"


class OvertakenError(RuntimeError):
    """Another journal has formed this generation or a newer one here: ours must not train there."""

    def __init__(self, newest: int) -> None:
        super().__init__(f"generation {newest} has formed here before: its journal is another one")
        self.newest = newest


def claim(directory: Path, generation: int) -> int:
    """Make the directory this generation's; returns -1, or the number that has it and is no older.

    The same number is another journal's: a generation forms once. A volume that is full or does not answer
    stops no recovery: then nobody else has the directory.
    """
    fence = directory / FENCE
    try:
        newest = _read(fence)
        if newest >= generation:
            return newest
        directory.mkdir(parents=True, exist_ok=True)
        draft = fence.with_name(f"{FENCE}.{os.getpid()}")
        draft.write_text(str(generation), encoding="ascii")
        draft.rename(fence)
    except OSError:
        pass
    return -1


def _read(fence: Path) -> int:
    """-1 where nobody has been, or where a damaged file does not say who."""
    try:
        return int(fence.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return -1
