"""The rank processes of one node: their heartbeat records, their ends, and ending them."""

import errno
import os
import signal
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sentinel.heartbeat import (
    SUFFIX,
    HeartbeatError,
    Record,
    contained,
    find_process,
    open_record,
    process_name,
    read,
    read_open,
    writes,
)
from sentinel.heartbeat.process import Numbers, state_and_start
from sentinel.model.check import RankProcess
from sentinel.model.ids import JobId, Seconds, WorkerId
from sentinel.model.report import DONE, STOPPED_ITSELF, ExitSeen, RankBeat
from sentinel.runtime.agent.folder import Folder, LaterError
from sentinel.runtime.agent.how_it_ended import how_it_ended
from sentinel.runtime.agent.process_logs import Log, ProcessLogs
from sentinel.runtime.agent.watched import Process, Watched

_MOST = 512
"""Ranks and standbys that are watched at a time."""
_ENDED = 256
"""Ended processes remembered, so that their records are not taken for new ones."""
_LATELY: Seconds = 300.0
"""So long the kernel's lines about an ended process may still come: one waits for the driver's timeouts."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A rank that is gone, and the record it left."""

    event: ExitSeen
    path: Path
    started: int

    def remove_record(self) -> None:
        """Remove the record it left, unless a later process writes there by now."""
        try:
            record = read(self.path)
        except HeartbeatError:
            return
        if (record.pid, record.started) == (self.event.pid, self.started):
            self.path.unlink(missing_ok=True)


