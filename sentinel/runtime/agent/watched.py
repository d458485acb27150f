"""A live rank as its agent holds it."""

import os
from dataclasses import dataclass
from pathlib import Path

import structlog

from sentinel.heartbeat import HeartbeatError, Record, process_name, process_state, read_open
from sentinel.model.check import RankProcess
from sentinel.model.ids import JobId, WorkerId
from sentinel.model.report import RankBeat

log = structlog.get_logger(logger_name="agent")

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
    """Why its record can't be read any more."""

    @property
    def process(self) -> Process:
        """Identity of the process."""
        return (self.record.pid, self.record.started)

    def look(self) -> None:
        """Read its record, and the name that the process may have given itself meanwhile.

        One that can't be read, or names another rank than it did, is logged once; what was known stands.
        """
        try:
            record = read_open(self.file, self.path)
            if _identity(record) != _identity(self.record):
                raise HeartbeatError(f"{self.path}: names another rank than {self.record.worker}")
        except HeartbeatError as error:
            if str(error) != self.wrong:
                log.warning("rank-record-refused", path=str(self.path), error=str(error))
            self.wrong = str(error)
            return
        self.record, self.name = record, process_name(self.pid) or self.name

    def take(self, path: Path, file: int, record: Record) -> int:
        """Read another record from here on, which the process writes, too; gives the one before, open."""
        before, self.path, self.file, self.record = self.file, path, file, record
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
            state=process_state(self.pid),
            phase_age_s=record.phase_age_s(now_ns),
            snapshot_step=record.snapshot_step,
            reason=record.reason,
        )

    def known(self) -> RankProcess:
        """Give it as the kernel's lines would name it."""
        return RankProcess(self.pid, self.name, self.record.rank)


def _identity(record: Record) -> tuple[str, str, int, int]:
    return record.job, record.worker, record.pid, record.started
