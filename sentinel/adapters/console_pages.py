"""Pages without a token: on the console, and in an append-only file of JSON lines that is looked up later."""

import json
import os
import sys
import time
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Annotated, TextIO

import msgspec
import structlog

from sentinel import private
from sentinel.adapters.page_channel import UNNAMED, ChannelError, Reminder, Sender, footer, headline
from sentinel.model.action import Page
from sentinel.model.ids import Instant
from sentinel.terminal_text import harmless

log = structlog.get_logger(logger_name="pages")

_LONGEST = 1 << 20
"""Bytes of a line that are looked at."""


class Line(msgspec.Struct):
    """One line of the file."""

    at: Instant
    what: str
    """`message | edit | detail | reminder`."""
    incident: str
    revision: Annotated[int, msgspec.Meta(ge=0, le=2**31)]
    stage: str
    title: str
    text: str


_DECODER = msgspec.json.Decoder(Line)


class ConsolePages:
    """A PageChannel of this machine. An incident is its own reference; edits are further lines."""

    looks_up = True

    def __init__(
        self, path: str | PathLike[str], *, sender: Sender = UNNAMED, out: TextIO | None = None
    ) -> None:
        """Read what the file already shows. `out` is stdout unless given."""
        self._path = Path(path)
        self.name = f"file:{self._path.name}"
        self._sender = sender
        self._out = out or sys.stdout
        self._shown: dict[str, int] = {}
        self._details: set[tuple[str, int]] = set()
        self._torn = False
        self._recall()

    async def open(self, page: Page) -> str:
        """Write the incident's message."""
        self._show("message", page)
        return page.incident

    async def edit(self, page: Page, ref: str) -> None:
        """Write the message's new text, once."""
        if self._shown.get(ref, -1) < page.revision:
            self._show("edit", page)

    async def detail(self, page: Page, ref: str) -> None:
        """Write the page's details, once."""
        if not await self.find_detail(page, ref):
            self._append("detail", page, page.thread)
            self._print(f"{ref} · details of revision {page.revision}", page.thread)

    async def remind(self, page: Page, ref: str, reminder: Reminder) -> None:
        """Write that it waits for somebody."""
        self._append("reminder", page, reminder.text)
        self._print(f"{ref} · {page.title}", reminder.text)

    async def find(self, page: Page, since: Instant) -> tuple[str, int] | None:  # noqa: ARG002  all is kept
        """Look the incident up in the file."""
        revision = self._shown.get(page.incident)
        return None if revision is None else (page.incident, revision)

    async def find_detail(self, page: Page, ref: str) -> bool:
        """Look the page's details up in the file."""
        return (ref, page.revision) in self._details

    def _show(self, what: str, page: Page) -> None:
        text = f"{page.body}\n{footer(page, self._sender)}"
        self._append(what, page, text)
        self._print(headline(page, self._sender), text)

    def _append(self, what: str, page: Page, text: str) -> None:
        title, text = harmless(headline(page, self._sender)), harmless(text)
        line = Line(time.time(), what, page.incident, page.revision, page.stage, title, text)
        try:
            self._write(json.dumps(msgspec.structs.asdict(line), ensure_ascii=False) + "\n")
        except OSError as error:
            self._torn = True
            raise ChannelError(f"{self._path}: {error}") from error
        self._remember(line)

    def _write(self, text: str) -> None:
        private.make_folder(self._path.parent)
        descriptor = private.open_file(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            whole = ("\n" if self._torn else "").encode() + text.encode(errors="backslashreplace")
            while whole:
                whole = whole[os.write(descriptor, whole) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._torn = False

    def _print(self, title: str, text: str) -> None:
        try:
            print(harmless(f"{title}\n{_indented(text)}"), file=self._out, flush=True)
        except (OSError, ValueError):
            return  # a closed terminal takes nothing away: the file is the record

    def _recall(self) -> None:
        for line in self._lines():
            try:
                self._remember(_DECODER.decode(line))
            except (ValueError, RecursionError):
                continue  # torn by a crash while it was written: its page is written again

    def _lines(self) -> Iterator[bytes]:
        try:
            file = os.fdopen(private.open_file(self._path, os.O_RDONLY), "rb")
        except FileNotFoundError:
            return
        except OSError as error:  # each page that is to be written there says so, too
            log.warning("pages-unreadable", error=str(error))
            return
        line = b"\n"
        with file:
            while line := file.readline(_LONGEST):
                self._torn = not line.endswith(b"\n")
                yield line

    def _remember(self, line: Line) -> None:
        if line.what == "detail":
            self._details.add((line.incident, line.revision))
        else:
            self._shown[line.incident] = max(line.revision, self._shown.get(line.incident, -1))


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
