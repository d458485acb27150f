"""Each rank is told where its copies go, and whose its node keeps."""

from types import SimpleNamespace

import pytest

from sentinel.backends.port import Member
from sentinel.core.state import State
from sentinel.core.state.rows import Node
from sentinel.model.action import Resume, Seat
from sentinel.model.ids import ActionId, IncidentId, JobId, NodeId, WorkerId
from sentinel.runtime.hands import ActionError
from sentinel.runtime.workers import Workers

Ranks = tuple[int, ...]


def members(*nodes: str, cluster: str = "abc", silent: str = "", lives: bool = True) -> tuple[Member, ...]:
    """Seat ranks on these nodes, in order; of the silent ones it is known whether their ranks live."""
    state = State()
    for port, name in enumerate(cluster):
        listener = {"address": f"10.0.0.{port}", "port": 100 + port}
        state.add(Node(NodeId(name), silent=name in silent, lives=lives and name in silent, **listener))  # type: ignore[arg-type]
    seats = tuple(Seat(rank, WorkerId(f"w{rank}"), NodeId(node), 0) for rank, node in enumerate(nodes))
    resume = Resume(ActionId("a"), IncidentId("i"), JobId("moe"), 2, seats, skip=(7,))
    hands = SimpleNamespace(word=lambda job, generation: f"{job} {generation}".encode())
    workers = Workers(hands, None, state, lambda _: None, lambda: 0.0)  # type: ignore[arg-type]
    return workers._members(resume, 60.0, takes_over="")


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param(
            "aabb",
            [((0, 1), (2, 3), 101), ((0, 1), (2, 3), 101), ((2, 3), (0, 1), 100), ((2, 3), (0, 1), 100)],
            id="two nodes keep each other's",
        ),
        pytest.param("cab", [((0,), (2,), 100), ((1,), (0,), 101), ((2,), (1,), 102)], id="a ring by name"),
        pytest.param("aa", [((0, 1), (), 101)] * 2, id="one node copies to any other"),
    ],
)
def test_whose_copies_a_node_keeps(nodes: str, expected: list[tuple[Ranks, Ranks, int]]) -> None:
    orders = [member.order for member in members(*nodes)]
    assert [(order.hosted, order.held, order.peer and order.peer[1]) for order in orders] == expected


def test_all_are_told_of_the_same_generation_and_where_its_first_rank_is() -> None:
    orders = [member.order for member in members("b", "a")]
    assert [(order.rank, order.world, order.generation, order.skip) for order in orders] == [
        (0, 2, 2, (7,)),
        (1, 2, 2, (7,)),
    ]
    assert [order.store for order in orders] == [("10.0.0.1", 0)] * 2
    assert [order.holders[0] for order in orders] == [("10.0.0.1", 101), ("10.0.0.0", 100)]


def test_a_node_alone_has_no_peer() -> None:
    (order,) = (member.order for member in members("a", cluster="a"))
    assert (order.hosted, order.held, order.peer) == ((0,), (), None)


def test_ranks_of_a_hung_agent_that_are_known_to_live_keep_their_seats() -> None:
    assert [member.order.rank for member in members("a", "b", silent="b")] == [0, 1]


def test_nobody_is_seated_on_a_node_of_which_nothing_is_known() -> None:
    with pytest.raises(ActionError, match="a seat's node is silent"):
        members("a", "b", silent="b", lives=False)
