"""Ending the agent that holds a node's lock and is not heard: it may be stopped, so it is not asked."""

import os
import signal
from contextlib import suppress

from sentinel.heartbeat import find_process, writes
from sentinel.heartbeat.process import state_and_start
from sentinel.model.ids import Seconds
from sentinel.ready import is_ready

ENDS_WITHIN_S: Seconds = 5.0
"""A killed process is gone at once, unless it waits in the kernel: then nobody can end it."""
_MOST = 64
"""Bytes of a signature."""


def sign(lock: int) -> None:
    """Write into the lock who holds it: a pid, and when that process started in clock ticks since boot."""
    pid = os.getpid()
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{pid} {state_and_start(pid)[1]}\n".encode(), 0)


def end_holder(lock: int, name: str) -> str:
    """Kill the process that holds the lock, and wait until it is gone; gives why that failed, or nothing.

    It is the one if its start time is the recorded one and it has this very file, called `name`, open.
    """
    words = os.pread(lock, _MOST, 0).split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        return "it has not written down who it is"
    recorded, started = map(int, words)
    pid = find_process(recorded, started)
    try:
        held = os.pidfd_open(pid) if pid > 0 else -1
    except OSError:
        held = -1
    if held < 0:
        return f"its process {recorded} is not seen from here"
    try:
        return _kill(held, pid, started, lock, name)
    finally:
        os.close(held)


def _kill(held: int, pid: int, started: int, lock: int, name: str) -> str:
    """Kill the process that the descriptor stands for, whatever comes to have its pid."""
    try:
        if state_and_start(pid)[1] != started or not writes(pid, name, os.fstat(lock)):
            return f"process {pid} is another one by now"
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(held, signal.SIGKILL)
    except OSError as error:
        return f"process {pid} can't be ended: {error.strerror}"
    ended = is_ready(held, ENDS_WITHIN_S)
    return "" if ended else f"process {pid} does not end: it waits in the kernel"
