"""The step log, `step time pid rank` a line: what was completed when, and by which process."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.recovery.contender import WORLD


@dataclass(frozen=True, slots=True)
class Line:
    """One rank completed one step, at this time in seconds since the epoch."""

    step: int
    at: float
    pid: int
    rank: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """The first step beyond the fault, completed on all ranks."""

    at: float
    steps_lost: int
    pids_kept: int


def read(path: Path) -> list[Line]:
    """Read every complete line; none when the log is not there yet."""
    if not path.exists():
        return []
    text = path.read_text()
    return [_line(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _line(text: str) -> Line:
    step, at, pid, rank = text.split()
    return Line(int(step), float(at), int(pid), int(rank))


def newest_per_rank(lines: Iterable[Line]) -> dict[int, Line]:
    """Give the last line that each rank wrote."""
    return {line.rank: line for line in lines}


def completed(lines: Iterable[Line]) -> int:
    """The newest step that all ranks have completed, -1 for none."""
    newest = newest_per_rank(lines)
    return min(line.step for line in newest.values()) if len(newest) == WORLD else -1


def find_recovery(lines: Sequence[Line], victim: Line) -> Recovery | None:
    """Look for the first step, never completed before, that includes the victim's successor.

    A survivor may end the step of the fault after the injection: that step does not count, because
    the victim's rank did not end it, or ended it in its old process.
    """
    last = max(line.step for line in lines if line.pid == victim.pid)
    successor = [line for line in lines if line.rank == victim.rank and line.pid != victim.pid]
    started = lines.index(successor[0]) if successor else len(lines)
    beyond = [line.step for line in successor if line.step > last]
    if not beyond:
        return None
    ends = {line.rank: line for line in lines if line.step == min(beyond)}
    if len(ends) < WORLD:
        return None
    before = {line.pid for line in lines[:started] if line.at <= victim.at}
    return Recovery(
        at=max(line.at for line in ends.values()),
        steps_lost=max(0, last + 1 - successor[0].step),
        pids_kept=sum(line.pid in before for line in ends.values()),
    )
