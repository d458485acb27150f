"""Notes that a rank leaves for its node's agent: events as files, and the lease that the agent renews."""

import contextlib
import json
import os
import socket
import struct
import time
from pathlib import Path

from sentinel.model.codec import to_plain
from sentinel.model.report import Event


def leave(memory: Path, name: str, event: Event) -> None:
    """Leave an event for the agent, whole or not at all, and nudge it.

    In a full memory directory it is lost; that a rank has failed is in its heartbeat record all the same.
    """
    directory = memory / "errors"
    unfinished = directory / f".{name}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps(to_plain(event)))
        unfinished.rename(directory / f"{name}.json")
    except OSError:
        unfinished.unlink(missing_ok=True)
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nudge:
        nudge.setblocking(False)
        nudge.sendto(b"", os.fspath(memory / "nudge"))


def lease_age(memory: Path) -> float:
    """Seconds since the controller last answered this node's agent; infinite if it never did."""
    try:
        (renewed,) = struct.unpack("<q", (memory / "lease").read_bytes()[:8])
    except (OSError, struct.error):
        return float("inf")
    return float(time.monotonic_ns() - renewed) / 1e9
