"""What the kernel says about a process of this host."""

import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path

UNREAD = "?"
"""The state of a process that the kernel tells us nothing of now, such as when we may open no more files."""
_STAT_SIZE = 4096
_STATUS_SIZE = 8192
_FILES = 4096
"""Open files of a process that are looked at: its record is among the first."""
_REMOVED = " (deleted)"
_FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""PROC_PID_INIT_INO of include/linux/proc_ns.h: the namespace in which the kernel counts processes."""


def process_state(pid: int) -> str:
    """Give the kernel's letter for a process of this host, `R S D T t Z I`; `X` when it is gone, or `?`."""
    return state_and_start(pid)[0]


def state_and_start(pid: int) -> tuple[str, int]:
    """Give a process's state letter and start time, fields 3 and 22 of its stat; ("X", -1) if gone."""
    state, _, rest = _stat(pid)
    return state, int(rest.split()[18]) if rest else -1


def state_and_label(pid: int) -> tuple[str, bytes]:
    """Give a process's state letter, and what changes with its name; empty where nobody can read it."""
    state, name, _ = _stat(pid)
    return state, name


def _stat(pid: int) -> tuple[str, bytes, bytes]:
    """Give state, name as it is written there, and the fields after the state."""
    try:
        stat = contents(f"/proc/{pid}/stat", _STAT_SIZE)
    except (FileNotFoundError, ProcessLookupError):
        return "X", b"", b""
    except OSError:
        return UNREAD, b"", b""
    name, _, fields = stat.rpartition(b") ")  # the name may hold spaces and parentheses
    return chr(fields[0]), name, fields[2:]


def process_name(pid: int) -> str:
    """Give the kernel's name of a process, at most 15 characters; empty when it is gone."""
    try:
        return contents(f"/proc/{pid}/comm", _STAT_SIZE).decode(errors="replace").removesuffix("\n")
    except OSError:
        return ""


Numbers = Mapping[tuple[int, int], int]
"""(the number by which a process knows itself, its start time) → its number here."""


def contained() -> Numbers:
    """Find every process that has a namespace of its own: NSpid lists all the numbers that it has."""
    numbers = (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())
    named = ((own, pid) for pid in numbers if (own := own_number(pid)) not in (-1, pid))
    return {(own, state_and_start(pid)[1]): pid for own, pid in named}


def find_process(pid: int, started: int, inside: Callable[[], Numbers] = contained) -> int:
    """Give this namespace's number of the process that calls itself `pid` and began at `started`; 0 if gone.

    In a container a process has a number of its own, and its host knows it by another. The start time, clock
    ticks since boot, is the same wherever it is read.
    """
    if state_and_start(pid)[1] == started:
        return pid
    return inside().get((pid, started), 0)


def writes(pid: int, name: str, file: os.stat_result) -> bool:
    """Say whether a process holds this file, of this name, open for writing: that no file can claim of it.

    What else it holds is not touched, for that may lie on a file server that is gone. Raises OSError where
    the kernel does not let us look.
    """
    with os.scandir(f"/proc/{pid}/fd") as held:
        for each in islice(held, _FILES):
            with suppress(FileNotFoundError):  # closed meanwhile
                path = Path(each.path)
                if path.readlink().name.removesuffix(_REMOVED) != name:
                    continue
                if path.lstat().st_mode & stat.S_IWUSR and os.path.samestat(path.stat(), file):
                    return True
    return False


def counts_as_the_kernel() -> bool:
    """Say whether processes have the same numbers here as in the kernel's own lines."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino == _FIRST_PID_NAMESPACE
    except OSError:
        return False


def own_number(pid: int) -> int:
    """Give the number by which a process knows itself; -1 when it is gone."""
    try:
        status = contents(f"/proc/{pid}/status", _STATUS_SIZE)
    except OSError:
        return -1
    listed = status.partition(b"\nNSpid:")[2].partition(b"\n")[0].split()
    return int(listed[-1]) if listed else -1


def contents(path: str | os.PathLike[str], most: int) -> bytes:
    """Read a small file with three system calls and nothing else: agents do this all day. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)
