"""What makes the agent one process of its node: its lock, its door for nudges, its last word."""

import fcntl
import os
import socket
from pathlib import Path

EXIT_REFUSED = 2
"""The controller refused the key, or a key file, folder or check is wrong."""
EXIT_SECOND = 3
"""Another agent watches this node."""


class AgentError(Exception):
    """The agent can't start or go on; the message is for a human, the code for whoever started it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def lock(memory: Path, node: str) -> int:
    """Take the node's lock and give its descriptor. Raises AgentError when another agent holds it."""
    path = memory / "agent.lock"
    try:
        memory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise AgentError(f"--memory {memory}: {error.strerror}", EXIT_REFUSED) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        told = f"another agent watches {node} already ({path} is locked)"
        raise AgentError(told, EXIT_SECOND) from None
    return descriptor


def nudge_socket(path: Path) -> socket.socket:
    """Open the socket that ranks nudge when they have left a note: it wakes the loop at once."""
    path.unlink(missing_ok=True)
    nudge = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    nudge.setblocking(False)
    try:
        nudge.bind(str(path))
    except OSError as error:
        raise AgentError(f"{path}: {error}", 1) from None
    return nudge
