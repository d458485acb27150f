"""Keeps a file for Prometheus' file discovery: whom it is to scrape."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from sentinel import private
from sentinel.model.ids import Seconds
from sentinel.web.discovery import Targets

log = structlog.get_logger(logger_name="targets")

LOOK_EVERY_S: Seconds = 15.0
READABLE = 0o644
"""Prometheus is another user, and nothing in the file is secret: the web port tells the same."""


async def keep(path: Path, targets: Callable[[], Targets]) -> None:
    """Write the file whenever it is to say something else, until cancelled."""
    written, trouble = "", ""
    while True:
        text = json.dumps(targets(), indent=1) + "\n"
        if text != written:
            try:
                await asyncio.to_thread(write, path, text)
                written, trouble = text, ""
            except OSError as error:
                if str(error) != trouble:
                    log.warning("targets-not-written", file=str(path), error=str(error))
                trouble = str(error)
        await asyncio.sleep(LOOK_EVERY_S)


def write(path: Path, text: str) -> None:
    """Put the file in place at once, for everybody to read. Raises OSError."""
    with private.replacing(path, shared=True) as descriptor:
        os.fchmod(descriptor, READABLE)
        os.write(descriptor, text.encode())
