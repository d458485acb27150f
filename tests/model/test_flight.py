from hypothesis import given
from hypothesis import strategies as st

from sentinel.model.flight import Flight, read

WORDS = st.text(max_size=80)
FLIGHTS = st.builds(
    Flight, st.integers(0, 10**7 - 1), WORDS, WORDS, st.integers(0, 10**18 - 1), st.booleans()
)


@given(st.lists(FLIGHTS, max_size=8))
def test_whatever_a_rank_calls_its_groups_each_line_is_its_own(flights: list[Flight]) -> None:
    found = list(read(["rank 0 (1): state S\na stack", "\n".join(map(str, flights))]))
    assert [(each.rank, each.number, each.is_in) for each in found] == [
        (each.rank, each.number, each.is_in) for each in flights
    ]


def test_a_line_is_read_as_it_was_written() -> None:
    flight = Flight(2, "mesh_dp", "nccl:_all_gather_base", 118, is_in=False)
    assert list(read([str(flight)])) == [flight]


@given(st.text(max_size=300))
def test_nothing_else_is_such_a_line(text: str) -> None:
    assert "flight recorder of rank" in text or list(read([text])) == []
