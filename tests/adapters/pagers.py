"""A dispatcher in a folder, with receivers of a few tables, driven by a test."""

import asyncio
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sentinel import config
from sentinel.adapters import receivers
from sentinel.adapters.console_pages import ConsolePages
from sentinel.adapters.dispatcher import Dispatcher
from sentinel.adapters.outbox import Timing
from sentinel.adapters.page_channel import Sender
from sentinel.model.action import Page

QUICK = Timing(fallback_after=0.4, first_retry=0.05, longest_retry=0.2, refused_retry=0.1, poll=0.02)
SENDER = Sender("blue", "http://head", "j1")


class Pagers:
    def __init__(self, folder: Path, tables: Mapping[str, Mapping[str, Any]], **more: Any) -> None:
        found = {name: config.Receiver(**table) for name, table in tables.items()}
        others = receivers.load(config.Settings(receivers=found), SENDER)
        channels = [ConsolePages(folder / "pages.log", out=io.StringIO())]
        self.dispatcher = Dispatcher(folder, channels, others, lambda *_: None, QUICK, **more)

    def keep(self, *pages: Page) -> None:
        for each in pages:
            self.dispatcher.keep(each)

    def deliver(self, *conditions: Callable[[], bool]) -> None:
        """Run until each of the conditions has come true, one after the other."""

        async def drive() -> None:
            run = asyncio.create_task(self.dispatcher.run())
            async with asyncio.timeout(30):
                for condition in conditions:
                    while not condition():
                        assert not run.done(), run
                        await asyncio.sleep(0.02)
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

        asyncio.run(drive())

    def has_all(self, *names: str) -> bool:
        """Whether each of them, on-call too, has been shown all its pages."""
        standing = dict(self.dispatcher.standing())
        return all(standing[name].undelivered == 0 for name in (*names, "on-call"))
