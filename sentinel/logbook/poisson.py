"""How far a count may be from what is usual: the exact (Garwood) interval of a Poisson mean.

F. Garwood, "Fiducial limits for the Poisson distribution", Biometrika 28 (1936). It is what scipy's
`chi2.ppf` gives, without its 100 MB.
"""

import math
from collections.abc import Callable
from functools import lru_cache

CONFIDENCE = 0.95
_HALVINGS = 60
"""A mean is known to 18 digits then, which is more than a float has."""


@lru_cache(4096)
def interval(count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Give the lowest and the highest mean that still give such a count by chance. Raises ValueError."""
    if count < 0 or not 0.0 < confidence < 1.0:
        raise ValueError(f"no interval for a count of {count} with a confidence of {confidence}")
    tail = (1.0 - confidence) / 2.0
    above = count + 10.0 * math.sqrt(count + 1.0) + 10.0 - 2.0 * math.log(tail)
    low = _solve(lambda mean: _at_most(count - 1, mean) > 1.0 - tail, 0.0, float(count)) if count else 0.0
    return low, _solve(lambda mean: _at_most(count, mean) > tail, float(count), above)


def _solve(is_below: Callable[[float], bool], low: float, high: float) -> float:
    """Halve until nothing is left between what is below and what is not."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2.0


def _at_most(count: int, mean: float) -> float:
    """Give the probability of so many or fewer: summed from the largest term on, until one adds nothing."""
    if count < 0:
        return 0.0
    if mean <= 0.0:
        return 1.0
    start = min(count, int(mean))
    first = math.exp(start * math.log(mean) - mean - math.lgamma(start + 1.0))
    total = term = first
    for k in range(start, 0, -1):
        term *= k / mean
        total += term
        if term < total * 1e-17:
            break
    term = first
    for k in range(start + 1, count + 1):
        term *= mean / k
        total += term
        if term < total * 1e-17:
            break
    return min(1.0, total)
