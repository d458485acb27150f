"""Prometheus' Alertmanager by its v2 API: an incident is one alert, that fires until it is resolved.

An alert is its labels: told twice it is the same one. It ends by itself when it is not told again, so that
none outlives the cluster that it tells of.
"""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from sentinel import config
from sentinel.adapters.keyed_channel import KeyedChannel
from sentinel.adapters.page_channel import PageChannel, Sender, headline, logbook_url, runbook_url
from sentinel.adapters.poster import Poster
from sentinel.adapters.receivers import Kind, read_token
from sentinel.model.action import Page
from sentinel.model.ids import IncidentId, Instant, Seconds
from sentinel.redact import remember

ALERT = "SentinelIncident"
OWN_TROUBLE_S: Seconds = 86400.0
"""How long an alert about Sentinel itself stands without being told again: its watchdog tells it once."""
MOST_CHARS = 8000
"""Of an annotation, which goes into mails and messages as it is."""


class Settings(config.Table):
    """Its keys."""

    url: str = Field(pattern=r"^https?://[^\s/]+(/\S*)?$", examples=["http://alertmanager:9093"])
    """Where it is, without `/api`; of several that are one cluster, each is a receiver of its own."""
    token_file: Path | None = None
    """Sent as `Authorization: Bearer`, to a proxy that asks for it; a mounted secret."""
    lasts_s: float = Field(default=300.0, ge=30, le=86400)
    """An alert that was not told again for so long ends; it is told thrice in that time."""
    timeout_s: float = Field(default=5.0, gt=0, le=15)
    """For all of one post."""


class Alertmanager(KeyedChannel):
    """A PageChannel of alerts; whom they reach, Alertmanager's own routes say."""

    def __init__(self, name: str, settings: Settings, token: str, sender: Sender) -> None:
        self.name = f"alertmanager:{name}"
        self.refresh_s = settings.lasts_s / 3
        self._url, self._sender, self._lasts = f"{settings.url.rstrip('/')}/api/v2/alerts", sender, settings
        self._poster = Poster(self.name, settings.timeout_s, token)
        self._told: dict[IncidentId, Mapping[str, str]] = {}
        """Labels under which an incident fires; what a restart forgets ends by itself."""

    async def _send(self, page: Page) -> None:
        labels, over = self._labels(page), page.stage == "resolved"
        before = self._told.get(page.incident, labels)
        alerts = [self._alert(page, labels, over=over)]
        if before != labels:  # with other labels it is another alert, and the earlier one is over
            alerts.append(self._alert(page, before, over=True))
        await self._poster.send(self._url, json.dumps(alerts).encode())
        if over:
            self._told.pop(page.incident, None)
        else:
            self._told[page.incident] = labels

    def _alert(self, page: Page, labels: Mapping[str, str], *, over: bool) -> dict[str, Any]:
        sender, now = self._sender, time.time()
        lasts = 0.0 if over else self._lasts.lasts_s if page.cause else OWN_TROUBLE_S
        said = {
            "summary": headline(page, sender),
            "description": page.body,
            "acknowledged_by": page.acked_by,
            "asked": page.asked,
            "logbook_url": logbook_url(page, sender),
            "runbook_url": runbook_url(page, sender),
        }
        return {
            "labels": labels,
            "annotations": {name: text[:MOST_CHARS] for name, text in said.items() if text},
            "startsAt": _written(now),
            "endsAt": _written(now + lasts),
            "generatorURL": logbook_url(page, sender),
        }

    def _labels(self, page: Page) -> Mapping[str, str]:
        found = {
            "alertname": ALERT,
            "cluster": self._sender.cluster,
            "incident": page.incident,
            "severity": page.severity or "critical",
            "cause": page.cause,
            "job_name": page.job,
            "node": page.nodes[0] if len(page.nodes) == 1 else "",
        }
        return {name: text for name, text in found.items() if text}


def _written(at: Instant) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _channels(name: str, settings: Settings, sender: Sender) -> Sequence[PageChannel]:
    token = read_token(f"receivers.{name}.token_file", settings.token_file)
    remember(token)
    return [Alertmanager(name, settings, token, sender)]


RECEIVER = Kind(Settings, _channels)
