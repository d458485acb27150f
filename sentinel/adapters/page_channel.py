"""Where pages can be shown: what the outbox asks of a channel, and the words that all channels share."""

from typing import Protocol

from sentinel.model.action import Page
from sentinel.model.ids import Instant, Seconds

MARKS = {"open": "🔴 FIRING", "mitigating": "🟡 MITIGATING", "resolved": "🟢 RESOLVED"}


class ChannelError(Exception):
    """A channel did not take a page.

    `permanent`: the same call will be refused again. `unsure`: it may have been taken all the same.
    `retry_after`: seconds that the other side asked to wait. `gone`: the message to change is not there.
    """

    def __init__(
        self,
        detail: str,
        *,
        permanent: bool = False,
        unsure: bool = False,
        retry_after: Seconds | None = None,
        gone: bool = False,
    ) -> None:
        super().__init__(detail)
        self.permanent = permanent
        self.unsure = unsure
        self.retry_after = retry_after
        self.gone = gone


class PageChannel(Protocol):
    """One place where people read pages: a message per incident, edited in place, details in its thread.

    Every method raises ChannelError. `edit` may be called twice with the same page.
    """

    name: str
    looks_up: bool
    """Whether `find` and `find_detail` can see what was sent before."""

    async def open(self, page: Page) -> str:
        """Post the incident's message and give its reference in this channel."""

    async def edit(self, page: Page, ref: str) -> None:
        """Replace the message's text."""

    async def detail(self, page: Page, ref: str) -> None:
        """Post the page's details into the message's thread."""

    async def find(self, page: Page, since: Instant) -> tuple[str, int] | None:
        """Look for the incident's message sent after `since`: (reference, revision shown), or None."""

    async def find_detail(self, page: Page, ref: str) -> bool:
        """Say whether this page's details are already in the thread."""


def headline(page: Page) -> str:
    """Title with the stage in front, readable without colours."""
    return f"{MARKS.get(page.stage, page.stage.upper())} {page.title}"


def footer(page: Page, link: str) -> str:
    """Which incident and revision this is, and where to read on; `{incident}` in `link` is filled in."""
    where = link.replace("{incident}", page.incident)
    return " · ".join(
        part for part in (f"incident {page.incident}", f"revision {page.revision}", where) if part
    )
