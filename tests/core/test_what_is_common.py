"""How many nodes with one finding at once are no chance."""

from dataclasses import replace

import pytest

from sentinel.core.common import least
from sentinel.model.policy import Policy


@pytest.mark.parametrize(("nodes", "count"), [(2, 3), (24, 3), (375, 3), (3000, 4), (12_500, 6)])
def test_the_larger_the_fleet_the_more_nodes_may_be_chance(nodes: int, count: int) -> None:
    assert least(nodes, Policy()) == count


def test_a_fleet_that_fails_often_needs_more() -> None:
    assert least(375, replace(Policy(), failures_per_node_day=0.5)) > least(375, Policy())


def test_a_fleet_that_never_fails_by_itself_needs_three() -> None:
    assert least(375, replace(Policy(), failures_per_node_day=0.0)) == 3
