"""Pages without a token: on the console, and in an append-only file of JSON lines that is looked up later."""

import json
import os
import sys
import time
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

from sentinel import private
from sentinel.adapters.page_channel import ChannelError, footer, headline
from sentinel.model.action import Page
from sentinel.model.ids import Instant
from sentinel.terminal_text import harmless


class ConsolePages:
    """A PageChannel of this machine. An incident is its own reference; edits are further lines.

    One line: at (epoch seconds), what (`message | edit | detail`), incident, revision, stage, title, text.
    """

    looks_up = True

    def __init__(self, path: str | PathLike[str], *, link: str = "", out: TextIO | None = None) -> None:
        """Read what the file already shows. `link` is where to read on, `out` is stdout unless given."""
        self._path = Path(path)
        self.name = f"file:{self._path.name}"
        self._link = link
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

    async def find(self, page: Page, since: Instant) -> tuple[str, int] | None:  # noqa: ARG002  all is kept
        """Look the incident up in the file."""
        revision = self._shown.get(page.incident)
        return None if revision is None else (page.incident, revision)

    async def find_detail(self, page: Page, ref: str) -> bool:
        """Look the page's details up in the file."""
        return (ref, page.revision) in self._details

    def _show(self, what: str, page: Page) -> None:
        text = f"{page.body}\n{footer(page, self._link)}"
        self._append(what, page, text)
        self._print(headline(page), text)

    def _append(self, what: str, page: Page, text: str) -> None:
        line = {
            "at": time.time(),
            "what": what,
            "incident": page.incident,
            "revision": page.revision,
            "stage": page.stage,
            "title": harmless(headline(page)),
            "text": harmless(text),
        }
        try:
            self._write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            self._torn = True
            raise ChannelError(f"{self._path}: {error}") from error
        self._remember(line)

    def _write(self, line: str) -> None:
        private.make_folder(self._path.parent)
        descriptor = private.open_file(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            whole = ("\n" if self._torn else "").encode() + line.encode()
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
        try:
            with os.fdopen(private.open_file(self._path, os.O_RDONLY), "rb") as file:
                content = file.read()
        except OSError:  # none yet, or one that takes no page either, which is told then
            return
        self._torn = bool(content) and not content.endswith(b"\n")
        for line in content.splitlines():
            try:
                self._remember(json.loads(line))
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # torn by a crash while it was written: its page is written again

    def _remember(self, line: dict[str, Any]) -> None:
        incident, revision = str(line["incident"]), int(line["revision"])
        if line["what"] == "detail":
            self._details.add((incident, revision))
        else:
            self._shown[incident] = max(revision, self._shown.get(incident, -1))


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
