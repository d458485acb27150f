"""The lease that ranks look at: when the controller last answered this node's agent."""

import os
import struct
import time
from contextlib import suppress
from pathlib import Path

from sentinel import private

_FORM = struct.Struct("<q")


class Lease:
    """Eight bytes in the memory directory: CLOCK_MONOTONIC of the last renewal in ns, 0 for never."""

    def __init__(self, path: Path) -> None:
        """Go on with what the last agent left, and anew where that is no lease. Raises OSError."""
        self._file = private.open_file(path, os.O_RDWR | os.O_CREAT)
        if os.fstat(self._file).st_size != _FORM.size:
            os.ftruncate(self._file, 0)
            self._write(0)  # a full memory directory says so here

    def renew(self) -> None:
        """The controller has just answered."""
        with suppress(OSError):  # somebody has cut it short, and memory is full
            self._write(time.monotonic_ns())

    def _write(self, at_ns: int) -> None:
        os.pwrite(self._file, _FORM.pack(at_ns), 0)
