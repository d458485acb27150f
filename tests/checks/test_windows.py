import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.checks._kept import Readings, Rise, minutes, rises

SPAN = 60.0
READINGS = st.lists(
    st.tuples(st.floats(0.1, 100.0), st.one_of(st.none(), st.integers(0, 2**64))), min_size=1, max_size=40
)


def test_a_counter_is_known_from_its_second_reading_on() -> None:
    window: dict[str, Readings] = {}
    assert rises(window, {"x": 5}, SPAN, 1000.0) == {}
    assert rises(window, {"x": 7, "new": 1}, SPAN, 1010.0) == {"x": Rise(2, 10.0)}


def test_what_is_older_than_the_window_is_forgotten() -> None:
    window: dict[str, Readings] = {}
    found = [rises(window, {"x": value}, SPAN, 30.0 * at) for at, value in enumerate((0, 100, 100, 100))]
    assert found[-1] == {"x": Rise(0, 60.0)}


def test_a_counter_that_is_missing_once_begins_anew() -> None:
    window: dict[str, Readings] = {}
    readings: list[dict[str, int | None]] = [{"x": 1}, {}, {"x": 900}]
    assert [rises(window, each, SPAN, at * 10.0) for at, each in enumerate(readings)] == [{}, {}, {}]


@given(READINGS)
def test_a_rise_is_what_came_since_the_last_reading_before_the_window_or_since_its_begin_where_it_rested(
    readings: list[tuple[float, int | None]],
) -> None:
    window: dict[str, Readings] = {}
    now = 1000.0
    past: list[tuple[float, int]] = []
    for later, value in readings:
        now += later
        rise = rises(window, {"x": value}, SPAN, now).get("x")
        if value is None or (past and value < past[-1][1]):
            past.clear()
        if value is None:
            assert rise is None
            continue
        past.append((now, value))
        base = max((each for each in past if each[0] <= now - SPAN), default=past[0])
        if len(past) == 1:
            assert rise is None
            continue
        rested = next(each for each in past if each[0] > base[0])[1] == base[1]
        then = max(base[0], now - SPAN) if rested else base[0]
        assert rise == (value - base[1], pytest.approx(now - then))


def test_of_a_counter_at_rest_two_readings_are_kept() -> None:
    window: dict[str, Readings] = {}
    for look in range(10):
        rises(window, {"x": 3}, SPAN, 10.0 * look)
    assert window == {"x": [(30.0, 3), (90.0, 3)]}
    assert rises(window, {"x": 5}, SPAN, 100.0) == {"x": Rise(2, 60.0)}


def test_a_minute_counts_once_until_it_is_as_old_as_the_span() -> None:
    seen: dict[str, list[int]] = {}
    assert [minutes(seen, {"x"}, 3, 600.0) for _ in range(2)] == [{"x": 1}] * 2
    assert minutes(seen, {"x", "y"}, 3, 660.0) == {"x": 2, "y": 1}
    assert minutes(seen, (), 3, 780.0) == {"x": 1, "y": 1}
    assert minutes(seen, (), 3, 840.0) == {}
