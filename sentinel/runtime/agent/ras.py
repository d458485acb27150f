"""What NCCL's own RAS threads say of a job: which processes are missing, and which communicators differ.

Since NCCL 2.24 each process of a job has such a thread, and one on each node answers `verbose status` on port
28028 of the loopback, or where `NCCL_RAS_ADDR` says. It is text for people, of another shape in each release:
nothing is concluded from it, and it is set in, so that no line of it looks like one of ours.
"""

import os
import socket
import time
from contextlib import closing

from sentinel.model.ids import Seconds

ADDRESS = "localhost:28028"
QUESTION = b"VERBOSE STATUS\n"
CONNECTS_S: Seconds = 0.2
_LARGEST = 1 << 14
"""A summary is a page; of a big job in trouble its beginning says most."""


def begin() -> socket.socket | None:
    """Ask, if somebody listens; gives the connection to read the answer from."""
    host, _, port = (os.environ.get("NCCL_RAS_ADDR") or ADDRESS).rpartition(":")
    try:
        asked = socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECTS_S)
    except (OSError, ValueError, OverflowError):
        return None
    try:
        asked.sendall(QUESTION)
    except OSError:
        asked.close()
        return None
    return asked


def finish(asked: socket.socket, until: Seconds) -> str:
    """Give what was answered by then; empty if nothing was. It closes the connection."""
    said = b""
    with closing(asked):
        try:
            while len(said) < _LARGEST and (left := until - time.monotonic()) > 0:
                asked.settimeout(left)
                if not (more := asked.recv(_LARGEST)):
                    break
                said += more
        except OSError:  # time is up, or it hung up: what came stands
            pass
    lines = (line for line in said[:_LARGEST].decode(errors="replace").splitlines() if line.strip())
    shown = ["".join(each if each.isprintable() else "?" for each in line) for line in lines]
    return "\n".join(["NCCL's RAS:", *(f"  {line}" for line in shown)]) if shown else ""
