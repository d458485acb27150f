"""Where pages can be shown: what the outbox asks of a channel, and the words that all channels share."""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Sender:
    """Who pages, and where to read on: several clusters may page into one channel."""

    cluster: str = ""
    url: str = ""
    """Of the controller's pages."""
    journal: str = ""
    """Its id: a new journal on a new head node numbers its incidents from the first again."""


UNNAMED = Sender()


@dataclass(frozen=True, slots=True)
class Reminder:
    """That a page still waits for somebody; one whose arrival is unsure is not sent again."""

    at: Instant
    text: str
    is_new: bool = False
    """It waits again: somebody had acknowledged what it said before."""


class PageChannel(Protocol):
    """One place where people read pages: a message per incident, edited in place, details in its thread.

    Every method raises ChannelError, and lets others run while it waits. `edit` may be called twice with
    the same page. A channel may have two more: `refresh_s`, when what is open there must be told again lest
    it ends, by `edit`; and `remind(page, ref, reminder)`, which says that nobody has acknowledged it.
    """

    name: str
    looks_up: bool
    """Whether what is sent again is not shown twice: `find` and `find_detail` see what was sent before, or
    the other side knows it again by an id."""

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


def headline(page: Page, sender: Sender) -> str:
    """Title with stage, severity and cluster in front, readable without colours."""
    severity = f" {page.severity}" if page.severity else ""
    cluster = f" {sender.cluster}:" if sender.cluster else ""
    return f"{MARKS.get(page.stage, page.stage.upper())}{severity}{cluster} {page.title}"


def life_of(sender: Sender) -> str:
    """Name whose incidents these are, also among clusters and after a new head node."""
    return "/".join(part for part in (sender.cluster, sender.journal) if part)


def key_of(page: Page, sender: Sender) -> str:
    """Name the incident among all that one server may hear of."""
    return f"{life_of(sender)}/{page.incident}"


def footer(page: Page, sender: Sender) -> str:
    """Which cluster's incident and which revision this is, and where to read on."""
    name = f"{sender.cluster}/{page.incident}" if sender.cluster else page.incident
    parts = [page.asked] if page.asked else []
    parts += [f"incident {name}", f"revision {page.revision}"]
    parts += [url] if (url := logbook_url(page, sender)) else []
    parts += [f"runbook {url}"] if (url := runbook_url(page, sender)) else []
    return " · ".join(parts)


def logbook_url(page: Page, sender: Sender) -> str:
    """Where the incident's entry is; empty if that is not known."""
    return f"{sender.url}/logbook/{page.incident}" if sender.url else ""


def runbook_url(page: Page, sender: Sender) -> str:
    """Where the cause's runbook is; empty if there is none."""
    return f"{sender.url}/runbook/{page.cause}" if sender.url and page.cause else ""
