"""How each receiver of pages fares, as Prometheus metrics."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sentinel.adapters.dispatcher import Standing


class ReceiverMetrics(Collector):
    """Asks at each scrape, in the loop of whoever delivers."""

    def __init__(self, standing: Callable[[], Iterable[tuple[str, Standing]]]) -> None:
        """`standing` gives each receiver's name, and how it fares."""
        self._standing = standing

    def collect(self) -> Iterator[Metric]:
        """Give the figures of this moment."""
        waiting = GaugeMetricFamily(
            "sentinel_receiver_undelivered_pages", "Pages that it has not shown.", labels=["receiver"]
        )
        failing = GaugeMetricFamily(
            "sentinel_receiver_failing", "1 while its first channel fails.", labels=["receiver"]
        )
        pages = CounterMetricFamily(
            "sentinel_receiver_pages", "Revisions of pages.", labels=["receiver", "result"]
        )
        for name, standing in self._standing():
            if standing.undelivered is not None:
                waiting.add_metric([name], standing.undelivered)
            failing.add_metric([name], standing.failing)
            for result, count in standing.results.items():
                pages.add_metric([name, result], count)
        yield from (waiting, failing, pages)

    def describe(self) -> Iterator[Metric]:
        """Name nothing in advance: registering asks nobody."""
        yield from ()
