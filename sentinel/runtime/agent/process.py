"""What makes the agent one process of its node: its lock, its port for nudges, its last word."""

import fcntl
import os
import socket
from pathlib import Path

from sentinel import private
from sentinel.runtime.agent.take_over import end_holder, sign

EXIT_REFUSED = 2
"""The controller refused the key, or a key file, folder or check is wrong."""
OURS_ALONE = 0o077
"""The umask of agent and prober: whatever they make, nobody else reads."""
_LOCK = "agent.lock"
EXIT_SECOND = 3
"""Another agent watches this node."""


class AgentError(Exception):
    """The agent can't start or go on; the message is for a human, the code for whoever started it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def lock(memory: Path, node: str, *, take_over: bool = False) -> int:
    """Take the node's lock, sign it, and give its descriptor; with `take_over` its holder is ended first.

    Raises AgentError when another agent holds it, or the memory directory is not ours alone.
    """
    path = memory / _LOCK
    try:
        private.make_memory(memory)
        descriptor = private.open_file(path, os.O_RDWR | os.O_CREAT)
    except private.NotPrivateError as error:
        raise AgentError(f"--memory: {error}", EXIT_REFUSED) from None
    except OSError as error:
        raise AgentError(f"--memory {memory}: {error.strerror}", EXIT_REFUSED) from None
    if not _locked(descriptor):
        failed = end_holder(descriptor, _LOCK) if take_over else "it is left alone"
        if failed or not _locked(descriptor):
            message = f"another agent watches {node} already ({path} is locked): {failed or 'one came first'}"
            raise AgentError(message, EXIT_SECOND)
    sign(descriptor)
    return descriptor


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def nudge_socket(path: Path) -> socket.socket:
    """Open the socket that ranks nudge when they have left a note: it wakes the loop at once."""
    nudge = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    nudge.setblocking(False)
    try:
        path.unlink(missing_ok=True)
        nudge.bind(str(path))
    except OSError as error:
        raise AgentError(f"{path}: {error}", 1) from None
    return nudge
