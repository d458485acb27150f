"""What the past adds up to, as pages and as JSON: the report of a time, a node's and a cause's history."""

import re
import time
from collections.abc import Callable, Sequence

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from sentinel.logbook.evictions import evictions
from sentinel.logbook.row import Row
from sentinel.logbook.search import Query
from sentinel.logbook.statistics import Report, report
from sentinel.logbook.tally import Entry
from sentinel.logbook.window import Window, WindowError, last_week, moment, zone_of
from sentinel.model.ids import NODE_NAME
from sentinel.web import past_pages
from sentinel.web.api import MOST_ROWS, as_json
from sentinel.web.desk import Desk
from sentinel.web.pages import missing_page
from sentinel.web.view import Status, View, current

CAUSE = re.compile(r"[a-z0-9-]{1,64}")
MOST_CHARS = 100
"""Of a time or a zone that somebody asks for."""


def router(desk: Desk) -> APIRouter:
    """Build the routes."""
    found = APIRouter()

    @found.get("/report")
    async def page(since: str = "", until: str = "", zone: str = "UTC", week: str = "") -> HTMLResponse:
        try:
            window = window_of(since, until, zone, week=bool(week))
        except WindowError as error:
            return HTMLResponse(_utf8(past_pages.no_report_page(str(error), since, until, zone)), 400)
        asked = (since, until, zone)
        return HTMLResponse(await _made(desk, window, lambda made: past_pages.report_page(made, *asked)))

    @found.get("/api/report")
    async def as_document(since: str = "", until: str = "", zone: str = "UTC", week: str = "") -> Response:
        try:
            window = window_of(since, until, zone, week=bool(week))
        except WindowError as error:
            raise HTTPException(400, str(error)) from None
        return Response(await _made(desk, window, as_json), media_type="application/json")

    @found.get("/node/{name}")
    async def node(name: str) -> HTMLResponse:
        status, lately = await desk.status(), list(await desk.look(desk.view.uncounted))
        made = await desk.read(lambda: _node(desk, status, name, lately)) if _is_node(name) else None
        if made is None:
            return HTMLResponse(missing_page(f"No node {name[:200]} is known, here or in the logbook."), 404)
        return HTMLResponse(made)

    @found.get("/cause/{cause}")
    async def cause(cause: str) -> HTMLResponse:
        status = await desk.status()
        made = await desk.read(lambda: _cause(desk, status, cause)) if CAUSE.fullmatch(cause) else None
        if made is None:
            return HTMLResponse(missing_page(f"The logbook has no incident of cause {cause[:64]}."), 404)
        return HTMLResponse(made)

    return found


def window_of(since: str, until: str, zone: str, *, week: bool = False) -> Window:
    """Read what is asked for: the last seven days, if nothing is. Raises WindowError."""
    if max(map(len, (since, until, zone))) > MOST_CHARS:
        raise WindowError(f"a time and a zone may have {MOST_CHARS} characters")
    now, place = time.time(), zone_of(zone)
    if week:
        return last_week(now, place)
    return Window(moment(since or "7d", now, place), moment(until or "now", now, place), place)


def report_of(view: View, status: Status, lately: Sequence[Entry], window: Window) -> Report:
    """Count it, in a thread; `lately` is what the tally does not hold yet. Raises OSError."""
    rows = current(status, view.search(""))
    return report(rows, [*view.counted(), *lately], window, status.cluster)


async def _made(desk: Desk, window: Window, make: Callable[[Report], bytes | str]) -> bytes:
    status, lately = await desk.status(), list(await desk.look(desk.view.uncounted))

    def made() -> bytes:
        page = make(report_of(desk.view, status, lately, window))
        return page if isinstance(page, bytes) else _utf8(page)

    return await desk.read(made)


def _node(desk: Desk, status: Status, name: str, lately: list[Entry]) -> bytes | None:
    here = next((each for each in status.nodes if each.node == name), None)
    wanted = Query(node=name)
    rows = current(status, [row for row in desk.view.search("") if wanted.fits(row)])
    if here is None and not rows:
        return None
    told = [each for each in evictions(rows, [*desk.view.counted(), *lately]) if each.node == name]
    shown = rows[:MOST_ROWS]
    return _utf8(past_pages.node_page(name, here, shown, told[::-1]))


def _cause(desk: Desk, status: Status, cause: str) -> bytes | None:
    rows: list[Row] = [row for row in desk.view.search("") if Query(cause=cause).fits(row)]
    return _utf8(past_pages.cause_page(cause, current(status, rows[:MOST_ROWS]))) if rows else None


def _is_node(name: str) -> bool:
    return re.search(NODE_NAME, name) is not None


def _utf8(page: str) -> bytes:
    return page.encode("utf-8", "backslashreplace")
