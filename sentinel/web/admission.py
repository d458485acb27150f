"""Requests are admitted or refused by their headers, before a byte of their body is read."""

import hmac
import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

READING = frozenset({"GET", "HEAD", "OPTIONS"})
LONGEST_BODY = 64 * 1024
"""A command's longest fields fill a few kilobytes."""
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_LENGTH = re.compile(r"[0-9]{1,18}")


class Admission:
    """Middleware that refuses what was sent to another's name, and a command that is not its sender's own.

    A page elsewhere whose name is made to point here (DNS rebinding) sends its own name as Host; one that
    sends commands by a browser is told by Origin or Sec-Fetch-Site. A command needs the token, and a body
    that is short and says how long it is.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: Collection[str] | None = None) -> None:
        """An empty token lets no command through; `hosts` are the names to be called by, None: any."""
        self._app, self._token = app, token
        self._hosts = None if hosts is None else frozenset(map(_bare, hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through, or answer at once; what was not read ends with the connection."""
        refused = self._refusal(scope["method"], Headers(scope=scope)) if scope["type"] == "http" else None
        await (refused or self._app)(scope, receive, send)

    def _refusal(self, method: str, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return _refuse(421, f"{host[:100]!r} is no name of this server: see cluster.web_hosts")
        return None if method in READING else self._command_refusal(host, headers)

    def _command_refusal(self, host: str, headers: Headers) -> JSONResponse | None:
        if not _is_own_page(host, headers):
            return _refuse(403, "a command from another site's page is refused")
        if not self._is_right(headers.get("authorization", "")):
            why = "a command needs the right token: Authorization: Bearer TOKEN"
            return _refuse(401, why, {"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "")
        if "transfer-encoding" in headers or not _LENGTH.fullmatch(length):
            return _refuse(411, "a command needs a Content-Length")
        if int(length) > LONGEST_BODY:
            return _refuse(413, f"a command's body may have {LONGEST_BODY} bytes")
        return None

    def _is_ours(self, host: str) -> bool:
        if self._hosts is None:
            return True
        found = _HOST.fullmatch(host)
        return found is not None and _bare(found[1]) in self._hosts

    def _is_right(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self._token.encode())
        return bool(self._token) and right and scheme.lower() == "bearer"


def _is_own_page(host: str, headers: Headers) -> bool:
    """Say whether no browser sent it, or one that shows a page of ours."""
    origins = headers.getlist("origin")
    ours = {f"{scheme}://{host}".lower() for scheme in ("http", "https")}  # a proxy may add TLS
    sites = headers.getlist("sec-fetch-site")
    return all(each.lower() in ours for each in origins) and all(
        each.lower() in ("same-origin", "none") for each in sites
    )


def _bare(name: str) -> str:
    """A host's name as it is compared: without brackets, a last dot, or capitals."""
    return name.strip("[]").rstrip(".").lower()


def _refuse(status: int, why: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": why}, status, {**(headers or {}), "Connection": "close"})
