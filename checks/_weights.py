"""How much ways tell against a node, a pair or a rack: the odds that it is bad, against chance."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sentinel.checks._chance import MOST_TOLD, Chance
from sentinel.checks._ways import FAR, FLOOR, Lag, Pair

SHARES = {"node": (0.25, 0.5, 0.75, 0.95), "pair": (0.95,), "rack": (0.75, 0.95)}
"""In which share of the looks something bad may show.

What comes and goes is called a node's; of ways that use a bad uplink some are slow at their other end, too.
"""
ONE_PAIR = 6.0
"""So much one pair may tell of its node, in natural logarithms, even if no other tells as much."""


class Told(NamedTuple):
    """Natural logarithms of the odds that something is bad, against chance."""

    told: float
    whole: float
    """The same, also what one of its pairs tells beyond all others."""


class Weights:
    """What each way tells, given how often healthy ones lag by as much."""

    def __init__(self, lags: Sequence[Lag]) -> None:
        self._chances = {
            is_far: Chance(Counter([lag.cell for lag in lags if _is_far(lag) == is_far]))
            for is_far in (False, True)
        }
        self._logs: dict[tuple[str, bool, int, int], Sequence[float]] = {}
        self._alone: dict[tuple[str, bool, int, int], float] = {}

    def told(self, kind: str, lags: Sequence[Lag]) -> Told:
        """Compare that something bad shows in a share of its ways with that all of them are chance."""
        own = {is_far: sorted(lag.cell for lag in lags if _is_far(lag) == is_far) for is_far in self._chances}
        rows: dict[Pair, list[Sequence[float]]] = defaultdict(list)
        for lag in lags:
            is_far = _is_far(lag)
            rarer = self._chances[is_far].rarer(lag.cell, own[is_far]) if lag.behind >= FLOOR / 2 else 1.0
            rows[lag.pair].append(self._row(kind, lag, rarer))
        whole = [*map(_sum, rows.values())]
        return Told(_told(whole), _mean(_sum(whole)) if whole else 0.0)

    def roughly(self, kind: str, lags: Sequence[Lag]) -> float:
        """Say what is told at most, if the suspect's own ways are chance, too."""
        if len(lags) > 1:
            return _mean(map(sum, zip(*(self._row(kind, lag) for lag in lags), strict=True)))
        key = kind, _is_far(lags[0]), lags[0].cell, lags[0].step
        if key not in self._alone:
            self._alone[key] = _mean(self._row(kind, lags[0]))
        return self._alone[key]

    def _row(self, kind: str, lag: Lag, rarer: float = 1.0) -> Sequence[float]:
        """Give what a way tells for each depth and share, in natural logarithms."""
        key = kind, _is_far(lag), lag.cell, 0 if kind == "rack" else lag.step
        if rarer == 1.0 and key in self._logs:
            return self._logs[key]
        most, odds = math.exp(MOST_TOLD), self._chances[key[1]].odds(*key[2:])
        row = [math.log(1 - s + s * min(most, rarer * each)) for s in SHARES[kind] for each in odds]
        if rarer == 1.0:
            self._logs[key] = row
        return row


def _is_far(lag: Lag) -> bool:
    """Say whether it goes between racks with many others: bad uplinks slow many of these, and no near one."""
    return lag.among == "full" or (lag.among == "near" and lag.way.round in FAR and "" in lag.way.racks)


def _sum(rows: Sequence[Sequence[float]]) -> Sequence[float]:
    return [*map(sum, zip(*rows, strict=True))] if len(rows) > 1 else rows[0]


def _told(rows: Sequence[Sequence[float]]) -> float:
    """Sum up what all pairs tell, of each depth and share that something bad may have, and take the mean.

    What one pair tells beyond all others is its own, and no other's fault.
    """
    if len(rows) < 2:
        return _mean(rows[0]) if rows else 0.0
    return _mean(sum(column) - _its_own(column) for column in zip(*rows, strict=True))


def _its_own(told: Sequence[float]) -> float:
    """Give what one pair tells beyond any other, and beyond what one may."""
    *_, second, most = sorted(told)
    return max(0.0, most - max(second, ONE_PAIR))


def _mean(told: Iterable[float]) -> float:
    """Give the logarithm of the mean of odds, given theirs."""
    most = max(told := list(told))
    return most + math.log(sum(math.exp(each - most) for each in told) / len(told))
