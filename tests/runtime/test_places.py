"""Each rank is told where its copies go, and whose its node keeps."""

from typing import Any

import pytest

from sentinel.core.state import Node, State
from sentinel.model.action import Seat
from sentinel.model.ids import NodeId, WorkerId
from sentinel.runtime.workers import Workers


def places(*nodes: str, cluster: str = "abc") -> list[dict[str, Any]]:
    """Seat ranks on these nodes, in order."""
    state = State()
    for port, name in enumerate(cluster):
        state.nodes[NodeId(name)] = Node(NodeId(name), address=f"10.0.0.{port}", port=100 + port)
    seats = [Seat(rank, WorkerId(f"w{rank}"), NodeId(node), 0) for rank, node in enumerate(nodes)]
    workers = Workers(None, None, state, lambda _: None, lambda: 0.0)  # type: ignore[arg-type]
    return workers._places(seats)


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        pytest.param(
            "aabb",
            [([0, 1], [2, 3], 101), ([0, 1], [2, 3], 101), ([2, 3], [0, 1], 100), ([2, 3], [0, 1], 100)],
            id="two nodes keep each other's",
        ),
        pytest.param("cab", [([0], [2], 100), ([1], [0], 101), ([2], [1], 102)], id="a ring by name"),
        pytest.param("aa", [([0, 1], [], 101)] * 2, id="one node copies to any other"),
    ],
)
def test_whose_copies_a_node_keeps(nodes: str, told: list[tuple[list[int], list[int], int]]) -> None:
    found = places(*nodes)
    assert [(place["hosted"], place["held"], place["peer"][1]) for place in found] == told


def test_a_node_alone_has_no_peer() -> None:
    (place,) = places("a", cluster="a")
    assert (place["hosted"], place["held"], place["peer"]) == ([0], [], None)
