"""How far a node's kernel log was read and told, kept in a file for the node's next agent."""

import contextlib
import time
from functools import cache
from pathlib import Path
from uuid import UUID

from sentinel.model.ids import Seconds

_TOUCH_EVERY: Seconds = 5.0


class Bookmark:
    """A place in the log of this boot; one of another boot is none."""

    def __init__(self, path: Path | None) -> None:
        """Keep it at `path`; None: nobody reads on."""
        self._path = path
        self._kept: tuple[int, ...] = ()
        self._touched = 0.0

    def found(self) -> tuple[int, ...]:
        """Return where the last reader of this boot was, however long ago; nothing if there was none."""
        with contextlib.suppress(OSError, ValueError):
            if self._path:
                boot, *place = map(int, self._path.read_text().split())
                return tuple(place) if boot == boot_number() else ()
        return ()

    def age(self) -> Seconds:
        """How long ago everything before this place was told: what comes after it is no older."""
        with contextlib.suppress(OSError):
            if self._path and self.found():
                return max(0.0, time.time() - self._path.stat().st_mtime)
        return time.monotonic()

    def keep(self, *place: int) -> None:
        """Write down where the next reader begins, and now and then that this one still is there."""
        now = time.monotonic()
        if self._path is None or (place == self._kept and now < self._touched + _TOUCH_EVERY):
            return
        self._kept, self._touched = place, now
        draft = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full memory directory must not end the watching
            draft.write_text(" ".join(map(str, (boot_number(), *place))))
            draft.replace(self._path)


@cache
def boot_number() -> int:
    """Number of this boot of the kernel: it counts its records and its time anew in the next."""
    return UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).int
