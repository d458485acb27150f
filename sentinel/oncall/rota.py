"""Who is on call, level by level, and who is asked next: pure, so that a restart changes nothing of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, time, timedelta, tzinfo

from sentinel.model.ids import Instant, Seconds
from sentinel.oncall import wall

WEEK = 7


@dataclass(frozen=True, slots=True)
class Shift:
    """Somebody is on call from one moment on and before another."""

    begins: Instant
    ends: Instant
    person: str

    def covers(self, at: Instant) -> bool:
        """Say whether a moment is in it."""
        return self.begins <= at < self.ends


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can be asked, through receivers that are nobody else's."""

    receivers: Sequence[str]
    away: Sequence[tuple[date, date]] = ()
    """First and last days."""

    def is_away(self, day: date) -> bool:
        """Say whether a day is within one of them."""
        return any(first <= day <= last for first, last in self.away)


@dataclass(frozen=True, slots=True)
class Rotation:
    """People take turns, from one hand-over to the next."""

    people: Sequence[str]
    since: date
    """The first hand-over, to the first of them, is on this day or the weekday after it."""
    at: time
    weekday: int | None = None
    """None: each day."""
    where: tzinfo = UTC

    def turn(self, at: Instant) -> tuple[int, date]:
        """Give which turn it is, counted from the first, and the day on which it began."""
        day, every = wall.day_before(at, self.at, self.where), 1
        first = self.since
        if self.weekday is not None:
            every, first = WEEK, first + timedelta(days=(self.weekday - first.weekday()) % WEEK)
            day -= timedelta(days=(day.weekday() - self.weekday) % WEEK)
        return (day - first).days // every, day

    def order(self, at: Instant) -> Iterator[str]:
        """Give whose turn it is, and who would stand in, in their order."""
        turn, _ = self.turn(at)
        yield from (self.people[(turn + each) % len(self.people)] for each in range(len(self.people)))


@dataclass(frozen=True, slots=True)
class Level:
    """One step of an escalation: overrides before the calendar, or the rotation."""

    name: str
    next_s: Seconds
    """How long it is given to acknowledge before the next one is asked."""
    rotation: Rotation | None = None
    calendar: Callable[[], Sequence[Shift]] = tuple
    overrides: Sequence[Shift] = ()

    def who(self, at: Instant, people: Mapping[str, Person], where: tzinfo) -> str:
        """Name who is on call; empty for nobody. Of shifts that overlap, the one that began last counts."""
        for shifts in (self.overrides, self.calendar()):
            if found := [each for each in shifts if each.covers(at)]:
                return max(found, key=lambda each: each.begins).person
        if self.rotation is None:
            return ""
        today = wall.local(at, where).date()
        return next((name for name in self.rotation.order(at) if not people[name].is_away(today)), "")


@dataclass(frozen=True, slots=True)
class Ask:
    """Who is asked, from when on."""

    at: Instant
    people: Sequence[str]


@dataclass(frozen=True, slots=True)
class Rota:
    """All levels; after the last one everybody is asked."""

    people: Mapping[str, Person]
    levels: Sequence[Level]
    where: tzinfo = UTC
    holidays: Sequence[date] = field(default=())

    def asks(self, since: Instant) -> Iterator[Ask]:
        """Say who is asked when of what began to wait for people then; a level without anybody is passed."""
        at = since
        for level in self.levels:
            if name := level.who(at, self.people, self.where):
                yield Ask(at, (name,))
                at += level.next_s
        yield Ask(at, tuple(self.people))

    def of(self, receiver: str) -> Sequence[str]:
        """Name the people who are asked through a receiver."""
        return [name for name, person in self.people.items() if receiver in person.receivers]
