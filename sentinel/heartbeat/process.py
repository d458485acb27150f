"""What the kernel says about a process of this host."""

import os

_STAT_SIZE = 4096


def process_state(pid: int) -> str:
    """Give the kernel's letter for a process of this host, `R S D T t Z I`; `X` when it is gone."""
    return state_and_start(pid)[0]


def state_and_start(pid: int) -> tuple[str, int]:
    """Give a process's state letter and start time, fields 3 and 22 of its stat; ("X", -1) if gone."""
    try:
        stat = contents(f"/proc/{pid}/stat", _STAT_SIZE)
    except OSError:
        return "X", -1
    fields = stat.rpartition(b")")[2].split()  # the name before it may hold spaces and parentheses
    return fields[0].decode(), int(fields[19])


def contents(path: str | os.PathLike[str], most: int) -> bytes:
    """Read a small file with three system calls and nothing else: agents do this all day. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)
