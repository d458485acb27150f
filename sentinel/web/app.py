"""The controller's web server: status, logbook, metrics and the control API in one app."""

import asyncio
import re
from collections.abc import Collection
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from starlette.exceptions import HTTPException

from sentinel.dashboards import alert_pages
from sentinel.logbook.search import QueryError
from sentinel.model.ids import Cause
from sentinel.runbooks import RunbookError, page
from sentinel.web import api, pages, past
from sentinel.web.admission import Admission
from sentinel.web.desk import Desk
from sentinel.web.discovery import targets
from sentinel.web.hardening import Hardened
from sentinel.web.links import links
from sentinel.web.live import events
from sentinel.web.metrics import exposition
from sentinel.web.query import bounded
from sentinel.web.view import Commander, LogReader, Prober, Status, View, current

CAUSE = re.compile(r"[a-z0-9-]{1,64}")


def create_app(
    view: View,
    command: Commander,
    token: str,
    registry: CollectorRegistry | None = None,
    *,
    hosts: Collection[str] | None = None,
    home: asyncio.AbstractEventLoop | None = None,
    prober: Prober | None = None,
    logs: LogReader | None = None,
    runbooks: Path | None = None,
) -> FastAPI:
    """Build the app; an empty token lets no command through.

    `registry` holds the controller's own counters, which `/metrics` shows too. `hosts` are the names by which
    browsers may call this server, None: any. `home` is the loop in which view, command and prober are called;
    None: the one that serves. Without a `prober` nobody can ask for a probe, without `logs` for those.
    `runbooks` is the folder of the cluster's own.
    """
    app, desk = FastAPI(title="Sentinel", openapi_url=None), Desk(view, home)
    app.include_router(api.router(desk, command, prober, logs))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(Admission, token=token, hosts=hosts)
    app.add_middleware(Hardened)
    _pages(app, desk, runbooks)
    app.include_router(past.router(desk))
    _machines(app, desk, registry or CollectorRegistry())
    return app


def _pages(app: FastAPI, desk: Desk, own_runbooks: Path | None) -> None:
    @app.get("/")
    async def status() -> HTMLResponse:
        return HTMLResponse(await desk.of_status(_whole))

    @app.get("/fragment")
    async def fragment() -> HTMLResponse:
        return HTMLResponse(await desk.of_status(_part))

    @app.get("/events")
    async def live() -> StreamingResponse:
        return StreamingResponse(events(desk, _part), media_type="text/event-stream")

    @app.get("/logbook")
    async def logbook(q: str = "") -> HTMLResponse:
        query, status = bounded(q), await desk.status()
        try:
            return HTMLResponse(await desk.read(lambda: _found(status, desk.view, query)))
        except QueryError as error:
            return HTMLResponse(_utf8(pages.logbook_page((), query, wrong=str(error))), 400)

    @app.get("/logbook/{incident}")
    async def entry(incident: str) -> HTMLResponse:
        page = await desk.read(lambda: _entry(desk.view, incident))
        if page is None:
            return HTMLResponse(pages.missing_page(f"The logbook has no entry {incident}."), 404)
        return HTMLResponse(page)

    @app.get("/runbook/{cause}")
    async def runbook(cause: str) -> HTMLResponse:
        page = await desk.read(lambda: _runbook(cause, own_runbooks))
        if page is None:
            return HTMLResponse(pages.missing_page(f"There is no runbook {cause}."), 404)
        return HTMLResponse(page)


def _machines(app: FastAPI, desk: Desk, registry: CollectorRegistry) -> None:
    @app.get("/metrics")
    async def metrics() -> Response:
        counters = await desk.look(lambda: list(registry.collect()))
        return Response(exposition(await desk.status(), counters), media_type=CONTENT_TYPE_LATEST)

    @app.get("/sd")
    async def discovery(request: Request) -> JSONResponse:
        return JSONResponse(targets(await desk.status(), request.url.netloc))

    @app.get("/network")
    async def network() -> HTMLResponse:
        measured = await desk.look(lambda: links(registry.collect()))
        return HTMLResponse(await desk.read(lambda: _utf8(pages.network_page(measured))))

    @app.get("/healthz")
    async def healthz() -> PlainTextResponse:
        await desk.look(lambda: None)
        return PlainTextResponse("ok\n")


def _whole(status: Status) -> bytes:
    return _utf8(pages.status_page(status))


def _part(status: Status) -> bytes:
    return _utf8(pages.status_fragment(status))


def _found(status: Status, view: View, query: str) -> bytes:
    rows = view.search(query)
    return _utf8(pages.logbook_page(current(status, rows[: api.MOST_ROWS]), query, len(rows)))


def _entry(view: View, incident: str) -> bytes | None:
    found = view.entry(incident)
    if found is None:
        return None
    return _utf8(pages.entry_page(incident, found, view.row(incident)))


def _runbook(cause: str, own: Path | None) -> bytes | None:
    if not CAUSE.fullmatch(cause):
        return None
    try:
        text: str | None = page(Cause(cause), own=own)
    except RunbookError:
        text = alert_pages.prose(cause)
    return None if text is None else _utf8(pages.entry_page(cause, text))


def _utf8(page: str) -> bytes:
    """What is no character, such as of a file's name, is spelled out."""
    return page.encode("utf-8", "backslashreplace")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and not request.url.path.startswith("/api"):
        return HTMLResponse(pages.missing_page("There is no such page."), 404)
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "path"))
    return JSONResponse({"error": f"{where}: {first['msg']}" if where else str(first["msg"])}, 422)
