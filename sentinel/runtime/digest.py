"""Once a day, one message says what happened, what was lost, who is out and what waits for people."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo

from sentinel import config
from sentinel.adapters.dispatcher import Dispatcher
from sentinel.adapters.receivers import Receiver
from sentinel.logbook.row import Row
from sentinel.model.counted import counted
from sentinel.model.ids import DAY_S, HOUR_S, Instant, Seconds
from sentinel.model.incident import Stage
from sentinel.oncall import wall
from sentinel.runtime.bulletins import Bulletin, Times, daily
from sentinel.web.verdict import training
from sentinel.web.view import Status, current

MOST_LINES = 15
"""Incidents, nodes and things to do that are named, each."""
NAME, KIND = "digest", "Morning digest"


def read(settings: config.Settings, known: Sequence[Receiver]) -> Times | None:
    """Read the settings; None where nobody wants one. Raises ConfigError."""
    pages = settings.pages
    if not pages.digest:
        return None
    return daily("digest", pages.digest, pages.digest_to, pages.timezone, known)


def digest(
    times: Times, dispatcher: Dispatcher, status: Callable[[], Status], rows: Callable[[], Sequence[Row]]
) -> Bulletin:
    """Give it; `status` is asked in the event loop, `rows`, of the logbook, in a thread."""

    async def text(since: Instant, _: Instant) -> tuple[str, str]:
        now, found = status(), await asyncio.to_thread(rows)
        return words(now, current(now, found), since, times.where)

    return Bulletin(NAME, KIND, times, dispatcher, text)


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
