"""A process that delivers to on-call's file and to a webhook, to be killed: dispatch.py FOLDER URL."""

import asyncio
import io
import sys
from pathlib import Path

from sentinel import config
from sentinel.adapters import receivers
from sentinel.adapters.console_pages import ConsolePages
from sentinel.adapters.dispatcher import Dispatcher
from sentinel.adapters.outbox import Timing
from sentinel.adapters.page_channel import Sender

folder, url = Path(sys.argv[1]), sys.argv[2]
settings = config.load(None, {"SENTINEL_RECEIVERS__WEBHOOK__URL": url})
dispatcher = Dispatcher(
    folder,
    [ConsolePages(folder / "pages.log", out=io.StringIO())],
    receivers.load(settings, Sender("blue", "http://head", "j1")),
    lambda *_: None,
    Timing(first_retry=0.05, longest_retry=0.2),
)
asyncio.run(dispatcher.run())
