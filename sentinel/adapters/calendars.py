"""Who is on call by a calendar, a file or an address: read again and again, the last good copy is kept."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import structlog

from sentinel import config, private
from sentinel.model.ids import Seconds
from sentinel.oncall.reading import LevelTable
from sentinel.oncall.rota import Shift
from sentinel.redact import redact, remember
from sentinel.terminal_text import one_line

EVERY_S: Seconds = 600.0
"""How often a calendar is read."""
AHEAD = timedelta(days=60)
"""How far it is read; what is on call then began at most so long ago."""
MOST_BYTES = 4 * 1024 * 1024
MOST_SHIFTS = 5000
WITHIN_S: Seconds = 15.0
INSTALL = "pip install 'sentinel-cluster[oncall]'"

log = structlog.get_logger(logger_name="calendar")


class Calendar:
    """One level's calendar; its shifts are those last read."""

    def __init__(self, key: str, path: Path | None, url: str, copy: Path, names: Mapping[str, str]) -> None:
        """`copy` is where an address's last good answer is kept; `names`, in lower case → person."""
        self._key, self._path, self._url, self._copy, self._names = key, path, url, copy, names
        self.shifts: Sequence[Shift] = ()

    def begin(self) -> None:
        """Read it for the first time. Raises ConfigError for a file; an address may be away for now."""
        try:
            if self._url and self._copy.exists():
                self.shifts = self._read(self._copy.read_bytes())
            self.refresh()
        except (OSError, ValueError, httpx.HTTPError) as error:
            if self._path:
                raise config.ConfigError(f"{self._key}: {self._why(error)}") from None
            log.warning("calendar-not-read", level=self._key, error=self._why(error))

    def refresh(self) -> None:
        """Read it again. Raises OSError, ValueError, httpx.HTTPError."""
        content = self._path.read_bytes() if self._path else self._fetched()
        self.shifts = self._read(content)
        if self._url:
            private.write(self._copy, content)

    async def run(self) -> None:
        """Keep it read until cancelled; what was read last stays while it can't be."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await asyncio.to_thread(self.refresh)
            except (OSError, ValueError, httpx.HTTPError) as error:
                log.warning("calendar-not-read", level=self._key, error=self._why(error))

    def _why(self, error: Exception) -> str:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return one_line(redact(f"{said or type(error).__name__}"))[:200] + (
            f": {self._path}" if self._path else ""
        )

    def _fetched(self) -> bytes:
        outside, body = not self._url.startswith("http://"), bytearray()
        until = time.monotonic() + WITHIN_S
        with (
            httpx.Client(timeout=WITHIN_S, trust_env=outside, follow_redirects=False) as client,
            client.stream("GET", self._url) as answer,
        ):
            if answer.status_code != 200:
                raise ValueError(f"HTTP {answer.status_code}")
            for piece in answer.iter_bytes():
                body += piece
                if len(body) > MOST_BYTES or time.monotonic() > until:
                    raise ValueError(f"more than {MOST_BYTES} bytes or {WITHIN_S:.0f} s")
        return bytes(body)

    def _read(self, content: bytes) -> Sequence[Shift]:
        import icalendar  # here, for it is not everybody's
        import recurring_ical_events

        try:
            whole = icalendar.Calendar.from_ical(content)
            now = datetime.now(UTC)
            found = list(recurring_ical_events.of(whole).between(now - AHEAD, now + AHEAD))
        except Exception as error:  # whatever these libraries make of such bytes
            raise ValueError(f"is no calendar that can be read: {type(error).__name__}: {error}") from None
        shifts = sorted(_shifts(found[:MOST_SHIFTS], self._names), key=lambda each: each.begins)
        if found and not shifts:
            raise ValueError(
                f"none of its events names one of {', '.join(sorted(set(self._names.values())))}"
            )
        return shifts


def _shifts(events: Sequence[Any], names: Mapping[str, str]) -> Iterator[Shift]:
    for event in events:
        person = next((who for name, who in names.items() if _names(name, event)), "")
        if person:
            begins, ends = (_moment(event[key].dt) for key in ("DTSTART", "DTEND"))
            yield Shift(begins, ends, person)


def _names(name: str, event: Any) -> bool:
    """Say whether an event names somebody: in its summary as whole words, or as who attends."""
    attends = event.get("ATTENDEE", [])
    attends = attends if isinstance(attends, list) else [attends]
    said = [str(each).lower().removeprefix("mailto:") for each in attends]
    said += [str(each.params.get("CN", "")).lower() for each in attends]
    words = f" {' '.join(str(event.get('SUMMARY', '')).lower().replace(',', ' ').split())} "
    return name in said or f" {name} " in words


def _moment(at: datetime | date) -> float:
    """Give a moment; what has no zone, such as a whole day, is UTC's."""
    if not isinstance(at, datetime):
        at = datetime(at.year, at.month, at.day, tzinfo=UTC)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


class Calendars:
    """All calendars of an on-call file."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir, self.all = state_dir, list[Calendar]()

    def __call__(self, key: str, table: LevelTable, folder: Path, names: Mapping[str, str]) -> Any:
        """Begin to read a level's. Raises ConfigError."""
        try:
            import icalendar  # noqa: F401
            import recurring_ical_events  # noqa: F401
        except ImportError:
            raise config.ConfigError(f"{key}: icalendar is not installed: {INSTALL}") from None
        path, url = table.calendar and folder / table.calendar, ""
        if table.calendar_url_file:
            named = folder / table.calendar_url_file
            url = config.read_secret(f"{key}.calendar_url_file", named)
            if not url.startswith(("https://", "http://")) or len(url.split()) != 1:
                raise config.ConfigError(f"{key}.calendar_url_file: expected one https:// address: {named}")
            remember(url)
        copy = self._state_dir / f"oncall-{len(self.all)}.ics"
        calendar = Calendar(key, path, url, copy, names)
        calendar.begin()
        self.all.append(calendar)
        return lambda: calendar.shifts
