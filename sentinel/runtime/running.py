"""A process that a file names: acted on only while it is the very one that was written down, and ours."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psutil

from sentinel import private
from sentinel.heartbeat.process import state_and_start
from sentinel.model.ids import Seconds

WATCHDOG, CONTROLLER = "sentinel.runtime.watchdog", "sentinel.runtime.controller"
"""The modules as which they run."""
_LONGEST = 64
"""Bytes of a file that are looked at."""


class Running(NamedTuple):
    """A process as no other will ever be on this boot."""

    pid: int
    started: int
    """In clock ticks after the boot."""

    @property
    def alive(self) -> bool:
        """True until it has ended, whoever has its number then."""
        state, started = state_and_start(self.pid)
        return state not in "XZ" and started == self.started

    @property
    def age(self) -> Seconds:
        """How long ago it was started."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.started / os.sysconf("SC_CLK_TCK")

    @contextmanager
    def held(self) -> Iterator[int]:
        """Give a descriptor of it, by which no other is meant. Raises ProcessLookupError when it is gone."""
        handle = os.pidfd_open(self.pid)
        try:
            if not self.alive:
                raise ProcessLookupError(self.pid)
            yield handle
        finally:
            os.close(handle)

    def send(self, number: signal.Signals) -> None:
        """Signal it, if it is still there."""
        with suppress(ProcessLookupError), self.held() as handle:
            signal.pidfd_send_signal(handle, number)


def write(path: Path, running: Running) -> None:
    """Write a process down. Raises OSError."""
    private.write(path, text_of(running))


def text_of(running: Running) -> bytes:
    """Give what is written down of a process."""
    return b"%d %d\n" % running


def child(pid: int) -> Running:
    """Look at a child of this process, which nobody has waited for: it is there, and has its number alone."""
    return Running(pid, state_and_start(pid)[1])


def unit(process: Running) -> str:
    """Name the systemd unit that started a process and would start it again; empty if none did."""
    with suppress(OSError, psutil.Error):
        if psutil.Process(process.pid).environ().get("SYSTEMD_EXEC_PID") != str(process.pid):
            return ""  # its children inherit the variable, and are others
        groups = Path(f"/proc/{process.pid}/cgroup").read_text(encoding="utf-8").split()
        return next((name for group in groups if (name := group.rpartition("/")[2]).endswith(".service")), "")
    return ""


def find(path: Path, module: str) -> Running | None:
    """Give the living process that a file names, if it is ours and was started as `python -m MODULE`.

    Whatever the file holds, this raises nothing: who is not found is left alone.
    """
    with suppress(OSError, ValueError, TypeError, OverflowError, psutil.Error):
        found = Running(*map(int, private.read(path, _LONGEST).split()))
        process = psutil.Process(found.pid)
        ours = process.uids().real == os.geteuid() and ("-m", module) in pairwise(process.cmdline())
        return found if ours and found.alive else None
    return None
