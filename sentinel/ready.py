"""Wait until something can be read; unlike select(2) also with descriptors above 1023."""

import select
from collections.abc import Iterable
from typing import Protocol, TypeAlias


class _Described(Protocol):
    def fileno(self) -> int: ...


Readable: TypeAlias = int | _Described


def is_ready(source: Readable, within_s: float) -> bool:
    """Say whether there is something to read, or its end, within so many seconds."""
    return bool(ready_of([source], within_s))


def ready_of(sources: Iterable[Readable], within_s: float) -> set[int]:
    """Give the descriptors that have something to read, or their end, as soon as one has: none if none."""
    poll = select.poll()
    for source in sources:
        poll.register(source, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(within_s * 1000)}
