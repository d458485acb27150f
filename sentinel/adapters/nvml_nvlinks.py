"""A GPU's NVLinks: their error counters are read link by link only when the totals tell of news.

A driver takes nearly a millisecond for each link, and a GPU has 18 of them.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pynvml

from sentinel.adapters.nvml_asking import Asking
from sentinel.model.gpu_sample import NvLink
from sentinel.model.ids import Seconds

# Field ids of nvml.h: not every release of the binding that we take has a name for each.
_COUNT = 91
_MOST = 72
"""Twice as many as nvml.h has room for: a driver that says more is not believed."""
_REPLAYS, _RECOVERIES, _CRC = 161, 162, 163
_RECOVERIES5 = 215
"""NVLink 5 counts them here, and has none of the counters before."""
_KINDS = (_REPLAYS, _RECOVERIES, _CRC, _RECOVERIES5)
_TOTALS = (38, 45, 52, 59)
"""Over all links: CRC errors of flow control and of data, replays, recoveries. NVLink 5 has none."""
_READ_EVERY: Seconds = 60.0
"""Each link is read so often all the same: nobody has seen a total rise yet, and a driver may leave one."""
_SLOW = 3
"""Totals that took longer than the links so often in a row are not asked for any more; once is chance."""
Counters = Mapping[tuple[int, int], int | None]
"""By kind and link."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read link by link, and when; what its totals were just before."""

    counters: Counters
    totals: Sequence[int | None]
    at: Seconds
    took: Seconds
    """Processor time."""

    def holds(self, links: int, totals: Sequence[int | None], now: Seconds) -> bool:
        """Say whether no link has counted since."""
        is_whole = None not in totals and len(self.counters) == links * len(_KINDS)
        return is_whole and totals == self.totals and now < self.at + _READ_EVERY


def nvlinks(handle: Any, ask: Asking) -> tuple[NvLink, ...]:
    """Give every link with its state and its counters."""
    (count,) = ask.fields(handle, _COUNT)
    links = range(min(count or 0, _MOST))
    if not links:
        return ()
    counters = _counters(handle, ask, links)
    return tuple(
        NvLink(
            link,
            _is_active(handle, ask, link),
            counters[_REPLAYS, link],
            counters[_RECOVERIES5 if counters[_RECOVERIES, link] is None else _RECOVERIES, link],
            counters[_CRC, link],
        )
        for link in links
    )


def _is_active(handle: Any, ask: Asking, link: int) -> bool | None:
    active = ask(lambda: pynvml.nvmlDeviceGetNvLinkState(handle, link))
    return None if active is None else bool(active)


def _counters(handle: Any, ask: Asking, links: range) -> Counters:
    known: _Read | None = ask.kept.get("nvlinks")
    now, begun = time.monotonic(), time.thread_time()
    slow = ask.kept.get("slow totals", 0)
    totals = ask.fields(handle, *_TOTALS) if slow < _SLOW else [None]
    read_totals = time.thread_time()
    if known is not None and known.holds(len(links), totals, now):
        ask.kept["slow totals"] = slow + 1 if read_totals - begun > known.took else 0
        return known.counters
    wanted = [(kind, link) for link in links for kind in _KINDS]
    words = ask.error
    read = dict(zip(wanted, ask.fields(handle, *wanted), strict=True))
    took = time.thread_time() - read_totals
    ask.kept["nvlinks"] = _Read(read, totals, now, took) if ask.error == words else None
    return read
