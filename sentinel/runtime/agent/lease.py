"""The lease that ranks look at: when the controller last answered this node's agent."""

import mmap
import struct
import time
from pathlib import Path


class Lease:
    """Eight bytes in the memory directory: CLOCK_MONOTONIC of the last renewal in ns, 0 for never."""

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            if file.tell() != 8:
                file.truncate(0)
                file.write(bytes(8))  # a full memory directory says so here, and not with SIGBUS later
                file.flush()
            self._memory = mmap.mmap(file.fileno(), 8)

    def renew(self) -> None:
        """The controller has just answered."""
        struct.pack_into("<q", self._memory, 0, time.monotonic_ns())
