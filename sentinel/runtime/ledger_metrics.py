"""How the ledger fares: how long deciding and writing take, and whether the journal can be written."""

from collections.abc import Iterator

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sentinel.runtime.ledger import Ledger

_FOLD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
_COMMIT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class LedgerMetrics(Collector):
    """Is told by the ledger how long its work took, and looks at the rest at each scrape."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._fold = Histogram(
            "sentinel_fold_seconds",
            "How long it took to decide on facts that came at once.",
            registry=None,
            buckets=_FOLD_S,
        )
        self._commit = Histogram(
            "sentinel_journal_commit_seconds",
            "How long it took to write them to the journal's disk.",
            registry=None,
            buckets=_COMMIT_S,
        )
        ledger.decided_in, ledger.committed_in = self._fold.observe, self._commit.observe

    def collect(self) -> Iterator[Metric]:
        """Give the figures of this moment."""
        yield from self._fold.collect()
        yield from self._commit.collect()
        journal = self._ledger.journal
        yield GaugeMetricFamily(
            "sentinel_journal_failing", "1 while the journal can't be written.", value=self._ledger.is_failing
        )
        yield GaugeMetricFamily(
            "sentinel_journal_uncommitted_facts",
            "Facts that wait for the journal.",
            value=len(self._ledger.uncommitted),
        )
        yield CounterMetricFamily(
            "sentinel_journal_lines", "Number of the journal's newest line.", value=journal.last_seq
        )
        size = GaugeMetricFamily("sentinel_journal_size_bytes", "Size of the journal's file.", labels=[])
        try:
            size.add_metric([], journal.path.stat().st_size)
        except OSError:  # its disk is gone: that it fails is said above
            return
        yield size

    def describe(self) -> Iterator[Metric]:
        """Name nothing in advance: registering asks nobody."""
        yield from ()
