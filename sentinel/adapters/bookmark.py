"""How far a node's kernel log was read and told, kept in a file for the node's next agent."""

import contextlib
import time
from functools import cache
from pathlib import Path
from uuid import UUID

from sentinel import private
from sentinel.model.ids import Seconds

_TOUCH_EVERY: Seconds = 5.0
_MOST = 256
"""Bytes of a bookmark, and more."""
_NUMBERS = range(2**63)


class Bookmark:
    """A place in the log of this boot; one of another boot is none."""

    def __init__(self, path: Path | None, numbers: int) -> None:
        """Keep at `path` a place of so many numbers; None: nobody reads on."""
        self._path = path
        self._length = numbers
        self._kept: tuple[int, ...] = ()
        self._touched = 0.0

    def found(self) -> tuple[int, ...]:
        """Return where the last reader of this boot was, however long ago; nothing if there was none."""
        with contextlib.suppress(OSError, ValueError):
            if self._path:
                boot, *place = map(int, private.read(self._path, _MOST).split())
                is_one = len(place) == self._length and all(each in _NUMBERS for each in place)
                return tuple(place) if is_one and boot == boot_number() else ()
        return ()

    def age(self) -> Seconds:
        """How long ago everything before this place was told: what comes after it is no older."""
        with contextlib.suppress(OSError):
            if self._path and self.found():
                return max(0.0, time.time() - self._path.lstat().st_mtime)
        return time.monotonic()

    def keep(self, *place: int) -> None:
        """Write down where the next reader begins, and now and then that this one still is there."""
        now = time.monotonic()
        if self._path is None or (place == self._kept and now < self._touched + _TOUCH_EVERY):
            return
        self._kept, self._touched = place, now
        with contextlib.suppress(OSError):  # a full memory directory must not end the watching
            private.write(self._path, " ".join(map(str, (boot_number(), *place))).encode())


@cache
def boot_number() -> int:
    """Number of this boot of the kernel: it counts its records and its time anew in the next."""
    return UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).int
