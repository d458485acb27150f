"""Posts each page as JSON to an address, with an id by which one that comes twice is known."""

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from sentinel import config
from sentinel.adapters.http_post import post, retry_after
from sentinel.adapters.page_channel import (
    ChannelError,
    PageChannel,
    Sender,
    headline,
    logbook_url,
    runbook_url,
)
from sentinel.adapters.receivers import Kind
from sentinel.model.action import Page
from sentinel.model.ids import Instant
from sentinel.redact import remember

MOST_BYTES = 64 * 1024
"""Of an answer, of which nothing but the status counts."""
PASSING = (408, 425, 429)
"""Statuses below 500 that say: later."""


class Settings(config.Table):
    """Its keys."""

    url: str = Field(pattern=r"^https?://[^\s/]+(/\S*)?$", examples=["https://example.org/pages"])
    """Where to post; it may hold a secret, and is not shown."""
    token_file: Path | None = None
    """Sent as `Authorization: Bearer`; a mounted secret."""
    timeout_s: float = Field(default=5.0, gt=0, le=15)
    """For all of one post."""


class Webhook:
    """A PageChannel of posts; a status of 200 to 299 says that one was taken."""

    looks_up = True

    def __init__(self, name: str, settings: Settings, token: str, sender: Sender) -> None:
        self.name = f"webhook:{name}"
        self._settings, self._sender = settings, sender
        # One thread of its own: a name server that hangs keeps nobody else from one, and posts stay in order.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self.name)
        self._headers = {"Content-Type": "application/json"}
        self._headers |= {"Authorization": f"Bearer {token}"} if token else {}

    async def open(self, page: Page) -> str:
        """Post the incident's page."""
        await self._post(page, "page")
        return page.incident

    async def edit(self, page: Page, ref: str) -> None:  # noqa: ARG002  an incident is its own reference
        """Post what the page says now."""
        await self._post(page, "resolve" if page.stage == "resolved" else "update")

    async def detail(self, page: Page, ref: str) -> None:  # noqa: ARG002
        """Post the page's details."""
        await self._post(page, "details")

    async def find(self, page: Page, since: Instant) -> tuple[str, int] | None:  # noqa: ARG002
        """Find nothing: it is posted again with the same id."""
        return None

    async def find_detail(self, page: Page, ref: str) -> bool:  # noqa: ARG002
        """Find nothing, as `find`."""
        return False

    async def _post(self, page: Page, event: str) -> None:
        payload = self._payload(page, event)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._deliver, payload)

    def _deliver(self, payload: dict[str, Any]) -> None:
        within = self._settings.timeout_s
        headers = {**self._headers, "Idempotency-Key": json.dumps(payload["id"])}
        content = json.dumps(payload).encode()
        call = post(
            self._settings.url,
            headers=headers,
            content=content,
            timeout=within,
            within=within,
            most=MOST_BYTES,
        )
        status, said, _ = asyncio.run(call)
        if status >= 500 or status in PASSING:
            asked = said.get("retry-after")
            wait = None if asked is None else retry_after(asked)
            raise ChannelError(f"HTTP {status}", unsure=status >= 500, retry_after=wait)
        if status not in range(200, 300):
            raise ChannelError(f"HTTP {status}", permanent=True)

    def _payload(self, page: Page, event: str) -> dict[str, Any]:
        sender = self._sender
        life = "/".join(part for part in (sender.cluster, sender.journal) if part)
        return {
            "version": 1,
            "id": f"{life}/{page.id}" + ("/details" if event == "details" else ""),
            "event": event,
            "cluster": sender.cluster,
            "incident": page.incident,
            "key": f"{life}/{page.incident}",
            "revision": page.revision,
            "stage": page.stage,
            "cause": page.cause,
            "severity": page.severity,
            "title": headline(page, sender),
            "text": page.thread if event == "details" else page.body,
            "logbook": logbook_url(page, sender),
            "runbook": runbook_url(page, sender),
        }


def _channels(name: str, settings: Settings, sender: Sender) -> Sequence[PageChannel]:
    file, address = settings.token_file, urlsplit(settings.url)
    token = config.read_secret(f"receivers.{name}.token_file", file) if file else ""
    if not token.isascii() or not token.isprintable():
        raise config.ConfigError(f"receivers.{name}.token_file: is no token in one line: {file}")
    remember(token, address.query, address.password or "")
    return [Webhook(name, settings, token, sender)]


RECEIVER = Kind(Settings, _channels)
