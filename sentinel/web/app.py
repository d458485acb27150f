"""The controller's web server: status, logbook, metrics and the control API in one app."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.exceptions import HTTPException

from sentinel.web import api, pages
from sentinel.web.door import Door
from sentinel.web.metrics import ViewCollector
from sentinel.web.view import Commander, View

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""The pages load nothing from elsewhere and nothing may frame them."""


def create_app(
    view: View, command: Commander, token: str, registry: CollectorRegistry | None = None
) -> FastAPI:
    """Build the app; an empty token lets no command through.

    `registry` holds the controller's own counters, which `/metrics` shows too.
    """
    app = FastAPI(title="Sentinel", openapi_url=None)
    registry = registry or CollectorRegistry()
    registry.register(ViewCollector(view))
    app.include_router(api.router(view, command))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(Door, token=token)
    app.middleware("http")(_harden)
    _pages(app, view)

    @app.get("/metrics")
    async def metrics() -> Response:  # in the loop's thread, where the state does not change meanwhile
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/healthz")
    async def healthz() -> PlainTextResponse:
        view.status()
        return PlainTextResponse("ok\n")

    return app


def _pages(app: FastAPI, view: View) -> None:
    @app.get("/")
    async def status() -> HTMLResponse:
        return HTMLResponse(pages.status_page(view.status()))

    @app.get("/fragment")
    async def fragment() -> HTMLResponse:
        return HTMLResponse(pages.status_fragment(view.status()))

    @app.get("/logbook")
    async def logbook(q: str = "") -> HTMLResponse:
        return HTMLResponse(pages.logbook_page(view.search(q), q))

    @app.get("/logbook/{incident}")
    async def entry(incident: str) -> HTMLResponse:
        found = view.entry(incident)
        if found is None:
            return HTMLResponse(pages.missing_page(f"The logbook has no entry {incident}."), 404)
        return HTMLResponse(pages.entry_page(incident, found))


async def _harden(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers.update(HEADERS)
    if not request.url.path.startswith("/static"):
        response.headers["Cache-Control"] = "no-store"
    return response


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and not request.url.path.startswith("/api"):
        return HTMLResponse(pages.missing_page("There is no such page."), 404)
    return JSONResponse({"error": str(error.detail)}, error.status_code)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "path"))
    return JSONResponse({"error": f"{where}: {first['msg']}" if where else str(first["msg"])}, 422)
