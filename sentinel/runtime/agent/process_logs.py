"""What the processes of a node have written of late: where their standard streams lead, if that is a file."""

import contextlib
import os
import queue
import socket
import stat
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sentinel.model.counted import counted
from sentinel.model.report import LogsNow, OrderDone
from sentinel.redact import redact

MOST_BYTES = 256 * 1024
"""Of all logs in one answer; a report holds 16 MiB."""
LATELY = 16
"""Files of ended processes that can still be read: why one ended is what its log is looked at for."""
_STREAMS = (1, 2)
"""Standard output and standard error."""
_NO_FILES = ("/dev/", "/proc/", "/memfd:")
_ELSEWHERE = "not in a file that can be read here: a terminal, a pipe or the system's journal has it\n"


class Log(NamedTuple):
    """One file, and whose it is."""

    owner: str
    """`agent`, `rank 3 (pid 17)`, `standby moe-7 (pid 18)`."""
    path: str
    """As its process knows it; empty where it writes to none."""
    opened: str
    """What it is opened by: a process's own descriptor leads to its file from any namespace."""


class ProcessLogs:
    """Knows where each process writes, also for a while after its end.

    Links are read and nothing is opened, for a log may lie on a file server that is gone.
    """

    def __init__(self) -> None:
        self._living: dict[int, tuple[Log, ...]] = {}
        self._ended: deque[Log] = deque(maxlen=LATELY)
        self._namespace = _namespace(os.getpid())

    def began(self, pid: int) -> None:
        """Note where a process writes."""
        here = _namespace(pid) == self._namespace
        self._living[pid] = tuple(each for each in _logs(pid) if here or not each.path)

    def ended(self, pid: int, name: str) -> None:
        """Keep the names of its files, if they are found under these here, too."""
        for each in self._living.pop(pid, ()):
            self._ended.append(Log(f"{name}, ended", each.path, each.path))

    def sources(self, names: Mapping[int, str]) -> list[Log]:
        """Give this process's log, those of the living by these names, and those that ended lately."""
        living = {os.getpid(): "agent", **names}
        found = [each._replace(owner=name) for pid, name in living.items() for each in _logs(pid)]
        return [*found, *reversed(self._ended)]


class LogTaker:
    """Reads logs on a thread of its own, one order after the other, and nudges the loop when it has them."""

    def __init__(self, nudge: Path) -> None:
        self._nudge = nudge
        self._done: queue.SimpleQueue[OrderDone] = queue.SimpleQueue()
        self._one_by_one = threading.Lock()

    def begin(self, order: LogsNow, sources: Sequence[Log]) -> None:
        """Start to read the end of these logs; while one can't be read, nobody waits behind it."""
        if self._one_by_one.locked():
            self._done.put(OrderDone(order.order, False, "the logs asked for before are still being read"))
            self._call()
        else:
            threading.Thread(target=self._read, args=(order, sources), daemon=True).start()

    def done(self) -> Iterator[OrderDone]:
        """Give what is finished by now, each once."""
        while not self._done.empty():
            yield self._done.get()

    def _read(self, order: LogsNow, sources: Sequence[Log]) -> None:
        with self._one_by_one:
            texts = tuple(map(redact, tails(sources, order.lines)))
        self._done.put(OrderDone(order.order, True, counted(len(texts), "log"), texts))
        self._call()

    def _call(self) -> None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nudge:
            nudge.sendto(b"", str(self._nudge))


def tails(sources: Sequence[Log], last: int) -> Iterator[str]:
    """Give the last lines of each file as a text, whose first line says whose it is and where.

    Lines that do not fit are left out, the oldest first; each file has an equal share.
    """
    files: dict[str, list[Log]] = {}
    for each in sources:
        files.setdefault(each.path, []).append(each)
    silent = files.pop("", [])
    for path, owners in files.items():
        names = ", ".join(dict.fromkeys(each.owner for each in owners))
        yield f"{names}: {path}\n{_tail(owners[0].opened, last, MOST_BYTES // len(files))}"
    if silent:
        yield f"{', '.join(each.owner for each in silent)}: {_ELSEWHERE}"


def _logs(pid: int) -> list[Log]:
    """Give the files that a process's standard streams lead to, each once, or one without a path."""
    found: dict[str, Log] = {}
    for stream in _STREAMS:
        link = Path(f"/proc/{pid}/fd/{stream}")
        with contextlib.suppress(OSError):
            path = str(link.readlink())
            if path.startswith("/") and not path.startswith(_NO_FILES):
                found.setdefault(path, Log("", path, str(link)))
    return [*found.values()] or [Log("", "", "")]


def _namespace(pid: int) -> str:
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    return ""


def _tail(opened: str, last: int, most: int) -> str:
    """Give the end of a file of ours, or why it can't be read."""
    try:
        descriptor = os.open(opened, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                return "(no file of ours)\n"
            start = max(0, status.st_size - most)
            file.seek(start)
            lines = file.read(most).decode(errors="replace").splitlines()
    except OSError as error:
        return f"({error.strerror})\n"
    lines = lines[1:] if start and len(lines) > 1 else lines  # the first of them is cut
    return "".join(f"{line}\n" for line in lines[-last:]) or "(empty)\n"
