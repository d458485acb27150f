"""What torch's flight recorder says of ranks that stand still: it seconds, it doubts, it blames nobody."""

import pytest
from simulated import Simulated

from sentinel.model.flight import Flight
from sentinel.model.incident import Diagnosis

SURE = 0.64
"""How sure it is without a recorder that the rank with fewer collectives hangs."""


def said(*numbers: int, group: str = "0") -> str:
    flights = (Flight(rank, group, "gloo:all_reduce", number, True) for rank, number in enumerate(numbers))
    return "\n".join(map(str, flights))


def diagnosed(*flights: str) -> Diagnosis:
    """Rank 1 has entered one collective less than ranks 0 and 2."""
    cluster = Simulated(nodes=5, world=3)
    cluster.flights = flights
    cluster.stall(cluster.beat(0), cluster.beat(1, "compute", enqueued=9), cluster.beat(2))
    cluster.run(5)
    (incident,) = cluster.incidents()
    assert incident.diagnosis is not None
    assert (incident.diagnosis.cause, cluster.evicted()) == ("rank-hang", [])
    assert [suspect.rank for suspect in incident.diagnosis.suspects] == [1]
    return incident.diagnosis


@pytest.mark.parametrize(
    "flights",
    [
        pytest.param((), id="none has one"),
        pytest.param(("rank 1 (7): a stack\nFlight recorder of rank 1:",), id="none that can be read"),
        pytest.param((said(9),), id="only another rank has one"),
        pytest.param((str(Flight(1, "0", "x", 3, False)),), id="only the rank itself has one"),
    ],
)
def test_without_the_recorders_word_the_heartbeats_stands(flights: tuple[str, ...]) -> None:
    found = diagnosed(*flights)
    assert (found.confidence, "flight recorder" in found.why) == (SURE, False)


def test_the_recorder_seconds_whom_the_heartbeats_blame() -> None:
    found = diagnosed(said(4, 3, 4))
    assert found.confidence == SURE
    assert "says so, too: it has not entered gloo:all_reduce 4" in found.why


@pytest.mark.parametrize(
    ("flights", "why"),
    [
        pytest.param((said(4, 4, 4),), "it has entered all that others have", id="nobody is behind"),
        pytest.param((said(4, 4, 3),), "rank 2 is behind", id="another one is"),
    ],
)
def test_a_recorder_that_says_otherwise_makes_it_less_sure_and_blames_nobody_else(
    flights: tuple[str, ...], why: str
) -> None:
    found = diagnosed(*flights)
    assert (found.confidence, why in found.why) == (SURE / 2, True)


def test_ranks_are_compared_within_their_group_alone() -> None:
    """Ranks 0 and 1 are one pipeline's, rank 2 another's that is further."""
    found = diagnosed(said(4, 3), str(Flight(2, "1", "gloo:all_reduce", 90, True)))
    assert "says so, too: it has not entered gloo:all_reduce 4" in found.why


def test_ranks_that_all_wait_in_one_collective_are_not_blamed_by_a_recorder() -> None:
    cluster = Simulated(nodes=5, world=3)
    cluster.flights = (said(4, 3, 4),)
    cluster.stall(*(cluster.beat(rank) for rank in range(3)))
    cluster.run(5)
    (incident,) = cluster.incidents()
    assert incident.diagnosis is not None
    assert (incident.diagnosis.suspects, cluster.evicted()) == ((), [])
