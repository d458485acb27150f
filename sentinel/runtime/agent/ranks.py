"""The rank processes of one node: their heartbeat records, their ends, and ending them."""

import contextlib
import fcntl
import os
import signal
import struct
import time
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sentinel.heartbeat import (
    SUFFIX,
    HeartbeatError,
    Record,
    find_process,
    process_name,
    process_state,
    read,
)
from sentinel.heartbeat.process import state_and_start
from sentinel.model.check import RankProcess
from sentinel.model.ids import JobId, Seconds, WorkerId
from sentinel.model.report import ExitSeen, RankBeat

_ENDED = 256
"""Ended processes remembered, so that their records are not taken for new ones."""
_LATELY: Seconds = 300.0
"""So long the kernel's lines about an ended process may still come: one waits for the driver's timeouts."""
_PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, struct pidfd_info of 64 bytes), since Linux 6.13
_PIDFD_INFO_EXIT = 1 << 3  # since Linux 6.15: tells how a process ended after it was reaped
_PIDFD_INFO = struct.Struct("QQ11Ii")

Process = tuple[int, int]
"""(pid, start time): what a later process with the same pid does not share."""


@dataclass(slots=True)
class Watched:
    """One live rank or standby."""

    path: Path
    pidfd: int
    record: Record
    pid: int
    """In this namespace: the record has the number by which a process in a container knows itself."""
    name: str
    """What the kernel calls it now."""

    @property
    def process(self) -> Process:
        """Identity of the process."""
        return (self.record.pid, self.record.started)

    def update(self, record: Record) -> None:
        """Take a newer record, and the name that the process may have given itself meanwhile."""
        self.record, self.name = record, process_name(self.pid) or self.name

    def known(self) -> RankProcess:
        """Give it as the kernel's lines would name it."""
        return RankProcess(self.pid, self.name, self.record.rank)


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
    """Every rank and standby whose heartbeat record lies in the directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._watched: dict[Process, Watched] = {}
        self._ended: OrderedDict[Process, WorkerId] = OrderedDict()
        self._lately: deque[tuple[Seconds, RankProcess]] = deque(maxlen=_ENDED)
        """When which process was seen to have ended."""
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def pidfds(self) -> Iterable[int]:
        """Descriptors that become readable when their process ends."""
        return [watched.pidfd for watched in self._watched.values()]

    def refresh(self) -> list[Ended]:
        """Read every record, begin to watch new ones; give those whose process had already ended."""
        found = []
        for entry in os.scandir(self._directory):
            if not entry.name.endswith(SUFFIX) or entry.name.startswith("."):
                continue
            path = self._directory / entry.name
            try:
                record = read(path)
            except HeartbeatError:
                continue  # just removed, or not ours: what can't be read is not believed
            if (ended := self._take(path, record)) is not None:
                found.append(ended)
        return found

    def _take(self, path: Path, record: Record) -> Ended | None:
        process = (record.pid, record.started)
        if process in self._watched:
            self._watched[process].update(record)
            return None
        if process in self._ended:
            return None
        pid = find_process(record.pid, record.started)
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return self._end(path, record, "unknown")
        watched = Watched(path, pidfd, record, pid, process_name(pid))
        state, started = state_and_start(pid)  # asked after the descriptor is held: the pid keeps its owner
        if state in "XZ" or started != record.started:
            how = _how_it_ended(pidfd, pid) if started == record.started else "unknown"
            os.close(pidfd)
            return self._end(path, record, how, watched)
        self._watched[process] = watched
        return None

    def reap(self, pidfd: int) -> Ended | None:
        """Take note that the process behind a readable descriptor has ended."""
        watched = next((each for each in self._watched.values() if each.pidfd == pidfd), None)
        if watched is None:
            return None
        with contextlib.suppress(HeartbeatError):  # it removed its record on its way out: the last one stands
            record = read(watched.path)
            if (record.pid, record.started) == watched.process:  # else its successor writes there by now
                watched.update(record)
        how = _how_it_ended(pidfd, watched.pid)
        self._watched = {key: each for key, each in self._watched.items() if each is not watched}
        os.close(pidfd)
        return self._end(watched.path, watched.record, how, watched)

    def _end(self, path: Path, record: Record, how: str, watched: Watched | None = None) -> Ended:
        self._ended[(record.pid, record.started)] = WorkerId(record.worker)
        if len(self._ended) > _ENDED:
            self._ended.popitem(last=False)
        if watched is not None:
            self._lately.append((time.monotonic(), watched.known()))
        event = ExitSeen(
            JobId(record.job),
            record.rank,
            WorkerId(record.worker),
            record.pid,
            record.generation,
            record.gpu,
            how,
        )
        return Ended(event, path, record.started)

    def beats(self) -> tuple[RankBeat, ...]:
        """What every live rank is doing now. The server of metrics asks, too, on its own thread."""
        now_ns = time.monotonic_ns()
        return tuple(_beat(watched, now_ns) for watched in tuple(self._watched.values()))

    def processes(self) -> tuple[RankProcess, ...]:
        """Every process that is ours or was it lately, as the kernel's lines name it."""
        since = time.monotonic() - _LATELY
        ended = (known for at, known in self._lately if at > since)
        return (*(watched.known() for watched in self._watched.values()), *ended)

    def pid_here(self, pid: int) -> int:
        """Give this namespace's number of a live rank that knows itself by `pid`; `pid` if there is none."""
        return next((w.pid for w in self._watched.values() if w.record.pid == pid), pid)

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
        """SIGKILL the process, stopped or not, if its record ties worker and pid; else say why not."""
        for watched in self._watched.values():
            if watched.record.worker == worker and watched.record.pid == pid:
                signal.pidfd_send_signal(watched.pidfd, signal.SIGKILL)
                return ""
        return f"no heartbeat record ties worker {worker} to process {pid}"


def _beat(watched: Watched, now_ns: int) -> RankBeat:
    record = watched.record
    return RankBeat(
        job=JobId(record.job),
        rank=record.rank,
        worker=WorkerId(record.worker),
        pid=record.pid,
        gpu=record.gpu,
        generation=record.generation,
        step=record.step,
        phase=record.phase,
        enqueued=sum(record.enqueued),
        completed=sum(record.completed),
        outside_s=record.outside_s,
        arrival=record.arrival,
        loss=record.loss,
        beat_age_s=record.beat_age_s(now_ns),
        state=process_state(watched.pid),
        phase_age_s=record.phase_age_s(now_ns),
        snapshot_step=record.snapshot_step,
        reason=record.reason,
    )


def _how_it_ended(pidfd: int, pid: int) -> str:
    """Say `signal 9`, `exit 1` or `unknown`: the kernel tells a non-parent only while, or long after."""
    status = _status_of_zombie(pid)
    if status is None:
        status = _status_of_reaped(pidfd)
    if status is None:
        return "unknown"
    return f"signal {status & 0x7F}" if status & 0x7F else f"exit {status >> 8 & 0xFF}"


def _status_of_zombie(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[49]) if fields[0] in "ZX" else None


def _status_of_reaped(pidfd: int) -> int | None:
    info = bytearray(_PIDFD_INFO.pack(_PIDFD_INFO_EXIT, *[0] * 13))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    mask, *_, status = _PIDFD_INFO.unpack(info)
    return status if mask & _PIDFD_INFO_EXIT else None
