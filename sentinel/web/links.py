"""How fast nodes reach each other, as it was last measured: read from the metrics that say so."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from prometheus_client.metrics_core import Metric

from sentinel.dashboards.limits import LINK_BAD, LINK_NOTICE
from sentinel.model.ids import Instant
from sentinel.web.ranges import natural
from sentinel.web.verdict import Level

MOST_IN_A_SQUARE = 32
"""Of more nodes not all pairs are told, and they are listed."""
PAIRS, OF_NODES = "sentinel_link_bandwidth_bytes_per_second", "sentinel_node_link_bandwidth_bytes_per_second"
MEASURED = "sentinel_links_measured_time_seconds"


@dataclass(frozen=True, slots=True)
class Links:
    """The bandwidth of pairs, in bytes per second."""

    measured: Instant
    """When, 0 for never."""
    typical: float
    """That of the median node."""
    pairs: Mapping[frozenset[str], float]

    @property
    def nodes(self) -> list[str]:
        """Give the nodes in order of name."""
        return sorted({node for pair in self.pairs for node in pair}, key=natural)

    @property
    def is_square(self) -> bool:
        """Whether few enough nodes were measured to show every pair."""
        return len(self.nodes) <= MOST_IN_A_SQUARE

    def between(self, one: str, other: str) -> float | None:
        """Give what a pair has, as a share of what is typical; None where it was not measured."""
        found = self.pairs.get(frozenset((one, other)))
        return None if found is None or not self.typical else found / self.typical

    def slow(self) -> list[tuple[list[str], float]]:
        """Give the pairs that are slower than is well with their shares, the slowest first."""
        shares = ((sorted(pair, key=natural), self.between(*pair)) for pair in self.pairs)
        slow = ((pair, share) for pair, share in shares if share is not None and level(share) != Level.GOOD)
        return sorted(slow, key=lambda each: each[1])


def links(families: Iterable[Metric]) -> Links:
    """Read them from the controller's metrics."""
    samples = [each for family in families for each in family.samples]
    nodes = [each.value for each in samples if each.name == OF_NODES and each.labels["stat"] == "median"]
    at = (each.value for each in samples if each.name == MEASURED and each.labels["check"] == "pair")
    return Links(
        next(at, 0.0),
        median(nodes) if nodes else 0.0,
        {frozenset((s.labels["node"], s.labels["peer"])): s.value for s in samples if s.name == PAIRS},
    )


def level(share: float) -> Level:
    """Say how bad a share of what is typical is."""
    return Level.BAD if share < LINK_BAD else Level.NOTICE if share < LINK_NOTICE else Level.GOOD
