"""Once a week, what the seven days before add up to is told in a few lines."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlencode

from sentinel import config
from sentinel.adapters.dispatcher import Dispatcher
from sentinel.adapters.receivers import Receiver
from sentinel.logbook import report_text
from sentinel.logbook.window import Window, week_before
from sentinel.model.ids import Instant
from sentinel.oncall import wall
from sentinel.runtime import bulletins
from sentinel.runtime.bulletins import Bulletin, Times
from sentinel.web.past import report_of
from sentinel.web.view import View

NAME, KIND = "weekly", "Weekly report"


def read(settings: config.Settings, known: Sequence[Receiver]) -> Times | None:
    """Read the settings; None where nobody wants one. Raises ConfigError."""
    pages = settings.pages
    if not pages.weekly:
        return None
    return bulletins.weekly("weekly", pages.weekly, pages.weekly_to, pages.timezone, known)


def report(times: Times, dispatcher: Dispatcher, view: View) -> Bulletin:
    """Give it; the view's state is asked in the event loop, its logbook in a thread."""

    async def text(_: Instant, due: Instant) -> tuple[str, str]:
        window = week_before(wall.local(due, times.where).date(), times.where)
        status, lately = view.status(), list(view.uncounted())
        made = await asyncio.to_thread(report_of, view, status, lately, window)
        lines = [f"From {made.begins} to {made.ends}", report_text.details(made)]
        lines += [_page(status.url, window)] if status.url else []
        return report_text.headline(made), "\n".join(lines)

    return Bulletin(NAME, KIND, times, dispatcher, text)


def _page(url: str, window: Window) -> str:
    """Give where all of it is."""
    days = {"since": window.day(window.since), "until": window.day(window.until)}
    return f"{url}/report?{urlencode({**days, 'zone': str(window.zone)})}"
