"""How fast nodes reach each other, from the metrics to the page."""

import re
from collections.abc import Iterator
from itertools import combinations

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from sentinel.web.links import MEASURED, MOST_IN_A_SQUARE, OF_NODES, PAIRS, level, links
from sentinel.web.pages import network_page
from sentinel.web.verdict import Level


def measured(
    nodes: list[str], slow: dict[tuple[str, str], float], at: float = 1_772_600_767.0
) -> Iterator[Metric]:
    """Every pair has 10 GB/s, but for the slow ones."""
    pairs = GaugeMetricFamily(PAIRS, "", labels=["node", "peer"])
    for pair in combinations(nodes, 2):
        pairs.add_metric(pair, slow.get(pair, 10e9))
    medians = GaugeMetricFamily(OF_NODES, "", labels=["node", "stat"])
    for node in nodes:
        for stat, value in (("min", 1e9), ("median", 10e9), ("max", 12e9)):
            medians.add_metric([node, stat], value)
    when = GaugeMetricFamily(MEASURED, "", labels=["check"])
    when.add_metric(["pair"], at)
    when.add_metric(["all_reduce"], 0.0)
    return iter((pairs, medians, when))


def test_a_slow_way_stands_out_both_ways_round() -> None:
    page = network_page(links(measured(["n1", "n2", "n3"], {("n1", "n3"): 2e9})))
    assert page.count('<td class="bad">20%</td>') == 2
    assert page.count('<td class="good">100%</td>') == 4
    assert "10.00 GB/s; measured 2026-03-04 05:06:07 UTC" in page
    assert '<th scope="row">n2</th>' in page


def test_of_many_nodes_the_pairs_that_are_slow_are_listed_the_slowest_first() -> None:
    names = [f"n{number}" for number in range(MOST_IN_A_SQUARE + 1)]
    page = network_page(links(measured(names, {("n9", "n10"): 5e9, ("n3", "n17"): 1e9})))
    assert "the 528 slowest pairs are known; 2 of them are slow:" in page
    listed = re.findall(r'<li class="(\w+)">.*?>(n\d+)<.*?>(n\d+)<.*?<b>(\d+%)</b>', page)
    assert listed == [("bad", "n3", "n17", "10%"), ("notice", "n9", "n10", "50%")]


def test_of_many_nodes_none_is_slow() -> None:
    names = [f"n{number}" for number in range(MOST_IN_A_SQUARE + 1)]
    assert "0 of them are slow.</p>" in network_page(links(measured(names, {})))


def test_nodes_stand_in_the_order_in_which_people_count() -> None:
    assert links(measured(["n10", "n9", "n1"], {})).nodes == ["n1", "n9", "n10"]


@pytest.mark.parametrize("families", [[], list(measured([], {}, 0.0))], ids=["no probe", "nothing measured"])
def test_what_was_not_measured_says_how_to(families: list[Metric]) -> None:
    assert "<code>sentinel probe pair</code>" in network_page(links(families))


def test_names_are_escaped() -> None:
    assert "<b>" not in network_page(links(measured(["<b>", "n2"], {})))


@pytest.mark.parametrize(
    ("share", "is_"), [(1.2, Level.GOOD), (0.8, Level.GOOD), (0.79, Level.NOTICE), (0.3, Level.BAD)]
)
def test_how_bad_a_share_is(share: float, is_: Level) -> None:
    assert level(share) is is_
