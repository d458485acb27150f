"""A network link in its past of this boot: when it was up, at what rate, how often it went down."""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import msgspec

DOWN_S = 10.0
"""A link that heals within 7 s is not noticed by NCCL, one that stays down longer ends its connections."""
FLAP_WINDOW_S = 300.0
FLAPS = 2
"""Drops within the window from which on a link flaps; one that heals is none."""
FLAP_HOLD_S = 3600.0
"""For so long after its last flap a link counts as flapping: it is quiet between two."""
SETTLES_S = 300.0
"""So long after boot links train, bonds form and names change: that one goes down meanwhile is no flap."""
GONE_LOOKS = 3
"""A device is gone if so many looks in a row miss it (NVSentinel)."""
Evidence = Mapping[str, str | int | float]


class Link(msgspec.Struct):
    """What is remembered of a link that was up in this boot; times are the monotonic clock's."""

    best: float
    """Its highest rate."""
    down_since: float | None = None
    drops: list[float] = []
    flapped_at: float | None = None
    missed: int = 0
    """Looks in a row that did not find it."""


class Past(NamedTuple):
    """What a link's past says now; all zero for one that never was up: nobody may have put a cable in."""

    best: float = 0.0
    down_s: float = 0.0
    """For how long one that was up is not."""
    drops: int = 0
    """Within `FLAP_WINDOW_S`, `FLAPS` at most."""
    flaps: bool = False
    missed: int = 0


NEVER_UP = Past()


class Trouble(NamedTuple):
    """What became of a link that worked."""

    code: str
    """`gone`, `down`, `flapping` or `slow`"""
    said: str
    evidence: Evidence


def remember(links: dict[str, Link], name: str, rate: float | None, downed: int, now: float) -> Past:
    """Take a look at a link: its rate, None while it is down, and by how much its own count of drops grew."""
    if (link := links.get(name)) is None:
        if rate is None:
            return NEVER_UP
        links[name] = Link(rate)  # one that comes up for the first time may have been tried several times
        return Past(rate)
    was_down, link.missed = link.down_since is not None, 0
    # what its counter adds while it is down is the drop that is known already
    drops = downed - 1 if was_down else max(downed, int(rate is None))
    if rate is not None:
        link.best, link.down_since = max(link.best, rate), None
    elif not was_down:
        link.down_since = now
    drops = drops if now >= SETTLES_S else 0
    recent = [at for at in link.drops if at > now - FLAP_WINDOW_S]
    link.drops = [*recent, *[now] * drops][-FLAPS:]
    if drops > 0 and len(link.drops) >= FLAPS:
        link.flapped_at = now
    elif link.flapped_at is not None and link.flapped_at <= now - FLAP_HOLD_S:
        link.flapped_at = None
    down_s = now - link.down_since if link.down_since is not None else 0.0
    return Past(link.best, down_s, len(link.drops), link.flapped_at is not None)


def missed(links: Mapping[str, Link], found: Collection[str]) -> dict[str, Past]:
    """Count a look that did not find some links; gives their past by name."""
    gone = {name: link for name, link in links.items() if name not in found}
    for link in gone.values():
        link.missed += 1
    return {name: Past(link.best, missed=link.missed) for name, link in gone.items()}


def troubles(past: Past, rate: float | None, unit: str, state: str) -> Iterator[Trouble]:
    """Say what is wrong with a link that worked; `state` is what its driver says of it now.

    The words stay the same while a state does: else it would look like a new one each time.
    """
    if past.missed >= GONE_LOOKS:
        yield Trouble("gone", "was there and is gone", {"rate_before": past.best})
    if past.down_s >= DOWN_S:
        yield Trouble("down", "is down", {"state": state, "down_s": round(past.down_s, 1)})
    if past.flaps:
        said = f"goes down again and again: {FLAPS} times within {FLAP_WINDOW_S:.0f} s"
        yield Trouble("flapping", said, {"drops": past.drops})
    if rate is not None and rate < past.best:
        evidence = {"rate": rate, "rate_before": past.best}
        yield Trouble("slow", f"runs at {rate:g} {unit}, it had {past.best:g}", evidence)
