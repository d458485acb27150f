"""Many idle connections at once, and a process that may have few files."""

import contextlib
import resource
import socket
from collections.abc import Iterator

from sentinel.adapters.strangers import raise_descriptor_limit

FEW_FILES = 1024


@contextlib.contextmanager
def crowd(port: int, many: int, said: bytes = b"") -> Iterator[list[socket.socket]]:
    """Open so many connections that say no more than this."""
    raise_descriptor_limit()
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(_stranger(port, said)) for _ in range(many)]


def _stranger(port: int, said: bytes) -> socket.socket:
    stranger = socket.create_connection(("127.0.0.1", port), timeout=10)
    with contextlib.suppress(OSError):  # it was sent away already
        stranger.sendall(said)
    return stranger


def with_few_files() -> None:
    """Leave a child process as many files as most systems give one at first, and no way to more."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, FEW_FILES))
