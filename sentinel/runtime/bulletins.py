"""News at a time of day or of the week, through the receivers' outboxes: told once, and waking nobody."""

import asyncio
import time as clock
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, time, timedelta, tzinfo
from typing import TypeAlias, TypeVar

import structlog

from sentinel import config
from sentinel.adapters.dispatcher import NEWS, Dispatcher
from sentinel.adapters.receivers import ON_CALL, Receiver
from sentinel.model.action import Page, action_id
from sentinel.model.ids import DAY_S, HOUR_S, IncidentId, Instant, Seconds
from sentinel.oncall import wall

LOOKS_EVERY_S: Seconds = 5.0
LATEST_S: Seconds = 6 * HOUR_S
"""News of a day that could not be told for so long are not told any more: the next come."""
LATEST_OF_A_WEEK_S: Seconds = 3 * DAY_S
"""The same of a week's: a controller may be away over a weekend."""

Text: TypeAlias = Callable[[Instant, Instant], Awaitable[tuple[str, str]]]
"""(from, until) → title, body."""
T = TypeVar("T")

log = structlog.get_logger(logger_name="bulletins")


@dataclass(frozen=True, slots=True)
class Times:
    """When something is told, in which zone, and to whom."""

    at: time
    where: tzinfo
    to: Sequence[str]
    weekday: int | None = None
    """0 for Monday; None for every day."""

    @property
    def latest_s(self) -> Seconds:
        """How late it may be."""
        return LATEST_S if self.weekday is None else LATEST_OF_A_WEEK_S

    def last(self, now: Instant) -> tuple[date, Instant, Instant]:
        """Give the last day on which it was due, when that was, and when it was due before."""
        day = wall.day_before(now, self.at, self.where)
        if self.weekday is not None:
            day -= timedelta(days=(day.weekday() - self.weekday) % 7)
        before = day - timedelta(days=1 if self.weekday is None else 7)
        due, since = (wall.moment(each, self.at, self.where) for each in (day, before))
        return day, due, since


def daily(key: str, at: str, to: Sequence[str], zone: str, known: Sequence[Receiver]) -> Times:
    """Read `pages.KEY` as `07:30`, and `pages.KEY_to`. Raises ConfigError."""
    where = _read("timezone", wall.zone, zone)
    _check_receivers(f"pages.{key}_to", to, known)
    return Times(_read(key, wall.time_of_day, at), where, to)


def weekly(key: str, at: str, to: Sequence[str], zone: str, known: Sequence[Receiver]) -> Times:
    """Read the same of a time such as `mon 09:00`. Raises ConfigError."""
    day, _, hour = at.partition(" ")
    if not hour:
        raise config.ConfigError(
            f"pages.{key}: expected a day and a time such as 'mon 09:00', got {at!r:.80}"
        )
    return replace(daily(key, hour, to, zone, known), weekday=_read(key, wall.weekday, day))


def _read(key: str, read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except ValueError as error:
        raise config.ConfigError(f"pages.{key}: {error}") from None


def _check_receivers(key: str, names: Sequence[str], known: Sequence[Receiver]) -> None:
    channels = {each.name: each.channels for each in known}
    for name in names:
        if name != ON_CALL and name not in channels:
            near = config.nearest(name, dict.fromkeys([ON_CALL, *channels]))
            raise config.ConfigError(f"{key}: there is no receiver {name!r}{near}")
        if not all(getattr(each, "shows_news", True) for each in channels.get(name, ())):
            raise config.ConfigError(f"{key}: {name} can only wake people, and shows no news")


class Bulletin:
    """Tells one kind of news; the outboxes know what was told, also by a predecessor."""

    def __init__(self, name: str, kind: str, times: Times, dispatcher: Dispatcher, text: Text) -> None:
        """`name` begins its ids, `kind` its titles."""
        self._name, self._kind, self._times = name, kind, times
        self._dispatcher, self._text = dispatcher, text

    async def run(self) -> None:
        """Tell each one until cancelled."""
        while True:
            try:
                await self.look(clock.time())
            except Exception:  # a defect here must keep nothing else from anybody
                log.exception("bulletin-failed", name=self._name)
            await asyncio.sleep(LOOKS_EVERY_S)

    async def look(self, now: Instant) -> None:
        """Tell it if it is due and was not told."""
        day, due, since = self._times.last(now)
        name = IncidentId(f"{self._name}-{day}")
        if now - due > self._times.latest_s or not self._dispatcher.lacks(name, self._times.to):
            return
        title, body = await self._text(since, due)
        page = Page(action_id(name, NEWS, ON_CALL, 1), name, 1, title, body, "resolved", news=self._kind)
        self._dispatcher.announce(page, self._times.to)
