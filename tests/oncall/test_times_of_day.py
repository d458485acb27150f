"""Mornings, hand-overs and nights: once a day each, whatever clocks do; checked minute by minute."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentinel.oncall import wall
from sentinel.oncall.rota import Rotation

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu"]
zones = st.sampled_from(ZONES).map(ZoneInfo)
small_hours = st.builds(time, st.integers(1, 3), st.integers(0, 59))
times = st.one_of(small_hours, st.times().map(lambda at: at.replace(second=0, microsecond=0)))
"""Clocks are set in the small hours."""
days = st.dates(date(2024, 1, 1), date(2030, 12, 31))


def _switches() -> list[date]:
    """Days on which a clock of one of the zones is set."""
    day, found = date(2026, 1, 1), []
    while day < date(2027, 1, 1):
        noon = [datetime.combine(day + timedelta(n), time(12), UTC) for n in (0, 1)]
        zones_ = map(ZoneInfo, ZONES)
        if any(
            noon[0].astimezone(each).utcoffset() != noon[1].astimezone(each).utcoffset() for each in zones_
        ):
            found += [day + timedelta(n) for n in (0, 1)]
        day += timedelta(1)
    return found


near_switches = st.one_of(st.sampled_from(_switches()), st.sampled_from(_switches()), days)


@given(near_switches, times, zones)
@example(date(2026, 3, 29), time(2, 30), ZoneInfo("Europe/Berlin"))
@example(date(2026, 10, 25), time(2, 30), ZoneInfo("Europe/Berlin"))
@example(date(2026, 10, 4), time(2, 15), ZoneInfo("Australia/Lord_Howe"))
def test_a_time_of_day_is_the_first_minute_that_shows_it_or_the_first_after_it(
    day: date, at: time, where: ZoneInfo
) -> None:
    begin = datetime.combine(day, time(0), where).timestamp()
    minutes = (begin + 60 * n for n in range(-120, 27 * 60))
    wanted = next(
        m for m in minutes if wall.local(m, where).replace(tzinfo=None) >= datetime.combine(day, at)
    )
    assert wall.moment(day, at, where) == wanted


@given(near_switches, times, zones)
def test_it_comes_once_a_day_and_days_follow_each_other(day: date, at: time, where: ZoneInfo) -> None:
    moments = [wall.moment(day + timedelta(n), at, where) for n in range(5)]
    assert all(22 * 3600 <= later - earlier <= 26 * 3600 for earlier, later in pairwise(moments))


@given(near_switches, times, times, zones)
def test_the_day_before_is_the_last_one_whose_time_has_come(
    day: date, now: time, at: time, where: ZoneInfo
) -> None:
    moment = wall.moment(day, now, where)
    found = wall.day_before(moment, at, where)
    assert wall.moment(found, at, where) <= moment < wall.moment(found + timedelta(1), at, where)


@given(near_switches, times, zones, st.sampled_from([None, *range(7)]), st.integers(1, 4))
def test_somebody_is_on_call_at_each_moment_and_turns_follow_in_order(
    day: date, now: time, where: ZoneInfo, weekday: int | None, people: int
) -> None:
    names = [f"p{n}" for n in range(people)]
    rotation = Rotation(names, date(2026, 1, 1), time(2, 30), weekday, where)
    moment = wall.moment(day, now, where)
    turn, began = rotation.turn(moment)
    start = wall.moment(began, time(2, 30), where)
    assert start <= moment
    assert rotation.turn(start) == (turn, began)
    assert rotation.turn(start - 1)[0] == turn - 1
    assert sorted(rotation.order(moment)) == names
    assert next(rotation.order(moment)) == names[turn % people]


@pytest.mark.parametrize(
    ("day", "at", "shown"),
    [
        pytest.param(date(2026, 3, 29), time(2, 30), "03:00 CEST", id="a time that is skipped"),
        pytest.param(date(2026, 10, 25), time(2, 30), "02:30 CEST", id="the first of two"),
        pytest.param(date(2026, 6, 1), time(9, 0), "09:00 CEST", id="a summer morning"),
    ],
)
def test_where_clocks_are_set(day: date, at: time, shown: str) -> None:
    where = ZoneInfo("Europe/Berlin")
    assert wall.clock(wall.moment(day, at, where), where) == shown


def test_a_week_is_handed_over_on_its_day_at_its_hour() -> None:
    where = ZoneInfo("Europe/Berlin")
    rotation = Rotation(["ada", "ben"], date(2026, 10, 19), time(9), 0, where)

    def who(*moment: int) -> str:
        return next(rotation.order(datetime(*moment, tzinfo=where).timestamp()))  # type: ignore[arg-type]

    assert [who(2026, 10, 19, 9), who(2026, 10, 26, 8, 59), who(2026, 10, 26, 9)] == ["ada", "ada", "ben"]


@given(near_switches, times, zones)
def test_the_next_morning_is_not_in_the_past_nor_on_a_day_off(day: date, now: time, where: ZoneInfo) -> None:
    moment = wall.moment(day, now, where)
    off = [day, day + timedelta(1)]
    found = wall.next_morning(moment, time(9), where, off, range(5))
    shown = wall.local(found, where)
    assert found >= moment
    assert shown.weekday() < 5
    assert shown.date() not in off
    assert found - moment < 8 * 86400
