"""How fast training goes on while something is broken that must not stop it."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from statistics import median
from typing import Any

from sentinel.model.ids import Instant

USUAL = 100
"""The usual pace is that of so many steps before: their median, for some were held up by an earlier fault."""
SLOWEST = 0.5
"""Least share of the usual pace. Training that something holds up stands still or steps once per time-out;
a processor that others want as well, such as a new agent that starts, takes less than half of it away."""


def pace(steps: Iterable[Mapping[str, Any]], since: Instant, until: Instant) -> float | None:
    """Give steps a second from `since` to `until` as a share of those before; None if there were none."""
    times = sorted(float(line["at"]) for line in steps)
    before = [at for at in times if at <= since][-USUAL:]
    if len(before) < 2 or until <= since:
        return None
    usual = median(later - earlier for earlier, later in pairwise(before))
    during = sum(since < at <= until for at in times)
    return round(during * usual / (until - since), 2)


def too_slow(what: str, share: float | None) -> list[str]:
    """Say so when training went on too slowly."""
    enough = share is not None and share >= SLOWEST
    return [] if enough else [f"{what} training went on at {share} of its usual pace"]
