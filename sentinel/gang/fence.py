"""Whose a job's directory is: the journal whose generations form there, and the newest of them.

It has no seal: a new head node, whose keys are others, has to read it. Whoever can write to the directory can
keep the job from forming there, as by removing its checkpoints.
"""

import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import structlog

from sentinel import private

_log = structlog.get_logger(logger_name=__name__)

FENCE = "generation"
_CONTENT = re.compile(rb"(\d{1,15}) ([!-~]{1,64})\s*")


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
        private.make_shared_folder(directory)
        if why := private.open_to_others(directory):
            _log.warning(
                "job-directory-is-open", why=why, trusted="only checkpoints that this job has sealed"
            )
        private.write(fence, f"{generation} {journal}\n".encode(), shared=True)
    return None


def _read(fence: Path) -> Owner:
    """Nobody's, too, where a damaged file does not say whose."""
    try:
        content = _CONTENT.fullmatch(private.read(fence, 256, shared=True))
    except (FileNotFoundError, private.NotPrivateError):
        content = None
    return Owner(int(content[1]), content[2].decode()) if content else Owner(-1, "")
