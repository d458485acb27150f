"""Reading /sys and /proc: one value a file, which may be missing, cut off, or nonsense."""

import errno
import os
import re
from pathlib import Path

_LONGEST = 4096
"""The kernel gives a page at most."""
_NUMBER = re.compile(r"-?[0-9]{1,20}")
_NO_VALUE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.EOPNOTSUPP, errno.ENODEV, errno.ENXIO}
)
"""There is no such value: no file, a device that is just going, or a driver that says it has none, as a
network driver does of a speed without a link."""


class UnreadableError(Exception):
    """A value is there and can't be read, or is none; the message names the file and says why."""


def text(path: Path) -> str | None:
    """Give a file's text without the blanks around it; None where there is no such value."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return os.read(descriptor, _LONGEST).decode(errors="replace").strip()
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _NO_VALUE:
            return None
        raise UnreadableError(f"{path}: {error.strerror}") from None


def number(path: Path) -> int | None:
    """Give a file's whole number; None where there is no such value."""
    found = text(path)
    if found is None or found.startswith("N/A"):  # as the RDMA core says of a counter that a device lacks
        return None
    return whole(found, path)


def whole(found: str, path: Path) -> int:
    """Give a whole number as the kernel writes it."""
    if not _NUMBER.fullmatch(found):
        raise UnreadableError(f"{path}: {found!r:.40} is no number")
    return int(found)


def entries(folder: Path) -> list[Path]:
    """Give what a folder holds, by name; nothing where there is no such folder."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        if error.errno in _NO_VALUE:
            return []
        raise UnreadableError(f"{folder}: {error.strerror}") from None
