from hypothesis import given
from hypothesis import strategies as st
from of_gpus import Clock

from sentinel.checks._window import Minutes, Rise, Window

SPAN = 60.0
READINGS = st.lists(
    st.tuples(st.floats(0.1, 100.0), st.one_of(st.none(), st.integers(0, 2**64))), min_size=1, max_size=40
)


def window() -> tuple[Window, Clock]:
    clock = Clock()
    return Window(SPAN, clock), clock


def test_a_counter_is_known_from_its_second_reading_on() -> None:
    counters, clock = window()
    assert counters.rises("gpu", {"x": 5}) == {}
    clock.now += 10
    assert counters.rises("gpu", {"x": 7, "new": 1}) == {"x": Rise(2, 10.0)}
    assert counters.rises("other", {"x": 7}) == {}, "each device has its own"


def test_what_is_older_than_the_window_is_forgotten() -> None:
    counters, clock = window()
    for value in (0, 100, 100, 100):
        found = counters.rises("gpu", {"x": value})
        clock.now += 30
    assert found == {"x": Rise(0, 60.0)}


def test_a_counter_that_is_missing_once_begins_anew() -> None:
    counters, clock = window()
    for reading in ({"x": 1}, {}, {"x": 900}):
        clock.now += 10
        found = counters.rises("gpu", reading)
    assert found == {}


@given(READINGS)
def test_a_rise_is_what_came_since_the_last_reading_before_the_window(
    readings: list[tuple[float, int | None]],
) -> None:
    counters, clock = window()
    past: list[tuple[float, int]] = []
    for later, value in readings:
        clock.now += later
        rise = counters.rises("gpu", {"x": value}).get("x")
        if value is None or (past and value < past[-1][1]):
            past.clear()
        if value is None:
            assert rise is None
            continue
        past.append((clock.now, value))
        base = max((each for each in past if each[0] <= clock.now - SPAN), default=past[0])
        expected = Rise(value - base[1], clock.now - base[0]) if len(past) > 1 else None
        assert rise == expected


def test_a_minute_counts_once_until_it_is_as_old_as_the_span() -> None:
    clock = Clock()
    minutes = Minutes(3, clock)
    clock.now = 600.0
    assert [minutes.count("gpu", {"x"}), minutes.count("gpu", {"x"}), minutes.count("other", ())] == [
        {"x": 1},
        {"x": 1},
        {},
    ]
    clock.now += 60
    assert minutes.count("gpu", {"x", "y"}) == {"x": 2, "y": 1}
    clock.now += 120
    assert minutes.count("gpu", ()) == {"x": 1, "y": 1}
    clock.now += 60
    assert minutes.count("gpu", ()) == {}
