"""What every answer has: headers that keep a browser from harm, and pieces that a slow reader may take."""

from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""The pages load nothing from elsewhere and nothing may frame them."""
PIECE = 64 * 1024
"""Bytes that are handed to the system at a time, so that who takes nothing holds no more of them."""


class Hardened:
    """Middleware around everything, refusals on admission too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, with the headers, in pieces."""

        async def hardened(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if not scope["path"].startswith("/static"):
                    headers["Cache-Control"] = "no-store"
            elif message["type"] == "http.response.body":
                await _in_pieces(message, send)
                return
            await send(message)

        await self._app(scope, receive, hardened if scope["type"] == "http" else send)


async def _in_pieces(message: MutableMapping[str, Any], send: Send) -> None:
    body, more = memoryview(message.get("body", b"")), message.get("more_body", False)
    while len(body) > PIECE:
        await send({"type": "http.response.body", "body": bytes(body[:PIECE]), "more_body": True})
        body = body[PIECE:]
    await send({"type": "http.response.body", "body": bytes(body), "more_body": more})
