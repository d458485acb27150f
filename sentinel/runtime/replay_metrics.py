"""Steps that ranks computed again to compare their devices, counted from what they told."""

from collections import Counter
from itertools import product

from prometheus_client.core import CounterMetricFamily

from sentinel.model.fact import Fact, FindingReported
from sentinel.model.finding import REPLAYED, TRAINER
from sentinel.model.trainable import ReplayResult, ReplayWhy


class ReplayCounts:
    """By why they were compared, and what came of it."""

    def __init__(self) -> None:
        self._counts = Counter[tuple[str, str]](dict.fromkeys(product(ReplayWhy, ReplayResult), 0))

    def take(self, fact: Fact) -> None:
        """Count it if it tells of one, in words that are known."""
        if not isinstance(fact, FindingReported):
            return
        found = fact.finding
        if (found.check, found.code) != (TRAINER, REPLAYED):
            return
        key = str(found.evidence.get("why")), str(found.evidence.get("result"))
        if key in self._counts:
            self._counts[key] += 1

    def family(self) -> CounterMetricFamily:
        """Give the counter of this moment."""
        text = "Steps that ranks computed again to compare their devices, by why and by what came of it."
        family = CounterMetricFamily("sentinel_steps_replayed", text, labels=["why", "result"])
        for (why, result), count in self._counts.items():
            family.add_metric([why, result], count)
        return family
