"""What happened as annotations in Grafana, by its API: a region each, whose end is written when it is over.

A page's body is the annotation as Grafana takes it; one of its tags, the entry's, is no other annotation's.
https://grafana.com/docs/grafana/latest/developers/http_api/annotations/
"""

import json
from typing import Any
from urllib.parse import urlencode

import msgspec

from sentinel.adapters.page_channel import ChannelError
from sentinel.adapters.poster import Poster
from sentinel.model.action import Page
from sentinel.model.ids import Instant, Seconds

WITHIN_S: Seconds = 10.0
"""For all of one call."""
ENTRY = "entry:"
"""Begins the tag by which an annotation is found again."""
_WHY = {
    401: "pages.grafana_token is not accepted",
    403: "pages.grafana_token may not write annotations: a service account needs an Editor's rights",
    404: "pages.grafana_url has no /api/annotations",
}


class Annotations:
    """A PageChannel of annotations, which belong to no one dashboard: each shows those with its tags."""

    name = "grafana"
    looks_up = True
    shows_news = False

    def __init__(self, url: str, token: str) -> None:
        self._url = f"{url.rstrip('/')}/api/annotations"
        self._poster = Poster(self.name, WITHIN_S, token)

    async def open(self, page: Page) -> str:
        """Make it, and give its id."""
        found = await self._ask("POST", self._url, page.body.encode())
        if not isinstance(number := found.get("id") if isinstance(found, dict) else None, int):
            raise ChannelError(f"{self._url} gave an annotation no id", unsure=True)
        return str(number)

    async def edit(self, page: Page, ref: str) -> None:
        """Write what it is now; one that somebody has removed is gone."""
        try:
            await self._ask("PATCH", f"{self._url}/{ref}", page.body.encode())
        except ChannelError as error:
            if error.status == 404:
                raise ChannelError("somebody removed an annotation", permanent=True, gone=True) from None
            raise

    async def detail(self, page: Page, ref: str) -> None:
        """Do nothing: an annotation has all of it."""

    async def find(self, page: Page, since: Instant) -> tuple[str, int] | None:  # noqa: ARG002
        """Look for it by its own tag; what it shows is written anew."""
        tags = [tag for tag in json.loads(page.body)["tags"] if tag.startswith(ENTRY)]
        asked = urlencode([("type", "annotation"), ("limit", "1"), *(("tags", tag) for tag in tags)])
        found = await self._ask("GET", f"{self._url}?{asked}")
        there = [each["id"] for each in found if tags[0] in each.get("tags", ())]
        return (str(there[0]), 0) if there else None

    async def find_detail(self, page: Page, ref: str) -> bool:  # noqa: ARG002
        """Say so: there are none."""
        return True

    async def _ask(self, method: str, url: str, content: bytes = b"") -> Any:
        try:
            return msgspec.json.decode(await self._poster.ask(method, url, content))
        except ChannelError as error:
            if why := _WHY.get(error.status):
                raise ChannelError(f"{why} ({error})", permanent=True, status=error.status) from None
            raise
        except msgspec.DecodeError:
            raise ChannelError(f"{url} does not answer as a Grafana", unsure=True) from None
