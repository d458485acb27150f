"""What the watchdog pages itself: by files of its own, so that the next watchdog ends what this one began."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from sentinel import config
from sentinel.adapters import on_call, receivers
from sentinel.adapters.outbox import Outbox
from sentinel.adapters.outbox_file import MEMORY, OutboxError
from sentinel.adapters.page_channel import PageChannel, Sender
from sentinel.model.action import Page
from sentinel.runtime.over import resolved

log = structlog.get_logger(logger_name="watchdog")

PAGED_WITHIN_S = 30.0
"""Then the controller is started again, page or no page."""
SHOWN_EVERY_S = 0.1
"""How often it is looked whether all is shown."""
OVER = "The controller answers again; `sentinel status` says whether actions are frozen."


class WatchdogPages:
    """Pages of one cluster's watchdogs, one after the other; used from any thread."""

    def __init__(self, settings: config.Settings) -> None:
        self._settings = settings
        self._one = threading.Lock()
        """Two that read one file would both show what is in it."""
        self._kept: dict[Path, Outbox] = {}
        """What a disk that takes nothing leaves in memory, until it is over."""

    def tell(self, page: Page) -> None:
        """Show a page in one channel of everybody who gets pages, or give up for now."""
        self._all(page)

    def end(self) -> bool:
        """Resolve whatever is paged; true when nothing is left to be shown, or was there to begin with."""
        return self._all(None)

    def _all(self, page: Page | None) -> bool:
        with self._one:
            return asyncio.run(self._deliver_all(page))

    async def _deliver_all(self, page: Page | None) -> bool:
        routes = list(self._routes())
        done = await asyncio.gather(*(self._deliver(*each, page) for each in routes), return_exceptions=True)
        for error in done:
            if isinstance(error, BaseException):
                log.error("not-paged", error=f"{type(error).__name__}: {error}")
        return all(each is True for each in done)

    def _routes(self) -> Iterator[tuple[Path, Sequence[PageChannel]]]:
        """Give on-call's file and channels, then each receiver's; settings may be what is wrong."""
        cluster = self._settings.cluster
        sender = Sender(cluster.name, cluster.web_url)
        first = cluster.state_dir / "watchdog-outbox.db"
        try:
            yield first, on_call.channels(self._settings, sender)
        except config.ConfigError:
            yield first, [on_call.last_resort(self._settings, sender)]
        with contextlib.suppress(config.ConfigError):
            for each in receivers.load(self._settings, sender):
                yield cluster.state_dir / f"watchdog-outbox-{each.name}.db", each.channels

    async def _deliver(self, path: Path, channels: Sequence[PageChannel], page: Page | None) -> bool:
        """Keep a page, or the end of all; true when all was shown in one of the channels in time."""
        if page is None and not path.exists() and path not in self._kept:
            return True
        outbox = self._with(path, page) if page else self._ended(path)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAGED_WITHIN_S), asyncio.TaskGroup() as tasks:
                delivering = tasks.create_task(outbox.run(channels))
                while outbox.undelivered():
                    await asyncio.sleep(SHOWN_EVERY_S)
                delivering.cancel()
        shown = not outbox.undelivered()
        if path not in self._kept:
            outbox.close()
        elif page is None and shown:
            self._kept.pop(path).close()
        return shown

    def _with(self, path: Path, page: Page) -> Outbox:
        """Keep a page in the watchdog's own file, in memory on a disk that takes none."""
        outbox = self.outbox(path)
        try:
            outbox.enqueue(page)
        except OutboxError:
            outbox = self._in_memory(path)
            outbox.enqueue(page)
        return outbox

    def _ended(self, path: Path) -> Outbox:
        outbox = self.outbox(path)
        for page in outbox.open():
            outbox.enqueue(resolved(page, OVER))
        return outbox

    def outbox(self, path: Path) -> Outbox:
        """Open the watchdog's own, as the other may be the trouble; one in memory if it can't be read."""
        if path in self._kept:
            return self._kept[path]
        try:
            return Outbox(path, lambda *_: None)
        except OutboxError:
            return self._in_memory(path)

    def _in_memory(self, path: Path) -> Outbox:
        self._kept[path] = Outbox(MEMORY, lambda *_: None)
        return self._kept[path]
