"""What nodes of each kind of hardware usually measure, within a bound on the number of series."""

from collections.abc import Callable, Iterator, Mapping
from heapq import nlargest

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sentinel.core.baselines import is_enough, lasting, middle
from sentinel.core.state.rows import Baseline
from sentinel.model.ids import Instant
from sentinel.model.policy import Policy

MOST = 50
"""Figures that are told, those that were measured last: a fleet has a dozen for each kind of hardware."""


class BaselineMetrics(Collector):
    """Looks at the fleet's baselines at each scrape."""

    def __init__(
        self, baselines: Callable[[], Mapping[str, Baseline]], policy: Policy, now: Callable[[], Instant]
    ) -> None:
        self._baselines, self._policy, self._now = baselines, policy, now

    def collect(self) -> Iterator[Metric]:
        """Give median and deviation of each figure of which enough is known, and of how many nodes it is."""
        labels = ["check", "kind", "quantity"]
        usual = GaugeMetricFamily(
            "sentinel_baseline",
            f"What nodes of a kind usually measure, in the quantity's own unit: `median` and `mad`; of the "
            f"{MOST} that were measured last.",
            labels=[*labels, "stat"],
        )
        nodes = GaugeMetricFamily(
            "sentinel_baseline_nodes", "Nodes whose newest measurement says what is usual.", labels=labels
        )
        for name, baseline in self._told():
            check, _, rest = name.partition("|")
            kind, _, quantity = rest.rpartition("|")
            measured = lasting(baseline, self._now(), self._policy)
            nodes.add_metric([check, kind, quantity], len(measured))
            if is_enough(measured, self._policy):
                for stat, value in zip(("median", "mad"), middle(measured), strict=True):
                    usual.add_metric([check, kind, quantity, stat], value)
        yield from (usual, nodes)

    def describe(self) -> Iterator[Metric]:
        """Name nothing in advance: registering asks nobody."""
        yield from ()

    def _told(self) -> list[tuple[str, Baseline]]:
        known = dict(self._baselines()).items()
        return nlargest(MOST, known, key=lambda each: max((one.at for one in each[1].measured), default=0.0))
