"""Wait until something can be read; unlike select(2) also with descriptors above 1023."""

import select
from typing import Protocol, TypeAlias


class _Described(Protocol):
    def fileno(self) -> int: ...


Readable: TypeAlias = int | _Described


def is_ready(source: Readable, within_s: float) -> bool:
    """Say whether there is something to read, or its end, within so many seconds."""
    poll = select.poll()
    poll.register(source, select.POLLIN)
    return bool(poll.poll(within_s * 1000))
