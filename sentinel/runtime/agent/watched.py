"""A live rank as its agent holds it."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from sentinel.heartbeat import HeartbeatError, Record, process_name, read_open
from sentinel.heartbeat.process import state_and_label
from sentinel.model.check import RankProcess
from sentinel.model.ids import JobId, Seconds, WorkerId
from sentinel.model.report import RankBeat

log = structlog.get_logger(logger_name="agent")

_MENDED_S: Seconds = 10.0
"""For so long a record that its writer found damaged is not believed: what it had said may have been read."""
_AHEAD_S: Seconds = 2.0
"""No writer's beat is later than now; this is more than two clocks of one host differ by."""
_FRESH_NS = 20_000_000
"""What the kernel said of a process so lately is not asked again: a look and a report follow each other."""
_IN_A_ROW = 2
"""A writer that takes another place goes back for one look: of two in a row it does not."""

Process = tuple[int, int]
"""(pid, start time): what a later process with the same pid does not share."""


@dataclass(slots=True)
class Watched:
    """One live rank or standby, held by descriptors: whatever takes its path or its number is another one."""

    path: Path
    file: int
    """Its record, open: the one that the kernel says this process writes."""
    pidfd: int
    record: Record
    pid: int
    """In this namespace: the record has the number by which a process in a container knows itself."""
    name: str
    """What the kernel calls it now."""
    wrong: str = ""
    """Why its record can't be read or believed any more."""
    doubts: int = 0
    """Looks in a row at which it contradicted what it had said before."""
    _state: str = ""
    _state_at_ns: int = 0
    _label: bytes = b""

    @property
    def process(self) -> Process:
        """Identity of the process."""
        return (self.record.pid, self.record.started)

    def look(self) -> None:
        """Read its record, and the name that the process may have given itself meanwhile.

        One that can't be read, names another rank, or contradicts what it said before, is logged once; what
        was known stands, and is not believed.
        """
        now_ns = time.monotonic_ns()
        self._ask_kernel(now_ns)
        try:
            record = read_open(self.file, self.path)
            if _identity(record) != _identity(self.record):
                raise HeartbeatError(f"{self.path}: names another rank than {self.record.worker}")
            if why := _contradicts(self.record, record, now_ns):
                self._doubt(f"{self.path}: {why}")
                return
        except HeartbeatError as error:
            self._refuse(str(error))
            return
        self.record = record
        self.wrong, self.doubts = "", 0

    def _ask_kernel(self, now_ns: int) -> str:
        """Give the state of its process; its name is read again only when it is another one."""
        if now_ns - self._state_at_ns > _FRESH_NS:
            self._state, label = state_and_label(self.pid)
            self._state_at_ns = now_ns
            if label and label != self._label:
                self.name, self._label = process_name(self.pid) or self.name, label
        return self._state

    def _doubt(self, why: str) -> None:
        self.doubts += 1
        if self.doubts >= _IN_A_ROW:
            self._refuse(why)

    def _refuse(self, why: str) -> None:
        if why != self.wrong:
            log.warning("rank-record-refused", path=str(self.path), error=why)
        self.wrong = why

    def take(self, path: Path, file: int, record: Record) -> int:
        """Read another record from here on, which the process writes, too; gives the one before, open."""
        before, self.path, self.file, self.record = self.file, path, file, record
        self.wrong, self.doubts = "", 0
        return before

    def close(self) -> None:
        """Let go of record and process."""
        os.close(self.file)
        os.close(self.pidfd)

    def beat(self, now_ns: int) -> RankBeat:
        """Say what it is doing; `now_ns` is `time.monotonic_ns()`."""
        record = self.record
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
            state=self._ask_kernel(now_ns),
            phase_age_s=record.phase_age_s(now_ns),
            snapshot_step=record.snapshot_step,
            reason=record.reason,
            damaged=self._damaged(now_ns),
            world=record.world,
            checkpoint_step=record.checkpoint_step,
        )

    def _damaged(self, now_ns: int) -> str:
        """Say why the record is not believed now."""
        if self.wrong:
            return self.wrong.removeprefix(f"{self.path}: ")
        mended = self.record.mended_at_ns
        lately = mended and now_ns - mended < _MENDED_S * 1e9
        return "was cut, changed or removed, and its rank wrote it anew" if lately else ""

    def known(self) -> RankProcess:
        """Give it as the kernel's lines would name it."""
        return RankProcess(self.pid, self.name, self.record.rank, self.record.job)


def _identity(record: Record) -> tuple[str, str, int, int]:
    return record.job, record.worker, record.pid, record.started


def _contradicts(before: Record, now: Record, now_ns: int) -> str:
    """Say what no writer does: within a generation no count of it goes back, and no beat is to come."""
    if now.beat_age_s(now_ns) < -_AHEAD_S:
        return "its beat is of a time to come"
    if now.beat_thread_at_ns < before.beat_thread_at_ns or now.generation < before.generation:
        return "it is older than what it said before"
    if now.generation == before.generation and now.step < before.step:
        return f"its step went back from {before.step} to {now.step}"
    if now.generation == before.generation and now.enqueued != before.enqueued:
        counted = zip(now.enqueued, before.enqueued, strict=True)
        if any(count < earlier for count, earlier in counted):
            return "its collectives went back"
    return ""
