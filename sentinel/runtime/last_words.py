"""The end of a log, whatever is in it."""

import os
from pathlib import Path

from sentinel import private

_TAIL_BYTES = 16_384


def tail_of(log: Path) -> list[str]:
    """Give the last lines of a log that hold words; none where there is no log of ours."""
    try:
        with os.fdopen(private.open_file(log, os.O_RDONLY), "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip()]


def last_words(log: Path) -> str:
    """Give the last line of a log, and where it is."""
    said = tail_of(log)
    return f"{said[-1] if said else 'it said nothing'} ({log})"
