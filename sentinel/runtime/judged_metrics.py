"""What people have said of diagnoses since this controller started, as Prometheus counters."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sentinel.model.judgement import JUDGEMENTS


class JudgedMetrics(Collector):
    """Counts incidents that were judged, and the evictions that were ordered for their sake."""

    def __init__(self) -> None:
        self._incidents = Counter(dict.fromkeys(JUDGEMENTS, 0))
        self._evictions = Counter(dict.fromkeys(JUDGEMENTS, 0))

    def take(self, judgement: str, evictions: int) -> None:
        """Count one, with how many nodes its incident has evicted."""
        self._incidents[judgement] += 1
        self._evictions[judgement] += evictions

    def collect(self) -> Iterator[Metric]:
        """Give the counters of this moment."""
        told = "by what they said"
        for name, text, values in (
            ("incidents_judged", f"Incidents that people judged, {told}.", self._incidents),
            ("evictions_judged", f"Evictions of incidents that people judged, {told}.", self._evictions),
        ):
            family = CounterMetricFamily(f"sentinel_{name}", text, labels=["judgement"])
            for judgement, count in values.items():
                family.add_metric([judgement], count)
            yield family

    def describe(self) -> Iterator[Metric]:
        """Name nothing in advance: registering asks nobody."""
        yield from ()
