"""A cluster's own runbooks, a folder beside the journal: those enabled, and drafts that nobody has."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sentinel import private
from sentinel.model.ids import Cause
from sentinel.runbooks import RunbookError, read_beside, there

DRAFTS = "drafts"
"""The folder in it whose runbooks decide nothing."""
NAME = re.compile(r"[a-z][a-z0-9-]{1,63}")
"""What a cause may be called: its page's address ends with it."""
_LONGEST = 1 << 20
IN_FORCE, DRAFT, BUNDLED = "enabled", "draft", "bundled"


class Known(NamedTuple):
    """One runbook that there is."""

    cause: str
    state: str
    """`bundled | enabled | draft`"""
    title: str
    file: Path
    wrong: str = ""
    """Why it can't be read; empty if it can."""


def draft_file(own: Path, cause: str) -> Path:
    """Give where a draft of this cause lies. Raises RunbookError for what is no name."""
    if not NAME.fullmatch(cause):
        wanted = "expected small letters, digits and hyphens, such as gpu-lost"
        raise RunbookError(f"cause {cause!r:.80}: {wanted}")
    return own / DRAFTS / f"{cause}.md"


def write_draft(own: Path, cause: str, text: str) -> Path:
    """Keep a draft, in the place of none; gives its file. Raises RunbookError, OSError."""
    file = draft_file(own, cause)
    if file.exists():
        raise RunbookError(f"{file}: there already; remove it, or give the draft another name with --cause")
    private.make_folder(own)
    private.make_folder(file.parent)
    private.write(file, text.encode(errors="backslashreplace"), durable=True)
    return file


def enable(own: Path, cause: str) -> Path:
    """Have a draft decide from the controller's next start on; gives its file.

    Raises RunbookError, also for what would keep a controller from starting; OSError.
    """
    file = draft_file(own, cause)
    if (enabled := own / file.name).exists():
        raise RunbookError(f"{enabled}: is enabled already")
    _see(file)
    read_beside(there(own), file)
    _move(file, enabled)
    return enabled


def disable(own: Path, cause: str) -> Path:
    """Make one a draft again; gives its file. Raises RunbookError, OSError."""
    file = draft_file(own, cause)
    _see(enabled := own / file.name)
    if file.exists():
        raise RunbookError(f"{file}: a draft of this name is there already")
    private.make_folder(file.parent)
    _move(enabled, file)
    return file


def listed(own: Path) -> Iterator[Known]:
    """Give every runbook that there is, also one that can't be read."""
    books = there()
    yield from (Known(book.cause, BUNDLED, book.title, file) for file, book in books.items())
    for state, folder in ((IN_FORCE, own), (DRAFT, own / DRAFTS)):
        for file in sorted(folder.glob("*.md")):
            try:
                yield Known(Cause(file.stem), state, read_beside(books, file).title, file)
            except RunbookError as error:
                yield Known(Cause(file.stem), state, "", file, str(error))


def _move(file: Path, to: Path) -> None:
    private.write(to, private.read(file, _LONGEST), durable=True)
    file.unlink()


def _see(file: Path) -> None:
    """Raise RunbookError where a file is not there, with those that are."""
    if not file.is_file():
        known = ", ".join(each.stem for each in sorted(file.parent.glob("*.md"))) or "none"
        raise RunbookError(f"{file}: no such file; in this folder are: {known}")
