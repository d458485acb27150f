"""Where pages can be shown: what the outbox asks of a channel, and the words that all channels share."""

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode

from sentinel.model.action import Page
from sentinel.model.ids import Instant, Seconds

DID, FAILED, LEFT, ASKED = "Did: ", "Failed: ", "Left: ", "Asked of you: "
"""How lines of a page's body begin that say what was done, what was not, and what is left to people."""
MARKS = {"open": "🔴 FIRING", "mitigating": "🟡 MITIGATING", "resolved": "🟢 RESOLVED"}


class ChannelError(Exception):
    """A channel did not take a page.

    `permanent`: the same call will be refused again. `unsure`: it may have been taken all the same.
    `retry_after`: seconds that the other side asked to wait. `gone`: the message to change is not there.
    `status`: of HTTP, where that was the answer; else 0.
    """

    def __init__(
        self,
        detail: str,
        *,
        permanent: bool = False,
        unsure: bool = False,
        retry_after: Seconds | None = None,
        gone: bool = False,
        status: int = 0,
    ) -> None:
        super().__init__(detail)
        self.permanent = permanent
        self.unsure = unsure
        self.retry_after = retry_after
        self.gone = gone
        self.status = status


@dataclass(frozen=True, slots=True)
class Sender:
    """Who pages, and where to read on: several clusters may page into one channel."""

    cluster: str = ""
    url: str = ""
    """Of the controller's pages."""
    journal: str = ""
    """Its id: a new journal on a new head node numbers its incidents from the first again."""
    grafana: str = ""
    """Where its dashboards are."""


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
    the same page. A channel may have more: `refresh_s`, when what is open there must be told again lest
    it ends, by `edit`; and `remind(page, ref, reminder)`, which says that nobody has acknowledged it. With
    `is_stale(page)` a channel says, each second, whether what it shows beside an open page is another by now:
    then it is shown anew, by `edit`. One that can only wake people has `shows_news = False`.
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
    if page.news:
        return f"{page.news}{cluster or ':'} {page.title}"
    return f"{MARKS.get(page.stage, page.stage.upper())}{severity}{cluster} {page.title}"


def said(page: Page, word: str) -> list[str]:
    """Give what a page's lines of one kind say, such as those that begin with `Did: `."""
    return [line.removeprefix(word) for line in page.body.splitlines() if line.startswith(word)]


def done_of(page: Page) -> str:
    """Say in a line what was done already; empty for nothing."""
    return ", ".join([*said(page, DID), *(f"FAILED: {each}" for each in said(page, FAILED))])


def asked_of(page: Page) -> str:
    """Say in a line what is asked of the reader; empty where the page does not say."""
    left, asked = said(page, LEFT), said(page, ASKED)
    if not left:
        return asked[-1] if asked else ""
    return f"{left[0]} (and {len(left) - 1} more)" if len(left) > 1 else left[0]


def summary(page: Page, sender: Sender) -> str:
    """Give the page in one line: what, where, what was done already, and what is asked of the reader."""
    parts = (("", headline(page, sender)), ("done: ", done_of(page)), ("you: ", asked_of(page)))
    return " · ".join(f"{word}{text}" for word, text in parts if text)


def life_of(sender: Sender) -> str:
    """Name whose incidents these are, also among clusters and after a new head node."""
    return "/".join(part for part in (sender.cluster, sender.journal) if part)


def key_of(page: Page, sender: Sender) -> str:
    """Name the incident among all that one server may hear of."""
    return f"{life_of(sender)}/{page.incident}"


def footer(page: Page, sender: Sender) -> str:
    """Which cluster's incident and which revision this is, and where to read on."""
    name = f"{sender.cluster}/{page.incident}" if sender.cluster else page.incident
    if page.news:
        return logbook_url(page, sender)
    parts = [page.asked] if page.asked else []
    parts += [f"incident {name}", f"revision {page.revision}"]
    parts += [url] if (url := logbook_url(page, sender)) else []
    parts += [f"runbook {url}"] if (url := runbook_url(page, sender)) else []
    parts += [f"dashboard {url}"] if (url := dashboard_url(page, sender)) else []
    return " · ".join(parts)


def logbook_url(page: Page, sender: Sender) -> str:
    """Where the incident's entry is, or all of them; empty if that is not known."""
    entry = "" if page.news else f"/{page.incident}"
    return f"{sender.url}/logbook{entry}" if sender.url else ""


def runbook_url(page: Page, sender: Sender) -> str:
    """Where the cause's runbook is; empty if there is none."""
    return f"{sender.url}/runbook/{page.cause}" if sender.url and page.cause else ""


def dashboard_url(page: Page, sender: Sender) -> str:
    """Where its node's dashboard is in Grafana, or else that of the run; empty if that is not known."""
    if not sender.grafana:
        return ""
    board, chosen = ("node", {"var-node": page.nodes[0]}) if page.nodes else ("run", {})
    asked = urlencode({"var-cluster": sender.cluster, **chosen})
    return f"{sender.grafana.rstrip('/')}/d/sentinel-{board}?{asked}"
