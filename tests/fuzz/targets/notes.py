"""Notes of ranks to their agent, from the file to the report that the agent sends."""

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sentinel.model.codec import decode, encode, to_plain
from sentinel.model.ids import NodeId, WorkerId
from sentinel.model.report import Report
from sentinel.runtime.agent.notes import Notes
from sentinel.runtime.agent.spool import Spool
from tests.fuzz.targets.reports import EVENTS, WORKER


class OneRank:
    """A node with one rank."""

    def is_known(self, worker: WorkerId, pid: int) -> bool:
        return (worker, pid) == (WORKER.id, WORKER.pid)


def seeds() -> Iterator[bytes]:
    """One note of each kind of event."""
    yield from (json.dumps(to_plain(event)).encode() for event in EVENTS)


@contextmanager
def opened(folder: Path) -> Iterator[Callable[[bytes], bool]]:
    """Have an agent collect one note after the other; accepted is what it will tell its controller."""
    directory, numbers = folder / "errors", itertools.count()
    directory.mkdir(0o700)

    def take(data: bytes) -> bool:
        path = directory / f"{next(numbers)}.json"
        path.write_bytes(data)
        path.chmod(0o600)
        spool = Spool()
        Notes(directory, spool, OneRank()).collect()
        pending = spool.pending()
        decode(Report, encode(Report(NodeId("n1"), "boot", 1, (), pending)))
        path.unlink()
        return bool(pending)

    yield take
