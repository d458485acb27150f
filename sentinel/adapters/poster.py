"""Posts of JSON to one server of others, in order, in a thread of their own; a status is an error or none."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from sentinel.adapters.http_post import call, retry_after
from sentinel.adapters.page_channel import ChannelError
from sentinel.model.ids import Seconds
from sentinel.redact import redact
from sentinel.terminal_text import one_line

MOST_BYTES = 64 * 1024
"""Of an answer, of which little but the status counts."""
PASSING = (408, 425, 429)
"""Statuses below 500 that say: later."""
LONGEST_REASON = 200


class Poster:
    """One address's way out. A name server that hangs keeps nobody else from one, and posts stay in order."""

    def __init__(self, name: str, within: Seconds, token: str = "") -> None:
        """`within` is for all of one post; a token goes along as `Authorization: Bearer`."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._within = within
        self._headers = {"Content-Type": "application/json"}
        self._headers |= {"Authorization": f"Bearer {token}"} if token else {}

    async def send(self, url: str, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Post until it is taken, with a status of 200 to 299. Raises ChannelError."""
        await self.ask("POST", url, content, headers)

    async def ask(
        self, method: str, url: str, content: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Call by another method, too, and give what it answers. Raises ChannelError."""
        loop, sent = asyncio.get_running_loop(), {**self._headers, **(headers or {})}
        return await loop.run_in_executor(self._thread, self._deliver, method, url, content, sent)

    def _deliver(self, method: str, url: str, content: bytes, headers: Mapping[str, str]) -> bytes:
        within = self._within
        made = call(
            method, url, headers=headers, content=content, timeout=within, within=within, most=MOST_BYTES
        )
        status, said, body = asyncio.run(made)
        if status in range(200, 300):
            return body
        reason = f"HTTP {status}{_reason(body)}"
        if status >= 500 or status in PASSING:
            asked = said.get("retry-after")
            wait = None if asked is None else retry_after(asked)
            raise ChannelError(reason, unsure=status >= 500, retry_after=wait, status=status)
        raise ChannelError(reason, permanent=True, status=status)


def _reason(body: bytes) -> str:
    """Say what a server gives as its reason: a JSON text, or an object with `errors` or a `message`."""
    try:
        found: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ""
    if isinstance(found, dict):
        found = found.get("errors") or found.get("message")
    found = found[0] if isinstance(found, list) and found else found
    return f": {one_line(redact(found))[:LONGEST_REASON]}" if isinstance(found, str) and found else ""
