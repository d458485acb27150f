"""Whose a job's directory is: the journal whose generations form there, and the newest of them."""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

FENCE = "generation"


class Owner(NamedTuple):
    """Who keeps a directory."""

    newest: int
    """Generation; -1 where nobody has been."""
    journal: str


class OvertakenError(RuntimeError):
    """The directory is somebody else's: this generation must not train there."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(f"generation {owner.newest} of journal {owner.journal} has formed here")
        self.owner = owner


def claim(directory: Path, journal: str, generation: int, *, takes_over: str = "") -> Owner | None:
    """Make the directory this generation's; returns whoever keeps it instead.

    `takes_over` is the one other journal whose directory it may become, by a newer number. What can't be read
    or written, a full volume for one, stops no recovery.
    """
    fence = directory / FENCE
    with suppress(OSError):
        owner = _read(fence)
        ours = owner.journal in ("", journal)
        taken = owner.journal == takes_over and owner.newest < generation
        if owner.newest > generation or not (ours or taken):
            return owner
        directory.mkdir(parents=True, exist_ok=True)
        draft = fence.with_name(f"{FENCE}.{os.getpid()}")
        try:
            draft.write_text(f"{generation} {journal}\n", encoding="utf-8")
            draft.rename(fence)
        except OSError:
            draft.unlink(missing_ok=True)
    return None


def _read(fence: Path) -> Owner:
    """Nobody's, too, where a damaged file does not say whose."""
    try:
        newest, journal = fence.read_text(encoding="utf-8").split()
        return Owner(int(newest), journal)
    except (FileNotFoundError, ValueError):
        return Owner(-1, "")
