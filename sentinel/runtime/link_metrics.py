"""What the network gave when nodes last measured it together, within a bound on the number of series."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from heapq import nsmallest
from statistics import median
from typing import NamedTuple, TypeAlias

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sentinel.model.collective import Members, MemberSample
from sentinel.model.fact import Fact, MembersProbed
from sentinel.model.ids import Instant, NodeId

WHOLE = 32
"""Of so many nodes every pair is told, 496 of them."""
SLOWEST = 200
"""Of more nodes only so many pairs."""
KEPT = 10_000
"""Pairs that are remembered: fifty rounds of 400 nodes."""
CHECKS = ("pair", "all_reduce")
_MB = 1e6

Pair: TypeAlias = tuple[NodeId, NodeId]


class _Link(NamedTuple):
    mb_per_s: float
    ms: float


class LinkMetrics(Collector):
    """Keeps the newest measurement of each pair, and of each node's all-reduce."""

    def __init__(self) -> None:
        self._pairs: dict[Pair, _Link] = {}
        self._all_reduce: dict[NodeId, float] = {}
        self._measured: dict[str, Instant] = dict.fromkeys(CHECKS, 0.0)

    def changed(self, fact: Fact) -> None:
        """Take a fact in."""
        if not isinstance(fact, MembersProbed) or fact.check not in CHECKS:
            return
        groups: dict[Members, list[MemberSample]] = defaultdict(list)
        for sample in fact.samples:
            if {"mb_per_s", "ms"} <= sample.values.keys():
                groups[sample.members].append(sample)
        if not groups:
            return
        self._measured[fact.check] = fact.at
        if fact.check == "pair":
            self._take_pairs(groups)
        else:
            self._take_all_reduce(groups)

    def _take_pairs(self, groups: dict[Members, list[MemberSample]]) -> None:
        for members, said in groups.items():
            if len(members) != 2:
                continue
            pair = min(members), max(members)
            self._pairs.pop(pair, None)  # the newest last
            best = max(each.values["mb_per_s"] for each in said)
            self._pairs[pair] = _Link(best, min(each.values["ms"] for each in said))
        for old in list(self._pairs)[: max(0, len(self._pairs) - KEPT)]:
            del self._pairs[old]

    def _take_all_reduce(self, groups: dict[Members, list[MemberSample]]) -> None:
        members = max(groups, key=len)
        speed = median(each.values["mb_per_s"] for each in groups[members])
        self._all_reduce = dict.fromkeys(members, speed)

    def collect(self) -> Iterator[Metric]:
        """Give the figures, of pairs no more than the bound."""
        bandwidth = GaugeMetricFamily(
            "sentinel_link_bandwidth_bytes_per_second",
            "Bandwidth between two nodes as `pair` last measured it: every pair of up to 32 nodes, of more "
            "only the 200 slowest.",
            labels=["node", "peer"],
        )
        latency = GaugeMetricFamily(
            "sentinel_link_latency_seconds", "Latency of the same pairs.", labels=["node", "peer"]
        )
        for pair, link in self._told():
            bandwidth.add_metric(pair, link.mb_per_s * _MB)
            latency.add_metric(pair, link.ms / 1e3)
        all_reduce = GaugeMetricFamily(
            "sentinel_all_reduce_bandwidth_bytes_per_second",
            "Bandwidth of the last all-reduce that a node took part in, of all its members.",
            labels=["node"],
        )
        for node, speed in self._all_reduce.items():
            all_reduce.add_metric([node], speed * _MB)
        measured = GaugeMetricFamily(
            "sentinel_links_measured_time_seconds",
            "When a check of several nodes last measured, 0 for never.",
            labels=["check"],
        )
        for check, at in self._measured.items():
            measured.add_metric([check], at)
        yield from (bandwidth, latency, self._of_nodes(), all_reduce, measured)

    def describe(self) -> Iterator[Metric]:
        """Name nothing in advance: registering asks nobody."""
        yield from ()

    def _told(self) -> Sequence[tuple[Pair, _Link]]:
        nodes = {node for pair in self._pairs for node in pair}
        if len(nodes) <= WHOLE:
            return list(self._pairs.items())
        return nsmallest(SLOWEST, self._pairs.items(), key=lambda each: each[1].mb_per_s)

    def _of_nodes(self) -> Metric:
        family = GaugeMetricFamily(
            "sentinel_node_link_bandwidth_bytes_per_second",
            "`min`, `median` and `max` of a node's pairs.",
            labels=["node", "stat"],
        )
        speeds: dict[NodeId, list[float]] = defaultdict(list)
        for pair, link in self._pairs.items():
            for node in pair:
                speeds[node].append(link.mb_per_s * _MB)
        for node, found in speeds.items():
            for stat, value in (("min", min(found)), ("median", median(found)), ("max", max(found))):
                family.add_metric([node, stat], value)
        return family
