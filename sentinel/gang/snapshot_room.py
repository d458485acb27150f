"""Memory for a slot, taken before anything is written: a volume that is full says so at once."""

import errno
import os
from pathlib import Path

from sentinel import private

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CANNOT_SAY = (errno.EOPNOTSUPP, errno.EINVAL)
"""What a file system says that can't set room aside."""


def take_room(path: Path, size: int) -> bool:
    """Make this file, or have it grow, so that `size` bytes fit; say whether they do."""
    file = private.open_file(path, os.O_RDWR | os.O_CREAT)
    try:
        missing = size - os.fstat(file).st_blocks * 512
        return missing <= 0 or (_has_free(file, missing) and _allocated(file, size))
    finally:
        os.close(file)


def _has_free(file: int, size: int) -> bool:
    """Ask the volume first: to take gigabytes and to give them back again would take seconds."""
    volume = os.fstatvfs(file)
    limited = volume.f_blocks > 0  # a tmpfs without a limit has no blocks at all
    return not limited or volume.f_bavail * volume.f_frsize >= size


def _allocated(file: int, size: int) -> bool:
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno in _FULL:
            return False
        if error.errno not in _CANNOT_SAY:
            raise
    return True
