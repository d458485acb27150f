"""PagerDuty by its Events API v2: an incident is one alert, known by its key, however often it is told.

`trigger`, `acknowledge` and `resolve` as the page's life goes. PagerDuty drops a trigger whose `dedup_key`
is that of an open alert, acknowledged or not, and an acknowledgement or a resolution of an alert that it does
not know.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from sentinel import config
from sentinel.adapters.keyed_channel import KeyedChannel
from sentinel.adapters.page_channel import (
    ChannelError,
    PageChannel,
    Reminder,
    Sender,
    headline,
    key_of,
    logbook_url,
    runbook_url,
)
from sentinel.adapters.poster import Poster
from sentinel.adapters.receivers import Kind, read_token
from sentinel.model.action import Page
from sentinel.redact import remember

SUMMARY_CHARS, KEY_CHARS, TEXT_CHARS = 1024, 255, 60_000
"""PagerDuty's own limits of the first two; an event may have 512 KB."""


class Settings(config.Table):
    """Its keys."""

    routing_key_file: Path
    """With the integration key of a service's *Events API v2* integration; a mounted secret."""
    url: str = Field(
        default="https://events.pagerduty.com/v2/enqueue",
        pattern=r"^https?://[^\s/]+(/\S*)?$",
        examples=["https://events.eu.pagerduty.com/v2/enqueue"],
    )
    """Where events go; accounts in the EU have another host."""
    timeout_s: float = Field(default=5.0, gt=0, le=15)
    """For all of one event."""


class PagerDuty(KeyedChannel):
    """A PageChannel of events. What PagerDuty does then, whom it wakes and when, is its service's own."""

    def __init__(self, name: str, settings: Settings, key: str, sender: Sender) -> None:
        self.name = f"pagerduty:{name}"
        self._url, self._key, self._sender = settings.url, key, sender
        self._poster = Poster(self.name, settings.timeout_s)

    async def _send(self, page: Page) -> None:
        action = "resolve" if page.stage == "resolved" else "acknowledge" if page.acked_by else "trigger"
        await self._post(page, action)

    async def remind(self, page: Page, ref: str, reminder: Reminder) -> None:  # noqa: ARG002
        """Wake somebody again: what was acknowledged wakes nobody until it is over and comes anew.

        Whom else to ask, and how often, is the service's own to know. What may have arrived is sent again,
        for between the two there is no alert.
        """
        if not reminder.is_new:
            return
        try:
            await self._post(page, "resolve")
            await self._post(page, "trigger")
        except ChannelError as error:
            raise ChannelError(
                str(error), permanent=error.permanent, retry_after=error.retry_after
            ) from error

    async def _post(self, page: Page, action: str) -> None:
        await self._poster.send(self._url, json.dumps(self._event(page, action)).encode())

    def _event(self, page: Page, action: str) -> dict[str, Any]:
        event: dict[str, Any] = {
            "routing_key": self._key,
            "event_action": action,
            "dedup_key": key_of(page, self._sender)[-KEY_CHARS:],
        }
        return {**event, **self._told(page)} if action == "trigger" else event

    def _told(self, page: Page) -> dict[str, Any]:
        sender = self._sender
        links = (("logbook", logbook_url(page, sender)), ("runbook", runbook_url(page, sender)))
        details = {"text": page.body, "details": page.thread, "job": page.job, "asked": page.asked}
        return {
            "client": "Sentinel",
            "client_url": sender.url,
            "payload": {
                "summary": headline(page, sender)[:SUMMARY_CHARS],
                "source": ", ".join(page.nodes)[:SUMMARY_CHARS] or sender.cluster or "sentinel",
                "severity": page.severity or "critical",
                "component": page.job,
                "group": sender.cluster,
                "class": page.cause,
                "custom_details": {name: text[:TEXT_CHARS] for name, text in details.items() if text},
            },
            "links": [{"href": address, "text": text} for text, address in links if address],
        }


def _channels(name: str, settings: Settings, sender: Sender) -> Sequence[PageChannel]:
    where = f"receivers.{name}.routing_key_file"
    key = read_token(where, settings.routing_key_file)
    if not (len(key) == 32 and key.isalnum()):
        raise config.ConfigError(
            f"{where}: an integration key has 32 letters and digits: {settings.routing_key_file}"
        )
    remember(key)
    return [PagerDuty(name, settings, key, sender)]


RECEIVER = Kind(Settings, _channels)
