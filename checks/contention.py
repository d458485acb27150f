"""Ranks that wait for a processor: others run on the node, or it has too few for what the job wants."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health

PROC = Path("/proc")
WINDOW_S = 30.0
LEAST_S = 10.0
"""Over less than this nothing is said."""
CONTENDED = 0.25
"""Share of the window in which a rank could have run and had to wait: its step takes a third longer."""
EASED = 0.15
"""Under this it is over: what lies between changes nothing."""


@dataclass(slots=True)
class Watched:
    """What is known between two looks. It lies in the agent; after its restart the window begins anew."""

    waited: dict[int, list[tuple[float, int]]]
    """Pid → (seconds of the monotonic clock, nanoseconds waited since it started), oldest first."""
    contended: bool = False


@dataclass(frozen=True, slots=True)
class ContentionSample:
    """By rank, the share of the window in which it waited; and whether the node counts as contended."""

    shares: Mapping[int, float]
    contended: bool


_WATCHED = Watched({})


def measure(machine: Machine) -> ContentionSample:
    """Ask the scheduler how long each rank of this node has waited for a processor."""
    pids = [(each.rank, each.pid) for each in machine.processes if each.rank >= 0]
    return look(PROC, pids, _WATCHED, time.monotonic())


def look(proc: Path, ranks: Sequence[tuple[int, int]], watched: Watched, now: float) -> ContentionSample:
    """Read the ranks' `schedstat`; `ranks` are pairs of rank and pid."""
    shares: dict[int, float] = {}
    seen: dict[int, list[tuple[float, int]]] = {}
    for rank, pid in ranks:
        if (waited := _waited(proc / str(pid) / "schedstat")) is None:
            continue
        known = [each for each in watched.waited.get(pid, []) if each[1] <= waited]
        while len(known) > 1 and known[1][0] <= now - WINDOW_S:
            del known[0]
        if known and (seconds := now - known[0][0]) >= LEAST_S:
            shares[rank] = (waited - known[0][1]) / 1e9 / seconds
        if not known or now >= known[-1][0] + 1.0:
            known.append((now, waited))
        seen[pid] = known
    watched.waited = seen
    most = max(shares.values(), default=0.0)
    watched.contended = most > (EASED if watched.contended else CONTENDED)
    return ContentionSample(shares, watched.contended)


def _waited(path: Path) -> int | None:
    """Read nanoseconds on a processor, waiting for one, and how often it got one."""
    try:
        words = path.read_text().split()
        return int(words[1]) if len(words) == 3 else None
    except (OSError, ValueError):
        return None


def judge(sample: ContentionSample) -> Iterator[Finding]:
    """Warn while a rank has to wait: a slow rank of a busy host is given time."""
    if sample.contended:
        rank = max(sample.shares, key=lambda each: sample.shares[each])
        evidence = {"rank": rank, "waited_share": round(sample.shares[rank], 3)}
        said = f"ranks of this node wait for a processor for over {EASED:.0%} of the time"
        yield Finding("contention", "cpu-contention", "cpu", Health.WARNING, said, evidence)


def metrics(sample: ContentionSample) -> dict[Series, float]:
    """The share of the time in which each rank had to wait."""
    return {series("rank_cpu_wait_ratio", rank=rank): share for rank, share in sample.shares.items()}


CHECK = Check(
    "contention",
    every=5.0,
    deadline=1.0,
    measure=measure,
    judge=judge,
    causes=(),
    metrics=metrics,
    in_agent=True,
    of_this_host=True,
)
