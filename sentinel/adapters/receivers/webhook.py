"""Posts each page as JSON to an address, signed, with an id by which one that comes twice is known."""

import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from sentinel import config
from sentinel.adapters.page_channel import (
    PageChannel,
    Reminder,
    Sender,
    headline,
    key_of,
    life_of,
    logbook_url,
    runbook_url,
)
from sentinel.adapters.poster import Poster
from sentinel.adapters.receivers import Kind, read_token
from sentinel.model.action import Page
from sentinel.model.ids import Instant
from sentinel.redact import remember


class Settings(config.Table):
    """Its keys."""

    url: str = Field(pattern=r"^https?://[^\s/]+(/\S*)?$", examples=["https://example.org/pages"])
    """Where to post; it may hold a secret, and is not shown."""
    token_file: Path | None = None
    """Sent as `Authorization: Bearer`; a mounted secret."""
    secret_file: Path | None = None
    """Signs each post, so that who knows it can tell that it is ours; a mounted secret."""
    timeout_s: float = Field(default=5.0, gt=0, le=15)
    """For all of one post."""


class Webhook:
    """A PageChannel of posts; a status of 200 to 299 says that one was taken."""

    looks_up = True

    def __init__(self, name: str, settings: Settings, token: str, secret: str, sender: Sender) -> None:
        self.name = f"webhook:{name}"
        self._url, self._secret, self._sender = settings.url, secret.encode(), sender
        self._poster = Poster(self.name, settings.timeout_s, token)

    async def open(self, page: Page) -> str:
        """Post the incident's page, or that it is over if it is by the time that it can be told."""
        await self._post(page, "news" if page.news else "resolve" if page.stage == "resolved" else "page")
        return page.incident

    async def edit(self, page: Page, ref: str) -> None:  # noqa: ARG002  an incident is its own reference
        """Post what the page says now."""
        await self._post(page, "resolve" if page.stage == "resolved" else "update")

    async def detail(self, page: Page, ref: str) -> None:  # noqa: ARG002
        """Post the page's details."""
        await self._post(page, "details", text=page.thread, mark="/details")

    async def remind(self, page: Page, ref: str, reminder: Reminder) -> None:  # noqa: ARG002
        """Post that it waits for somebody."""
        await self._post(page, "reminder", text=reminder.text, mark=f"/reminder-{reminder.at:.0f}")

    async def find(self, page: Page, since: Instant) -> tuple[str, int] | None:  # noqa: ARG002
        """Find nothing: it is posted again with the same id."""
        return None

    async def find_detail(self, page: Page, ref: str) -> bool:  # noqa: ARG002
        """Find nothing, as `find`."""
        return False

    async def _post(self, page: Page, event: str, *, text: str = "", mark: str = "") -> None:
        payload = self._payload(page, event, text or page.body, mark)
        content = json.dumps(payload).encode()
        headers = {"Idempotency-Key": json.dumps(payload["id"])}
        if self._secret:
            at = int(time.time())
            mac = hmac.new(self._secret, f"{at}.".encode() + content, hashlib.sha256)
            headers["Sentinel-Signature"] = f"t={at},v1={mac.hexdigest()}"
        await self._poster.send(self._url, content, headers)

    def _payload(self, page: Page, event: str, text: str, mark: str) -> dict[str, Any]:
        sender = self._sender
        return {
            "version": 1,
            "id": f"{life_of(sender)}/{page.id}{mark}",
            "event": event,
            "cluster": sender.cluster,
            "incident": page.incident,
            "key": key_of(page, sender),
            "revision": page.revision,
            "stage": page.stage,
            "cause": page.cause,
            "severity": page.severity,
            "job": page.job,
            "nodes": list(page.nodes),
            "acknowledged_by": page.acked_by,
            "asked": page.asked,
            "title": headline(page, sender),
            "text": text,
            "logbook": logbook_url(page, sender),
            "runbook": runbook_url(page, sender),
        }


def _channels(name: str, settings: Settings, sender: Sender) -> Sequence[PageChannel]:
    token = read_token(f"receivers.{name}.token_file", settings.token_file)
    secret = read_token(f"receivers.{name}.secret_file", settings.secret_file)
    address = urlsplit(settings.url)
    remember(token, secret, address.query, address.password or "")
    return [Webhook(name, settings, token, secret, sender)]


RECEIVER = Kind(Settings, _channels)
