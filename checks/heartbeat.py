"""Heartbeat records: whether a rank's process is stopped, its beat thread stands still, its record lies."""

from collections.abc import Iterator, Sequence

from sentinel.model.check import Check, Machine
from sentinel.model.finding import Finding, Health
from sentinel.model.report import STOPPED, RankBeat

STALE_S = 3.0
"""The beat thread runs several times a second; a pause this long is no scheduling delay."""


def measure(machine: Machine) -> Sequence[RankBeat]:
    """Give the newest records."""
    return machine.beats


def judge(beats: Sequence[RankBeat]) -> Iterator[Finding]:
    """Find ranks that can't be going on, and records that say nothing of theirs."""
    for beat in beats:
        if beat.state in STOPPED:
            yield _finding(beat, "rank-stopped", Health.CRITICAL, "is stopped (SIGSTOP or a debugger)")
        if beat.damaged:
            yield _finding(
                beat, "record-damaged", Health.WARNING, f"is not believed: its record {beat.damaged}"
            )
        elif beat.beat_age_s > STALE_S and beat.state not in STOPPED:
            why = "sleeps in the kernel" if beat.state == "D" else "holds its interpreter"
            yield _finding(beat, "rank-beat-stale", Health.WARNING, f"does not beat: it {why}")


def _finding(beat: RankBeat, code: str, health: Health, what: str) -> Finding:
    component = f"rank-{beat.rank}" if beat.rank >= 0 else f"worker-{beat.worker}"
    evidence: dict[str, str | int | float] = {
        "pid": beat.pid,
        "worker": beat.worker,
        "generation": beat.generation,
        "state": beat.state,
        "beat_age_s": round(beat.beat_age_s, 3),
        "phase": beat.phase,
        "step": beat.step,
    }
    return Finding("heartbeat", code, component, health, f"{component} (pid {beat.pid}) {what}", evidence)


CHECK = Check(
    "heartbeat",
    every=0.5,
    deadline=1.0,
    measure=measure,
    judge=judge,
    causes=("rank-hang", "record-damaged"),
    on_exit=True,
    in_agent=True,
)
