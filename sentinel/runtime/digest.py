"""Once a day, one message says what happened, what was lost, who is out and what waits for people."""

import asyncio
import time as clock
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import time, timedelta, tzinfo

import structlog

from sentinel import config
from sentinel.adapters.dispatcher import NEWS, Dispatcher
from sentinel.adapters.receivers import ON_CALL, Receiver
from sentinel.logbook.entry import Row
from sentinel.model.action import Page, action_id
from sentinel.model.counted import counted
from sentinel.model.ids import DAY_S, HOUR_S, IncidentId, Instant, Seconds
from sentinel.model.incident import Stage
from sentinel.oncall import wall
from sentinel.web.verdict import training
from sentinel.web.view import Status, current

LOOKS_EVERY_S: Seconds = 5.0
LATEST_S: Seconds = 6 * HOUR_S
"""One that could not be told for so long is not told any more: the next one comes."""
MOST_LINES = 15
"""Incidents, nodes and things to do that are named, each."""
KIND = "Morning digest"

log = structlog.get_logger(logger_name="digest")


@dataclass(frozen=True, slots=True)
class Times:
    """When it is told, in which zone, and to whom."""

    at: time
    where: tzinfo
    to: tuple[str, ...]


def read(settings: config.Settings, known: Sequence[Receiver]) -> Times | None:
    """Read the settings; None where nobody wants one. Raises ConfigError."""
    pages = settings.pages
    if not pages.digest:
        return None
    channels = {each.name: each.channels for each in known}
    for name in pages.digest_to:
        if name != ON_CALL and name not in channels:
            near = config.nearest(name, dict.fromkeys([ON_CALL, *channels]))
            raise config.ConfigError(f"pages.digest_to: there is no receiver {name!r}{near}")
        if not all(getattr(each, "shows_news", True) for each in channels.get(name, ())):
            raise config.ConfigError(f"pages.digest_to: {name} can only wake people, and shows no digest")
    try:
        return Times(wall.time_of_day(pages.digest), wall.zone(pages.timezone), pages.digest_to)
    except ValueError as error:
        key = "timezone" if "zone" in str(error) else "digest"
        raise config.ConfigError(f"pages.{key}: {error}") from None


class Digest:
    """Tells it through the receivers' outboxes, which know what was told, also by a predecessor."""

    def __init__(
        self,
        times: Times,
        dispatcher: Dispatcher,
        status: Callable[[], Status],
        rows: Callable[[], Sequence[Row]],
    ) -> None:
        """`status` is asked in the event loop, `rows`, of the logbook, in a thread."""
        self._times, self._dispatcher, self._status, self._rows = times, dispatcher, status, rows

    async def run(self) -> None:
        """Tell each day's until cancelled."""
        while True:
            try:
                await self.look(clock.time())
            except Exception:  # a defect here must keep nothing else from anybody
                log.exception("digest-failed")
            await asyncio.sleep(LOOKS_EVERY_S)

    async def look(self, now: Instant) -> None:
        """Tell the day's, if it is due and was not told."""
        times = self._times
        day = wall.day_before(now, times.at, times.where)
        due = wall.moment(day, times.at, times.where)
        name = IncidentId(f"digest-{day}")
        if now - due > LATEST_S or not self._dispatcher.lacks(name, times.to):
            return
        since = wall.moment(day - timedelta(days=1), times.at, times.where)
        status, rows = self._status(), await asyncio.to_thread(self._rows)
        title, body = words(status, current(status, rows), since, times.where)
        page = Page(action_id(name, NEWS, ON_CALL, 1), name, 1, title, body, "resolved", news=KIND)
        self._dispatcher.announce(page, times.to)


def words(status: Status, rows: Sequence[Row], since: Instant, where: tzinfo) -> tuple[str, str]:
    """Give title and text; one short line if there is nothing to say."""
    happened = [row for row in rows if row.opened >= since or row.stage not in (Stage.RESOLVED, "over")]
    happened.sort(key=lambda row: row.opened)
    out = [f"{node.node}: {node.cordon}" for node in status.nodes if node.cordon]
    out += [f"{node.node}: silent" for node in status.nodes if node.silent and not node.cordon]
    waits = list(_waits(status))
    began = f"{wall.local(since, where):%a %H:%M %Z}"
    if not (happened or out or waits):
        return f"Nothing happened since {began}; nobody is out, and nothing waits for you", ""
    lost = _lost(happened)
    title = (
        f"{counted(len(happened), 'incident')} since {began}" if happened else f"No incident since {began}"
    )
    title += f", {lost} lost" if lost else ""
    title += f"; {counted(len(out), 'node')} out" if out else ""
    title += f"; {counted(len(waits), 'thing')} to do" if waits else "; nothing waits for you"
    lines = [*_part("", [_line(row, status.now, where) for row in happened])]
    lines += [f"Lost: {lost}"] if lost else []
    lines += [*_part("Out: ", out), *_part("For you: ", waits)]
    lines += [f"Now: {training(job)}" for job in status.jobs]
    return title, "\n".join(lines)


def _line(row: Row, now: Instant, where: tzinfo) -> str:
    after = row.times.get("resolved")
    ends = (
        f"over after {_lasted(after)}"
        if after is not None
        else f"{row.stage}, since {_lasted(now - row.opened)}"
    )
    what = f"{row.title}: {row.where}" if row.where else row.title
    parts = [f"{wall.local(row.opened, where):%a %H:%M} {row.incident} {what}", ends]
    parts += [f"evicted {', '.join(row.evicted)}"] if row.evicted else []
    parts += [f"judged {each}" for each in row.judged]
    return "; ".join(parts)


def _waits(status: Status) -> Iterator[str]:
    for incident in status.incidents:
        if not incident.acked_by:
            yield f"{incident.incident} is {incident.stage}, and nobody has acknowledged it: {incident.title}"
    if status.stopped:
        yield f"actions are stopped by {status.stopped}"
    if status.frozen:
        yield f"actions are frozen: {status.frozen}"
    yield from (f"{job.job} needs {job.needs}" for job in status.jobs if job.needs)
    yield from status.left


def _lost(rows: Sequence[Row]) -> str:
    gpu_s = sum(row.gpu_seconds_lost or 0.0 for row in rows)
    steps = sum(row.steps_lost or 0 for row in rows)
    parts = [f"{gpu_s / HOUR_S:.1f} GPU-hours"] if gpu_s >= 0.05 * HOUR_S else []
    parts += [f"{gpu_s:.0f} GPU-seconds"] if 0 < gpu_s < 0.05 * HOUR_S else []
    return " and ".join([*parts, *([counted(steps, "step")] if steps else [])])


def _part(word: str, lines: Sequence[str]) -> Iterator[str]:
    yield from (f"{word}{line}" for line in lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        yield f"{word}and {len(lines) - MOST_LINES} more"


def _lasted(seconds: Seconds) -> str:
    if seconds < 2 * 60:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR_S:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / HOUR_S:.0f} h" if seconds < 2 * DAY_S else f"{seconds / DAY_S:.0f} days"
