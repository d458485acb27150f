"""Times of day in a zone as moments: each once a day, also where clocks are set forward or back."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from sentinel.model.ids import Instant

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


def zone(name: str) -> tzinfo:
    """Give a time zone by its name, such as `Europe/Berlin`. Raises ValueError."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(f"there is no time zone {name!r} here, such as Europe/Berlin") from None


def time_of_day(text: str) -> time:
    """Read `09:00`. Raises ValueError."""
    if not (found := _TIME.fullmatch(text)):
        raise ValueError(f"expected a time of day such as 09:00, got {text!r}")
    return time(int(found[1]), int(found[2]))


def weekday(text: str) -> int:
    """Read `mon` as 0. Raises ValueError."""
    if text not in DAYS:
        raise ValueError(f"expected one of {', '.join(DAYS)}, got {text!r}")
    return DAYS.index(text)


def moment(day: date, at: time, where: tzinfo) -> Instant:
    """Give when a clock there says so: the first time if it does twice, and if never, as it is set on."""
    shown = datetime.combine(day, at, where)
    before, after = (shown.replace(fold=fold).timestamp() for fold in (0, 1))
    return before if before <= after else _jump(after, before, where)  # else it is skipped


def _jump(low: Instant, high: Instant, where: tzinfo) -> Instant:
    """Find the second within which the offset changes."""
    first, last = int(low), int(high)
    old = datetime.fromtimestamp(first, where).utcoffset()
    while last - first > 1:
        middle = (first + last) // 2
        first, last = (
            (middle, last) if datetime.fromtimestamp(middle, where).utcoffset() == old else (first, middle)
        )
    return float(last)


def local(at: Instant, where: tzinfo) -> datetime:
    """Say what a clock there shows."""
    return datetime.fromtimestamp(at, where)


def day_before(at: Instant, time_: time, where: tzinfo) -> date:
    """Give the day whose time of day was the last to be reached."""
    day = local(at, where).date() + timedelta(days=1)
    while moment(day, time_, where) > at:
        day -= timedelta(days=1)
    return day


def next_morning(
    at: Instant, time_: time, where: tzinfo, off: Sequence[date], days: Sequence[int]
) -> Instant:
    """Give the next such moment, from `at` on, on one of these weekdays that is no day off."""
    day = local(at, where).date() - timedelta(days=1)
    for _ in range(400):  # a year of holidays at most
        if (when := moment(day, time_, where)) >= at and day.weekday() in days and day not in off:
            return when
        day += timedelta(days=1)
    return at


def within(at: Instant, span: tuple[time, time], where: tzinfo) -> bool:
    """Say whether a clock shows a time from the first on and before the second, also over midnight."""
    now, (first, last) = local(at, where).time(), span
    return first <= now < last if first < last else now >= first or now < last


def clock(at: Instant, where: tzinfo) -> str:
    """Write a moment for people, with its zone."""
    return f"{local(at, where):%H:%M %Z}"
