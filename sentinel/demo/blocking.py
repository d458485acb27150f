"""Files that nobody can open for a while: a write lease makes the kernel hold every reader in `open`.

The kernel breaks a lease by itself after /proc/sys/fs/lease-break-time (45 s).
"""

import fcntl
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sentinel.demo.sandbox import wait

HOLD_WITHIN_S = 10.0


class Blocked:
    """Some files under lease, from construction to `release`."""

    def __init__(self, paths: Sequence[Path]) -> None:
        signal.signal(signal.SIGIO, lambda *_: None)  # how the kernel says that somebody wants in
        self._files = [os.open(path, os.O_RDWR) for path in paths]
        wait("leases on files that nobody reads", HOLD_WITHIN_S, self._take, 0.001)

    def _take(self) -> bool:
        """Take all leases or none: a reader that has a file open forbids one."""
        try:
            for file in self._files:
                fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            for file in self._files:
                with suppress(OSError):
                    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            return False
        return True

    def wanted(self) -> bool:
        """Say whether somebody waits at every file."""
        return all(fcntl.fcntl(file, fcntl.F_GETLEASE) != fcntl.F_WRLCK for file in self._files)

    def release(self) -> None:
        """Let everybody in; twice is harmless."""
        while self._files:
            os.close(self._files.pop())


def refused(directory: Path) -> str:
    """Why files of this directory can't be blocked; empty when they can."""
    probe = directory / ".lease"
    try:
        probe.touch()
        Blocked([probe]).release()
    except OSError as error:
        return f"its file system grants no leases: {error}"
    finally:
        probe.unlink(missing_ok=True)
    return ""
