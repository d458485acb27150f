"""Notes that a rank leaves for its node's agent: events as files, and the lease that the agent renews."""

import contextlib
import json
import os
import socket
import struct
import time
from pathlib import Path
from typing import TypeAlias

from sentinel import private
from sentinel.model.codec import to_plain
from sentinel.model.finding import TRAINER
from sentinel.model.report import FindingSeen, RaisedSeen

SNAPSHOTS = "snapshots"
"""The check that each rank makes of its own snapshots."""
CHECKS = frozenset({TRAINER, SNAPSHOTS})
"""What a rank speaks for: of its node's health it says nothing."""
SUFFIX = ".json"
Note: TypeAlias = RaisedSeen | FindingSeen
"""What a rank may tell."""


def leave(memory: Path, name: str, event: Note) -> None:
    """Leave an event for the agent, whole or not at all, and nudge it.

    In a full memory directory it is lost; that a rank has failed is in its heartbeat record all the same.
    """
    with contextlib.suppress(OSError):
        directory = private.make_folder(memory / "errors")
        private.write(directory / f"{name}{SUFFIX}", json.dumps(to_plain(event)).encode())
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nudge:
        nudge.setblocking(False)
        nudge.sendto(b"", os.fspath(memory / "nudge"))


def lease_age(memory: Path) -> float:
    """Seconds since the controller last answered this node's agent; infinite if it never did."""
    try:
        (renewed,) = struct.unpack("<q", private.read(memory / "lease", 8))
    except (OSError, struct.error):
        return float("inf")
    return float(time.monotonic_ns() - renewed) / 1e9
