"""A piece of time that is reported on, and what a day and a night are where people sleep."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from sentinel.model.ids import DAY_S, HOUR_S, Instant, Seconds

EVENING, MORNING = time(22), time(7)
"""Who is woken between these was asleep."""
_LONGEST_S = 100 * 366 * DAY_S
_AGO = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)([smhdwy])")
_UNITS: dict[str, Seconds] = {"s": 1.0, "m": 60.0, "h": HOUR_S, "d": DAY_S, "w": 7 * DAY_S, "y": 365 * DAY_S}
EXPECTED = "expected 12h, 7d or 4w ago, a date, or a date and a time such as '2026-12-24 14:30'"


class WindowError(ValueError):
    """No such piece of time: one line says why."""


@dataclass(frozen=True, slots=True)
class Window:
    """From `since` up to `until`, which is no part of it; days begin at midnight in `zone`."""

    since: Instant
    until: Instant
    zone: tzinfo = UTC

    def __post_init__(self) -> None:
        """Raises WindowError for one that ends before it begins, or is absurdly long."""
        if not self.since < self.until:
            raise WindowError(
                f"it ends at {self.say(self.until)}, before it begins at {self.say(self.since)}"
            )
        if self.until - self.since > _LONGEST_S:
            raise WindowError("longer than a hundred years")

    @property
    def seconds(self) -> Seconds:
        """How long it is."""
        return self.until - self.since

    def __contains__(self, at: object) -> bool:
        return isinstance(at, float | int) and self.since <= at < self.until

    def overlap(self, begin: Instant, end: Instant) -> Seconds:
        """Say how much of a span lies in it."""
        return max(0.0, min(end, self.until) - max(begin, self.since))

    def say(self, at: Instant) -> str:
        """Write a moment as people of its zone do: `2026-03-04 05:06 UTC`."""
        try:
            return datetime.fromtimestamp(at, self.zone).strftime("%Y-%m-%d %H:%M %Z")
        except (ValueError, OverflowError, OSError):
            return f"{at:.0f}"

    def day(self, at: Instant) -> date:
        """Give the day on which a moment lies."""
        return datetime.fromtimestamp(at, self.zone).date()

    def days(self) -> Iterator[date]:
        """Give all days of which some part is in it."""
        day = self.day(self.since)
        while _at(day, time(), self.zone) < self.until:
            yield day
            day += timedelta(days=1)

    def is_night(self, at: Instant) -> bool:
        """Say whether people sleep then."""
        clock = datetime.fromtimestamp(at, self.zone).time()
        return clock >= EVENING or clock < MORNING

    @property
    def nights(self) -> float:
        """How many nights lie in it; one that it cuts counts in part."""
        day, last = self.day(self.since) - timedelta(days=1), self.day(self.until)
        count = 0.0
        while day <= last:
            begin, end = _at(day, EVENING, self.zone), _at(day + timedelta(days=1), MORNING, self.zone)
            count += self.overlap(begin, end) / (end - begin)
            day += timedelta(days=1)
        return count


def last_week(now: Instant, zone: tzinfo) -> Window:
    """Give the last whole week, from Monday to Monday in a zone."""
    today = datetime.fromtimestamp(now, zone).date()
    return week_before(today - timedelta(days=today.weekday()), zone)


def week_before(day: date, zone: tzinfo) -> Window:
    """Give the seven whole days before one."""
    return Window(_at(day - timedelta(days=7), time(), zone), _at(day, time(), zone), zone)


def moment(text: str, now: Instant, zone: tzinfo) -> Instant:
    """Read `7d` as so long ago, a date, perhaps with a time, as that moment. Raises WindowError."""
    text = text.strip()
    if text == "now":
        return now
    if found := _AGO.fullmatch(text):
        return now - float(found[1]) * _UNITS[found[2]]
    try:
        if not re.match(r"[0-9]{4}-", text):
            raise WindowError(EXPECTED)
        then = datetime.fromisoformat(text)
        return (then if then.tzinfo else then.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        raise WindowError(EXPECTED) from None


def zone_of(name: str) -> tzinfo:
    """Give a time zone by its name; none is the machine's own. Raises WindowError."""
    if not name:
        return _of_machine()
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise WindowError(
            f"no time zone {name!r:.80}: expected a name such as Europe/Zurich, or UTC"
        ) from None


def _of_machine() -> tzinfo:
    """Give the machine's zone with its changes over the year, where it can be known; else as it is now."""
    try:
        with open("/etc/localtime", "rb") as file:  # noqa: PTH123 - a path of the system's
            return ZoneInfo.from_file(file, "localtime")
    except (OSError, ValueError):
        return datetime.now().astimezone().tzinfo or UTC


def _at(day: date, clock: time, zone: tzinfo) -> Instant:
    return datetime.combine(day, clock, zone).timestamp()
