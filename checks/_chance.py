"""How likely ways are as slow as they are: by chance, or behind something bad."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise

from sentinel.checks._ways import FLOOR, LEAST, STEP, WIDTH

DEPTHS = (FLOOR, 0.35, 0.5, 0.7, 0.95, 1.3, 1.8, 2.5, 4.0, 8.0)
"""Something bad is slower by what lies between two of these, in natural logarithms."""
MOST = FLOOR + 1.6
"""What is slower than this is no chance, and must not make others look like it."""
NEAR = 3
"""So many widths to both sides tell how often a lag comes."""
BELIEF = 50
"""So many ways of a healthy fabric are believed before any is measured."""
SPREAD, SLOW_SHARE, SLOW_MEAN = 0.05, 0.02, 0.35
"""Of these: how they spread, and how many are slow for once and by how much more, in natural logarithms."""
RARER = 0.25
"""What is slower than MOST gets e times rarer with each so much more."""
MOST_TOLD = 16.0
"""No single measurement tells more than this of a depth, in natural logarithms of the odds."""
BINS = int((MOST - LEAST) / WIDTH) + 1


def _believed(lag: float) -> float:
    """Give how many of the ways that are believed lag by less."""
    well = 1 / (1 + math.exp(-lag / SPREAD))
    slow = 1 - math.exp(-max(0.0, lag - FLOOR) / SLOW_MEAN)
    return BELIEF * ((1 - SLOW_SHARE) * well + SLOW_SHARE * slow)


_BELIEVED = [_believed(LEAST + WIDTH * number) for number in range(BINS + 1)]


class Chance:
    """How often healthy ways lag by how much, as the probe itself shows, and odds against it."""

    def __init__(self, counts: Mapping[int, int]) -> None:
        self._below = [*accumulate((counts.get(number, 0) for number in range(BINS - 1)), initial=0)]
        self._below.append(sum(counts.values()))
        self._ways = self._below[-1] + BELIEF
        self._found: dict[tuple[int, int], tuple[float, ...]] = {}

    def odds(self, cell: int, hidden: int) -> tuple[float, ...]:
        """Give how many times likelier a lag is for each depth, of which likes hide so many steps."""
        if (cell, hidden) not in self._found:
            self._found[cell, hidden] = tuple(self._odds(cell, STEP * hidden))
        return self._found[cell, hidden]

    def rarer(self, cell: int, own: Sequence[int]) -> float:
        """Say how many times rarer such a lag is without a suspect's own ways."""
        low, high = _around(cell)
        there = self._mass(low, high)
        mine = bisect_left(own, high if high < BINS else math.inf) - bisect_left(own, low)
        share = self._ways / max(1.0, self._ways - len(own))
        return there / max(there - mine, _BELIEVED[high] - _BELIEVED[low]) / share

    def _mass(self, low: int, high: int) -> float:
        return self._below[high] - self._below[low] + _BELIEVED[high] - _BELIEVED[low]

    def _density(self, cell: int) -> float:
        low, high = _around(cell)
        if cell < BINS:
            return self._mass(low, high) / self._ways / ((high - low) * WIDTH)
        mass = self._mass(low, high) + BELIEF - _BELIEVED[-1]
        return mass / self._ways / RARER * math.exp(-(cell - BINS) * WIDTH / RARER)

    def _odds(self, cell: int, hidden: float) -> Iterable[float]:
        usual, most = max(1e-12, self._density(cell)), math.exp(MOST_TOLD)
        lag = LEAST + (cell + 0.5) * WIDTH
        for low, high in pairwise(DEPTHS):
            if high <= hidden:
                yield 1.0
                continue
            low, high = max(0.0, low - hidden), high - hidden
            part = self._share_below(lag - low) - self._share_below(lag - high)
            yield min(most, max(0.0, part) / (high - low) / usual)

    def _share_below(self, lag: float) -> float:
        place = (lag - LEAST) / WIDTH
        if place <= 0:
            return 0.0
        if place >= BINS:
            return 1.0
        number, part = int(place), place % 1
        below = [self._below[n] + _BELIEVED[n] for n in (number, number + 1)]
        return (below[0] + part * (below[1] - below[0])) / self._ways


def _around(cell: int) -> tuple[int, int]:
    """Give the bins around one: the farther out, the more."""
    cell = min(cell, BINS - 1)
    wide = NEAR + max(0, int((LEAST + cell * WIDTH - FLOOR) / WIDTH) // 4)
    return max(0, cell - wide), min(BINS, cell + wide + 1)
