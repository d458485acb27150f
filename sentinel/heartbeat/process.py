"""What the kernel says about a process of this host."""

from pathlib import Path


def process_state(pid: int) -> str:
    """Give the kernel's letter for a process of this host, `R S D T t Z I`; `X` when it is gone."""
    return state_and_start(pid)[0]


def state_and_start(pid: int) -> tuple[str, int]:
    """Give a process's state letter and start time, fields 3 and 22 of its stat; ("X", -1) if gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return "X", -1
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
    return fields[0], int(fields[19])
