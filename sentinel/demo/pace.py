"""How fast training goes on while something is broken that must not stop it."""

from collections.abc import Iterable, Mapping
from typing import Any

from sentinel.model.ids import Instant, Seconds

USUAL_S: Seconds = 10.0
"""So far back the usual pace is looked for."""
SLOWEST = 0.4
"""Least share of the usual pace. Training that something holds up stands still, or steps once per time-out;
the processes that are started to repair it may well take a core of two for a second."""


def pace(steps: Iterable[Mapping[str, Any]], since: Instant, until: Instant) -> float | None:
    """Give steps a second from `since` to `until` as a share of those before; None if there were none."""
    times = sorted(float(line["at"]) for line in steps)
    before = [at for at in times if since - USUAL_S <= at <= since]
    during = [at for at in times if since < at <= until]
    if len(before) < 2 or until <= since:
        return None
    usual = (len(before) - 1) / (before[-1] - before[0])
    return round(len(during) / (until - since) / usual, 2)


def too_slow(what: str, share: float | None) -> list[str]:
    """Say so when training went on too slowly."""
    enough = share is not None and share >= SLOWEST
    return [] if enough else [f"{what} training went on at {share} of its usual pace"]
