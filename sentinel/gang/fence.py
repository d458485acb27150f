"""Whose a job's directory is: the journal whose generations form there, and the newest of them."""

import os
from contextlib import suppress
from pathlib import Path

FENCE = "generation"


class OvertakenError(RuntimeError):
    """The directory is another journal's: ours must not train there."""

    def __init__(self, newest: int) -> None:
        super().__init__(f"generation {newest} of another journal has formed here")
        self.newest = newest


def claim(directory: Path, journal: str, generation: int, *, takes_over: bool) -> int:
    """Make the directory this generation's; returns -1, or the newest generation of whoever keeps it.

    Another journal's is taken over only by a newer number, and only if that is asked for. What can't be read
    or written, a full volume for one, stops no recovery.
    """
    fence = directory / FENCE
    with suppress(OSError):
        newest, owner = _read(fence)
        ours = owner in ("", journal) or (takes_over and newest < generation)
        if newest > generation or not ours:
            return newest
        directory.mkdir(parents=True, exist_ok=True)
        draft = fence.with_name(f"{FENCE}.{os.getpid()}")
        try:
            draft.write_text(f"{generation} {journal}\n", encoding="utf-8")
            draft.rename(fence)
        except OSError:
            draft.unlink(missing_ok=True)
    return -1


def _read(fence: Path) -> tuple[int, str]:
    """(-1, "") where nobody has been, or where a damaged file does not say who."""
    try:
        newest, owner = fence.read_text(encoding="utf-8").split()
        return int(newest), owner
    except (FileNotFoundError, ValueError):
        return -1, ""
