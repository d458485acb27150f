"""Which pages a receiver is told at once, in the morning, or never: the first route that fits says it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, time, tzinfo
from fnmatch import fnmatchcase
from typing import TypeVar

from sentinel import config
from sentinel.model.action import Page
from sentinel.model.ids import Instant, Seconds
from sentinel.oncall import wall

ON_CALL = "on-call"
"""The name of who reads the channels of `[pages]`: it gets every page at once."""
HOLIDAY = "holiday"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mornings:
    """When what can wait is told."""

    at: time = time(9, 0)
    days: Sequence[int] = range(5)
    where: tzinfo = UTC
    off: Sequence[date] = ()
    """Holidays."""

    def next(self, at: Instant) -> Instant:
        """Give the next one, from `at` on."""
        return wall.next_morning(at, self.at, self.where, self.off, self.days)


@dataclass(frozen=True, slots=True)
class Route:
    """One of the settings, read. An empty list asks for nothing."""

    name: str
    table: config.Route
    hours: tuple[time, time] | None
    mornings: Mornings

    def fits(self, page: Page, receiver: str, at: Instant) -> bool:
        """Say whether it is for this page, to this receiver, at this time."""
        asked, table = self.mornings, self.table
        day = wall.local(at, asked.where).date()
        named = HOLIDAY if day in asked.off else wall.DAYS[day.weekday()]
        return (
            (not table.receivers or receiver in table.receivers)
            and (not table.severity or (page.severity or "critical") in table.severity)
            and _any(table.causes, [page.cause])
            and _any(table.nodes, page.nodes)
            and _any(table.jobs, [page.job])
            and (not table.days or named in table.days)
            and (self.hours is None or wall.within(at, self.hours, asked.where))
        )


def _any(patterns: Sequence[str], names: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name, each) for name in names if name for each in patterns)


@dataclass(frozen=True, slots=True)
class Routes:
    """All of them, in their order. Without one that fits, a page is told at once and not again."""

    routes: Sequence[Route] = field(default=())
    mornings: Mornings = field(default_factory=Mornings)

    def __bool__(self) -> bool:
        """Say whether there are any."""
        return bool(self.routes)

    def due(self, page: Page, receiver: str, at: Instant) -> Instant | None:
        """Say when a receiver is told of a page that came at `at`; None for never.

        What tells of Sentinel itself has no cause, and is told at once to everybody.
        """
        found = self._of(page, receiver, at)
        if not page.cause or receiver == ON_CALL or found is None or found.table.tell == "now":
            return at
        return self.mornings.next(at) if found.table.tell == "morning" else None

    def repeat_s(self, page: Page, receiver: str, at: Instant) -> Seconds:
        """Say how often it is told again until somebody acknowledges it; 0 for not."""
        found = self._of(page, receiver, at)
        return found.table.repeat_s if found else 0.0

    def _of(self, page: Page, receiver: str, at: Instant) -> Route | None:
        return next((each for each in self.routes if each.fits(page, receiver, at)), None)


def read(settings: config.Settings, off: Sequence[date] = (), causes: Sequence[str] = ()) -> Routes:
    """Read the routes of the settings; `causes` are those that runbooks name. Raises ConfigError."""
    pages = settings.pages
    where = _read("pages.timezone", wall.zone, pages.timezone)
    days = [_read("pages.workdays", wall.weekday, each) for each in pages.workdays]
    mornings = Mornings(_read("pages.morning", wall.time_of_day, pages.morning), days, where, off)
    known = {ON_CALL, *settings.receivers}
    found: list[Route] = []
    for name, table in settings.routes.items():
        if wrong := next(_wrong(table, known, causes), ""):
            raise config.ConfigError(f"routes.{name}.{wrong}")
        if hides := next((each.name for each in found if _hides(each.table, table)), ""):
            raise config.ConfigError(f"routes.{name}: matches nothing that routes.{hides} before it leaves")
        found.append(Route(name, table, _hours(name, table.hours), mornings))
    return Routes(tuple(found), mornings)


def _wrong(table: config.Route, known: set[str], causes: Sequence[str]) -> Iterator[str]:
    for key in ("receivers", "severity", "causes", "nodes", "jobs", "days"):
        if key in table.model_fields_set and not getattr(table, key):
            yield f"{key}: matches nothing: it is empty"
    for name in table.receivers:
        if name not in known:
            near = config.nearest(name, dict.fromkeys(sorted(known)))
            yield f"receivers: there is no receiver {name!r}{near}"
    for each in table.causes:
        if causes and not any(fnmatchcase(cause, each) for cause in causes):
            yield f"causes: matches nothing: no runbook's cause is like {each!r}"
    for day in table.days:
        if day not in (*wall.DAYS, HOLIDAY):
            yield f"days: expected {', '.join(wall.DAYS)} or {HOLIDAY}, got {day!r}"
    if ON_CALL in table.receivers and table.tell != "now":
        yield f"tell: {ON_CALL} gets every page at once, got {table.tell!r}"


def _hides(first: config.Route, later: config.Route) -> bool:
    """Say whether all that the later one asks for is the first one's already."""
    wide = (
        not getattr(first, key)
        or (getattr(later, key) and set(getattr(later, key)) <= set(getattr(first, key)))
        for key in ("receivers", "severity", "causes", "nodes", "jobs", "days")
    )
    return all(wide) and first.hours in ("", later.hours)


def _hours(name: str, text: str) -> tuple[time, time] | None:
    if not text:
        return None
    first, dash, last = text.partition("-")
    if not dash:
        raise config.ConfigError(f"routes.{name}.hours: expected a span such as 22:00-07:00, got {text!r}")
    span = tuple(_read(f"routes.{name}.hours", wall.time_of_day, each.strip()) for each in (first, last))
    if span[0] == span[1]:
        raise config.ConfigError(f"routes.{name}.hours: matches nothing: {text!r}")
    return span[0], span[1]


def _read(key: str, reader: Callable[[str], T], text: str) -> T:
    try:
        return reader(text)
    except ValueError as error:
        raise config.ConfigError(f"{key}: {error}") from None
