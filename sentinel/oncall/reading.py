"""`oncall.toml` → who is on call; what is wrong is one line with file and key."""

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, tzinfo
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from sentinel import config
from sentinel.model.ids import Instant
from sentinel.oncall import wall
from sentinel.oncall.rota import Level, Person, Rota, Rotation, Shift

T = TypeVar("T")
Calendars = Callable[[str, "LevelTable", Path, Mapping[str, str]], Callable[[], Sequence[Shift]]]
"""(level's key, its table, folder of the file, lower-case name in a calendar → person) → its shifts."""


class PersonTable(config.Table):
    """`[people.NAME]`."""

    receivers: tuple[str, ...] = Field(min_length=1)
    """Receivers of the settings that are told when this one is asked, and not before."""
    away: tuple[str, ...] = ()
    """First and last day, such as `2026-12-20..2027-01-03`: the next in the rotation stands in."""
    names: tuple[str, ...] = ()
    """What a calendar calls this one, such as a mail address; its own name counts too."""


class LevelTable(config.Table):
    """`[[levels]]`, in the order in which they are asked."""

    name: str = Field(min_length=1)
    next_s: float = Field(default=600.0, gt=0, le=86400)
    """Until the next level is asked, and after the last one everybody."""
    people: tuple[str, ...] = ()
    """They take turns."""
    handover: str = "mon 09:00"
    """When the turn ends: `mon 09:00` each week, `09:00` each day."""
    since: date | None = None
    """The first in the list begins on this day or the weekday after it."""
    calendar: Path | None = None
    """An iCalendar file instead of people."""
    calendar_url_file: Path | None = None
    """A file with a calendar's address, which is a secret."""


class OverrideTable(config.Table):
    """`[[overrides]]`: somebody stands in, whatever rotation or calendar say."""

    level: str
    person: str
    begins: datetime
    """There, without an offset."""
    ends: datetime


class OncallTable(config.Table):
    """The file."""

    timezone: str = "UTC"
    holidays: tuple[date, ...] = ()
    people: Mapping[str, PersonTable] = Field(min_length=1)
    levels: tuple[LevelTable, ...] = Field(min_length=1)
    overrides: tuple[OverrideTable, ...] = ()


def read(path: Path, receivers: Iterable[str], calendars: Calendars) -> Rota:
    """Read the file; `receivers` are those of the settings. Raises ConfigError."""
    try:
        found: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise config.ConfigError(f"pages.oncall_file: {error.strerror}: {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise config.ConfigError(f"{path}: is not TOML: {error}") from None
    table = config.valid(str(path), "oncall", OncallTable, found, strict=False)
    try:
        return _rota(table, path, dict.fromkeys(receivers), calendars)
    except ValueError as error:
        said = str(error)
        raise config.ConfigError(
            said if isinstance(error, config.ConfigError) else f"{path}: {said}"
        ) from None


def _rota(table: OncallTable, path: Path, receivers: Mapping[str, None], calendars: Calendars) -> Rota:
    where = _keyed("timezone", wall.zone, table.timezone)
    for name, person in table.people.items():
        for each in person.receivers:
            if each not in receivers:
                near = config.nearest(each, receivers)
                raise ValueError(f"people.{name}.receivers: there is no receiver {each!r}{near}")
    people = {
        name: Person(
            tuple(each.receivers), [_keyed(f"people.{name}.away", _days, text) for text in each.away]
        )
        for name, each in table.people.items()
    }
    names = {called.lower(): name for name, each in table.people.items() for called in (name, *each.names)}
    overrides = [_override(f"overrides[{n}]", each, table, where) for n, each in enumerate(table.overrides)]
    levels = []
    for number, level in enumerate(table.levels):
        own = [shift for named, shift in overrides if named == level.name]
        levels.append(_level(f"levels[{number}]", level, path, names, where, own, calendars))
    return Rota(people, levels, where, tuple(table.holidays))


def _level(
    key: str,
    table: LevelTable,
    path: Path,
    names: Mapping[str, str],
    where: tzinfo,
    overrides: Sequence[Shift],
    calendars: Calendars,
) -> Level:
    given = [name for name in ("people", "calendar", "calendar_url_file") if getattr(table, name)]
    if len(given) != 1:
        said = " and ".join(given) or "nothing"
        raise ValueError(f"{key}: expected one of people, calendar, calendar_url_file, got {said}")
    if not table.people:
        shifts = calendars(f"{path}: {key}", table, path.parent, names)
        return Level(table.name, table.next_s, None, shifts, overrides)
    for name in table.people:
        _known(f"{key}.people", name, dict.fromkeys(names.values()))
    if table.since is None:
        raise ValueError(f"{key}.since: is missing: the day on which {table.people[0]} begins")
    *day, at = table.handover.split()
    if len(day) > 1:
        raise ValueError(f"{key}.handover: expected `mon 09:00` or `09:00`, got {table.handover!r}")
    weekday = _keyed(f"{key}.handover", wall.weekday, day[0]) if day else None
    turns = _keyed(f"{key}.handover", wall.time_of_day, at)
    rotation = Rotation(tuple(table.people), table.since, turns, weekday, where)
    return Level(table.name, table.next_s, rotation, tuple, overrides)


def _override(key: str, table: OverrideTable, whole: OncallTable, where: tzinfo) -> tuple[str, Shift]:
    _known(f"{key}.level", table.level, dict.fromkeys(each.name for each in whole.levels))
    _known(f"{key}.person", table.person, dict.fromkeys(whole.people))
    begins, ends = (_moment(each, where) for each in (table.begins, table.ends))
    if begins >= ends:
        raise ValueError(f"{key}.ends: is not after begins: {table.ends}")
    return table.level, Shift(begins, ends, table.person)


def _moment(at: datetime, where: tzinfo) -> Instant:
    return at.timestamp() if at.tzinfo else wall.moment(at.date(), at.time(), where)


def _days(text: str) -> tuple[date, date]:
    first, _, last = text.partition("..")
    span = date.fromisoformat(first), date.fromisoformat(last or first)
    if span[0] > span[1]:
        raise ValueError(f"the last day is before the first: {text!r}")
    return span


def _known(key: str, name: str, known: Mapping[str, Any]) -> None:
    if name not in known:
        raise ValueError(f"{key}: there is no {name!r}{config.nearest(name, known)}")


def _keyed(key: str, reader: Callable[[str], T], text: str) -> T:
    try:
        return reader(text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
