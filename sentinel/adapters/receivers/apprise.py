"""Whatever the library Apprise reaches by one address: mail, Teams, Telegram, Opsgenie and a hundred more.

It can't be told what has arrived. A page that may have is sent again, and its title says so.
"""

import asyncio
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from sentinel import config
from sentinel.adapters.page_channel import ChannelError, PageChannel, Reminder, Sender, footer, headline
from sentinel.adapters.receivers import Kind
from sentinel.model.action import Page
from sentinel.model.ids import Instant
from sentinel.redact import redact, remember
from sentinel.terminal_text import one_line

INSTALL = "pip install 'sentinel-cluster[apprise]'"
TYPES = {"critical": "failure", "warning": "warning", "info": "info"}
_ANSWERED = re.compile(r"error[= ]\s*[1-5]\d\d\b")
"""How Apprise says that a server answered, and with which status: then nothing was taken."""


class Settings(config.Table):
    """Its keys."""

    url_file: Path
    """With one address as Apprise has them, such as `mailto://…`; a secret as a whole."""
    updates: bool = False
    """Whether each change of a page is a message; otherwise its beginning and its end are."""


class Apprise:
    """A PageChannel of messages that can't be edited."""

    looks_up = False

    def __init__(self, name: str, service: Any, sender: Sender, *, updates: bool) -> None:
        """`service` is what Apprise makes of an address."""
        self.name = f"apprise:{name}"
        self._service, self._sender, self._updates = service, sender, updates
        self._over: set[str] = set()
        """Incidents whose end was told; after a restart one that is edited late is told once more."""
        # One thread: the library waits, and messages stay in order.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self.name)

    async def open(self, page: Page) -> str:
        """Send the incident's message."""
        await self._send(page)
        return page.incident

    async def edit(self, page: Page, ref: str) -> None:  # noqa: ARG002  an incident is its own reference
        """Send another one at the incident's end, and again if it ends once more."""
        is_over = page.stage == "resolved"
        if self._updates or (is_over and page.incident not in self._over):
            await self._send(page)
        if is_over:
            self._over.add(page.incident)
        else:
            self._over.discard(page.incident)

    async def detail(self, page: Page, ref: str) -> None:
        """Do nothing: the logbook has the details."""

    async def remind(self, page: Page, ref: str, reminder: Reminder) -> None:  # noqa: ARG002
        """Send another one, which says that it waits."""
        await self._send(replace(page, body=f"{reminder.text}\n{page.body}"))

    async def find(self, page: Page, since: Instant) -> tuple[str, int] | None:  # noqa: ARG002
        """Find nothing."""
        return None

    async def find_detail(self, page: Page, ref: str) -> bool:  # noqa: ARG002
        """Say so: there are none to be sent."""
        return True

    async def _send(self, page: Page) -> None:
        loop = asyncio.get_running_loop()
        kind = "success" if page.stage == "resolved" else TYPES.get(page.severity, "failure")
        body = f"{page.body}\n{footer(page, self._sender)}"
        await loop.run_in_executor(self._thread, self._notify, headline(page, self._sender), body, kind)

    def _notify(self, title: str, body: str, kind: str) -> None:
        with _said() as lines:
            taken = self._service.notify(title=title, body=body, notify_type=kind)
        if not taken:
            why = one_line(redact(" ".join(lines[:2])))[:200] or "it was not sent"
            raise ChannelError(why, unsure=not any(_ANSWERED.search(line) for line in lines))


@contextmanager
def _said() -> Iterator[list[str]]:
    """Collect what Apprise complains of in this thread: its reasons are in its log alone."""
    lines, thread = list[str](), threading.get_ident()

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                lines.append(record.getMessage())

    logger, collector = logging.getLogger("apprise"), Collector(logging.WARNING)
    logger.addHandler(collector)
    try:
        yield lines
    finally:
        logger.removeHandler(collector)


def _channels(name: str, settings: Settings, sender: Sender) -> Sequence[PageChannel]:
    where = f"receivers.{name}.url_file"
    try:
        import apprise  # here, for it is costly and not everybody's
    except ImportError:
        raise config.ConfigError(f"receivers.{name}: Apprise is not installed: {INSTALL}") from None
    urls = config.read_secret(where, settings.url_file).split()
    if len(urls) != 1:
        raise config.ConfigError(
            f"{where}: expected one address, for each has an outbox of its own, got {len(urls)}:"
            f" {settings.url_file}"
        )
    remember(urls[0])
    logging.getLogger("apprise").propagate = False  # it has addresses in its lines
    service = apprise.Apprise.instantiate(urls[0], suppress_exceptions=True)
    if service is None:
        raise config.ConfigError(f"{where}: Apprise knows no such address: {settings.url_file}")
    return [Apprise(name, service, sender, updates=settings.updates)]


RECEIVER = Kind(Settings, _channels)
