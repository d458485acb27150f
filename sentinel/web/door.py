"""Who may do more than read is asked at the door, before a byte of what they bring is taken in."""

import hmac

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

READING = frozenset({"GET", "HEAD", "OPTIONS"})
LONGEST_BODY = 64 * 1024
"""A command's longest fields fill a few kilobytes."""


class Door:
    """Middleware that refuses a command without the token, or whose body is long or of unknown length."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        """An empty token lets no command through."""
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through, or answer at once; what was not read ends with the connection."""
        refused = self._refusal(Headers(scope=scope)) if _commands(scope) else None
        await (refused or self._app)(scope, receive, send)

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        if not self._is_right(headers.get("authorization", "")):
            why = "a command needs the right token: Authorization: Bearer TOKEN"
            return _refuse(401, why, {"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "")
        if "transfer-encoding" in headers or not length.isdecimal():
            return _refuse(411, "a command needs a Content-Length")
        if int(length) > LONGEST_BODY:
            return _refuse(413, f"a command's body may have {LONGEST_BODY} bytes")
        return None

    def _is_right(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self._token.encode())
        return bool(self._token) and right and scheme.lower() == "bearer"


def _commands(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] not in READING


def _refuse(status: int, why: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": why}, status, {**(headers or {}), "Connection": "close"})
