"""What changes on the status page, as server-sent events: a reader sees it without asking again."""

import asyncio
from collections.abc import AsyncIterator, Callable

from starlette.exceptions import HTTPException

from sentinel.model.ids import Seconds
from sentinel.web.desk import Desk
from sentinel.web.view import Status

EVERY: Seconds = 1.0
LASTS: Seconds = 20.0
"""Less than an answer may take before its connection is cut; the browser then asks anew by itself."""
AGAIN_MS = 500


async def events(desk: Desk, make: Callable[[Status], bytes]) -> AsyncIterator[bytes]:
    """Give what is made of the status as events, one a second, for a while; none while the loop is busy."""
    ends = asyncio.get_running_loop().time() + LASTS
    yield b"retry: %d\n\n" % AGAIN_MS
    while asyncio.get_running_loop().time() < ends:
        try:
            yield event(await desk.of_status(make))
        except HTTPException:
            return
        await asyncio.sleep(EVERY)


def event(text: bytes) -> bytes:
    """Frame a text of several lines, https://html.spec.whatwg.org/multipage/server-sent-events.html."""
    return b"".join(b"data: %s\n" % line for line in text.splitlines()) + b"\n"
