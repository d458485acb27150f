"""The node's clock, by the kernel's own word: whether it still follows a time server.

Nothing is ever judged by a node's clock. Its log lines, and whatever the job stamps, are dated by it.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from sentinel.checks._kept import remembered
from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health, skipped

UNSYNCHRONISED = 0x0040
"""`STA_UNSYNC` of `adjtimex(2)`: the kernel sets it when nobody has disciplined the clock for long."""
_ROOM = 512
"""Bytes for `struct timex`, which has 208."""


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("others", ctypes.c_char * _ROOM),
    )


class Memory(msgspec.Struct):
    """What is remembered."""

    was_synchronised: bool = False


UNKNOWN_S = 16.0
"""The kernel's NTP_PHASE_LIMIT: the error grows up to there while no time server is followed."""


@dataclass(frozen=True, slots=True)
class ClockSample:
    """What the kernel says of its clock."""

    synchronised: bool
    was_synchronised: bool
    """At some time since the machine started."""
    error_s: float
    """By how much it may be off at most; `UNKNOWN_S` say that nobody knows."""


def measure(machine: Machine) -> ClockSample:
    """Ask the kernel; changes nothing. Raises OSError where it refuses."""
    timex = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")
    error_s = timex.maxerror / 1e6
    synchronised = is_synchronised(timex.status, error_s)
    with remembered(machine.kept, "clock", Memory) as memory:
        memory.was_synchronised |= synchronised
        return ClockSample(synchronised, memory.was_synchronised, error_s)


def is_synchronised(status: int, error_s: float) -> bool:
    """Say whether somebody disciplines it. Without `rtcsync` chrony leaves the flag, and tells the error."""
    return not status & UNSYNCHRONISED or error_s < UNKNOWN_S


def judge(sample: ClockSample) -> Iterator[Finding]:
    """Warn of a clock that was synchronised and is no more.

    Of one that never was nobody knows whether it should be: a guest may leave its clock to its host. That is
    not in order, either.
    """
    if sample.synchronised:
        return
    if not sample.was_synchronised:
        yield skipped(
            "clock", "the clock follows no time server, nor was it seen to since the machine started"
        )
    else:
        said = "the clock follows no time server any more"
        evidence = {"error_s": round(sample.error_s, 3)}
        yield Finding("clock", "clock-unsynchronised", "clock", Health.WARNING, said, evidence)


def metrics(sample: ClockSample) -> dict[Series, float]:
    """By how much the clock may be off, where that is known, and whether it follows a time server."""
    known = {series("clock_error_seconds"): sample.error_s} if sample.error_s < UNKNOWN_S else {}
    return {**known, series("clock_synchronised"): float(sample.synchronised)}


CHECK = Check(
    "clock",
    every=60.0,
    deadline=5.0,
    measure=measure,
    judge=judge,
    causes=(),
    metrics=metrics,
    of_this_host=True,
)