class Ranks:
    """Every rank and standby whose heartbeat record lies in the directory.

    A record is believed only of the process that writes it, for anybody's bytes may name any process: the
    kernel says whether that process has this very file open. Raises NotPrivateError.
    """

    def __init__(self, directory: Path) -> None:
        self._folder = Folder(directory, SUFFIX, "rank-record")
        self._watched: dict[Process, Watched] = {}
        self._ended: OrderedDict[Process, WorkerId] = OrderedDict()
        self._logs = ProcessLogs()
        self._lately: deque[tuple[Seconds, RankProcess]] = deque(maxlen=_ENDED)
        """When which process was seen to have ended."""

    @property
    def pidfds(self) -> Iterable[int]:
        """Descriptors that become readable when their process ends."""
        return [watched.pidfd for watched in self._watched.values()]

    def refresh(self) -> list[Ended]:
        """Read every record, begin to watch new ones; give those whose process had already ended."""
        for watched in self._watched.values():
            watched.look()
        found = []
        inside = cache(contained)  # all of /proc is looked through once, however many records ask for it
        for path in self._folder.new():
            try:
                ended = self._take(path, inside)
            except (HeartbeatError, LaterError, OSError) as error:
                self._folder.refuse(path, error)
            else:
                found += [ended] if ended is not None else []
        return found

    def _take(self, path: Path, inside: Callable[[], Numbers]) -> Ended | None:
        """Begin to watch the process that writes a record.

        Raises HeartbeatError, OSError where none does; LaterError while another process is its worker.
        """
        with ExitStack() as held:
            file = open_record(path)
            held.callback(os.close, file)
            record = _read_named(path, file)
            if (record.pid, record.started) in self._ended:
                return None
            pid = find_process(record.pid, record.started, inside)
            pidfd = _open_process(pid)
            if pidfd is None:
                return self._end_unseen(path, record, "unknown")
            held.callback(os.close, pidfd)
            watched = Watched(path, file, pidfd, record, pid, process_name(pid))
            state, started = state_and_start(pid)  # after pidfd_open: the pid keeps its owner
            if state in "XZ" or started not in (record.started, -1):
                how = how_it_ended(pidfd, pid) if started == record.started else "unknown"
                return self._end_unseen(path, record, how, watched)
            self._check(watched)
            if watched.process not in self._watched:
                self._watched[watched.process] = watched
                self._logs.began(pid)
                held.pop_all()
            else:
                held.callback(os.close, self._watched[watched.process].take(path, os.dup(file), record))
        return None

    def _check(self, watched: Watched) -> None:
        """See that a process, and no other, writes its worker's record. Raises as `_take` does."""
        path, pid, worker = watched.path, watched.pid, watched.record.worker
        is_ours = Path(f"/proc/{pid}").stat().st_uid == os.geteuid()
        if not is_ours or not writes(pid, path.name, os.fstat(watched.file)):
            raise HeartbeatError(f"{path}: process {pid} does not write it")
        if any(
            each.record.worker == worker and key != watched.process for key, each in self._watched.items()
        ):
            raise LaterError
        if len(self._watched) >= _MOST:
            raise HeartbeatError(f"{path}: {_MOST} ranks are watched already")

    def reap(self, pidfd: int) -> Ended | None:
        """Take note that the process behind a readable descriptor has ended."""
        watched = next((each for each in self._watched.values() if each.pidfd == pidfd), None)
        if watched is None:
            return None
        watched.look()  # it has removed its record, or its successor writes there by now
        how = how_it_ended(pidfd, watched.pid)
        self._watched = {key: each for key, each in self._watched.items() if each is not watched}
        watched.close()
        self._logs.ended(watched.pid, _named(watched))
        return self._end(watched.path, watched.record, how, watched)

    def _end_unseen(self, path: Path, record: Record, how: str, watched: Watched | None = None) -> Ended:
        """Tell the end of a process that nobody watched. Raises HeartbeatError where its rank lives."""
        if any(each.record.worker == record.worker for each in self._watched.values()):
            raise HeartbeatError(f"{path}: names a process that is gone, and {record.worker} lives")
        unseen_s = max(0.0, record.beat_age_s(time.monotonic_ns()))
        return self._end(path, record, how, watched, unseen_s)

    def _end(
        self, path: Path, record: Record, how: str, watched: Watched | None = None, unseen_s: Seconds = 0.0
    ) -> Ended:
        self._ended[(record.pid, record.started)] = WorkerId(record.worker)
        if len(self._ended) > _ENDED:
            self._ended.popitem(last=False)
        if watched is not None:
            self._lately.append((time.monotonic(), watched.known()))
        if how == "unknown":
            how = _last_word(record) or how
        event = ExitSeen(
            JobId(record.job),
            record.rank,
            WorkerId(record.worker),
            record.pid,
            record.generation,
            record.gpu,
            how,
            unseen_s,
        )
        return Ended(event, path, record.started)

    def beats(self) -> tuple[RankBeat, ...]:
        """What every live rank is doing now. The server of metrics asks, too, on its own thread."""
        now_ns = time.monotonic_ns()
        return tuple(watched.beat(now_ns) for watched in tuple(self._watched.values()))

    def processes(self) -> tuple[RankProcess, ...]:
        """Every process that is ours or was it lately, as the kernel's lines name it."""
        since = time.monotonic() - _LATELY
        ended = (known for at, known in self._lately if at > since)
        return (*(watched.known() for watched in self._watched.values()), *ended)

    def logs(self) -> list[Log]:
        """Give where the agent and its ranks write, and where those did that ended lately."""
        return self._logs.sources({each.pid: _named(each) for each in self._watched.values()})

    def pid_here(self, rank: int, pid: int) -> int:
        """Give this namespace's number of the live rank that knows itself by `pid`; 0 if there is none."""
        known = (each for each in self._watched.values() if each.record.pid == pid)
        return next((each.pid for each in known if each.record.rank == rank), 0)

    def records_of(self, processes: Iterable[tuple[int, int]]) -> dict[int, Path]:
        """Give the heartbeat records of those (rank, own pid) that live here, by rank."""
        wanted = set(processes)
        known = ((each.record.rank, each.record.pid, each.path) for each in self._watched.values())
        return {rank: path for rank, pid, path in known if (rank, pid) in wanted}

    def is_known(self, worker: WorkerId, pid: int) -> bool:
        """Whether this process is, or was lately, the worker of this name."""
        return self.has_ended(worker, pid) or any(
            (each.record.worker, each.record.pid) == (worker, pid) for each in self._watched.values()
        )

    def pids(self) -> Iterable[int]:
        """Process ids of all live ranks."""
        return [pid for pid, _ in self._watched]

    def has_ended(self, worker: WorkerId, pid: int) -> bool:
        """Whether this very process was seen to end."""
        return any(pid == each[0] and worker == name for each, name in self._ended.items())

    def pid_of(self, worker: WorkerId) -> int:
        """Process that has the worker's name; 0 for none."""
        return next((w.record.pid for w in self._watched.values() if w.record.worker == worker), 0)

    def kill(self, worker: WorkerId, pid: int) -> str:
        """SIGKILL the process, stopped or not, if it is the worker's of this pid; else say why not."""
        for watched in self._watched.values():
            if watched.record.worker == worker and watched.record.pid == pid:
                with suppress(ProcessLookupError):  # it has just ended by itself
                    signal.pidfd_send_signal(watched.pidfd, signal.SIGKILL)
                return ""
        return f"no heartbeat record ties worker {worker} to process {pid}"


def _named(watched: Watched) -> str:
    """Say who a process is."""
    rank = watched.record.rank
    who = f"rank {rank}" if rank >= 0 else f"standby {watched.record.worker}"
    return f"{who} (pid {watched.pid})"


def _last_word(record: Record) -> str:
    """Say how a process ended by its own hand, which it alone could write; empty where it said nothing."""
    if record.phase == "done":
        return DONE
    said = record.reason.partition(":")[0]
    return said if record.phase == "failed" and said in STOPPED_ITSELF else ""


def _read_named(path: Path, file: int) -> Record:
    """Read a record of ours that lies under its worker's name. Raises HeartbeatError."""
    record = read_open(file, path)
    if os.fstat(file).st_uid != os.geteuid():
        raise HeartbeatError(f"{path}: is another user's")
    if path.name != f"{record.worker}{SUFFIX}":
        raise HeartbeatError(f"{path}: is a record of {record.worker}")
    return record


def _open_process(pid: int) -> int | None:
    """Hold a process; None when it is gone. Raises OSError when no more can be held."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL):
            return None
        raise
