"""Every page goes to on-call and to each receiver that wants it; each has an outbox of its own.

On-call gets all of them, and its last channel is a file: what becomes of a page there is the page's outcome,
and an outbox that is new, or was damaged, is filled from there.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from sentinel.adapters import sqlite_file
from sentinel.adapters.outbox import Delivered, Outbox, Timing
from sentinel.adapters.outbox_file import OutboxError
from sentinel.adapters.outboxes import Outboxes
from sentinel.adapters.page_channel import PageChannel
from sentinel.adapters.receivers import ON_CALL, Receiver
from sentinel.model.action import Page
from sentinel.model.ids import ActionId

RESULTS = ("delivered", "failed")

log = structlog.get_logger(logger_name="dispatcher")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a receiver fares."""

    undelivered: int | None
    """Pages that none of its channels has shown; None if its file can't be read."""
    failing: bool
    """Whether the last call to its first channel failed."""
    results: Mapping[str, int]
    """Pages since this process began, by what became of them."""


@dataclass(slots=True)
class _Desk:
    """A receiver with its outboxes."""

    receiver: Receiver
    outboxes: Outboxes
    results: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(RESULTS, 0)))


class Dispatcher:
    """One thread: call everything from the event loop that runs `run`."""

    def __init__(
        self,
        folder: Path,
        on_call: Sequence[PageChannel],
        receivers: Sequence[Receiver],
        delivered: Delivered,
        timing: Timing | None = None,
    ) -> None:
        """Open or create the outboxes in a folder. `delivered` hears of on-call alone. Raises OutboxError."""
        self._delivered, self._timing = delivered, timing
        self._on_call = self._desk(folder / "outbox.db", Receiver(ON_CALL, (), (), on_call))
        self._others = [self._desk(_path(folder, each.name), each) for each in receivers]
        for desk in self._others:
            self._catch_up(desk)
        _drop_removed(folder, {_path(folder, each.name) for each in receivers})

    def keep(self, page: Page) -> None:
        """Keep a page for delivery to whoever wants it. Raises OutboxError if on-call's is not kept."""
        for desk in self._others:  # the others first: once on-call has it, the page counts as delivered
            self._offer(desk, page)
        self._on_call.outboxes.keep(page)

    def open(self) -> list[Page]:
        """Give the newest page of each incident that on-call has not seen resolved. Raises OutboxError."""
        return self._on_call.outboxes.open()

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for desk in (self._on_call, *self._others):
                tasks.create_task(desk.outboxes.run(desk.receiver.channels))

    def standing(self) -> Iterator[tuple[str, Standing]]:
        """Say how each receiver fares, by its name."""
        for desk in (self._on_call, *self._others):
            try:
                waiting, failing = desk.outboxes.standing(desk.receiver.channels[0].name)
            except OutboxError:
                yield desk.receiver.name, Standing(None, True, desk.results)
            else:
                yield desk.receiver.name, Standing(waiting, failing, desk.results)

    def _desk(self, path: Path, receiver: Receiver) -> _Desk:
        def delivered(action: ActionId, ok: bool, detail: str, channel: str) -> None:
            desk.results["delivered" if ok else "failed"] += 1
            if receiver.name == ON_CALL:
                self._delivered(action, ok, detail, channel)

        desk = _Desk(receiver, Outboxes(path, delivered, self._timing))
        return desk

    def _offer(self, desk: _Desk, page: Page) -> None:
        """Keep a page for one that wants it, or has been told of its incident before."""
        try:
            if desk.receiver.wants(page) or desk.outboxes.knows(page.incident):
                desk.outboxes.keep(page)
        except OutboxError as error:  # it is caught up with when its file can be read again
            log.error("page-not-kept", receiver=desk.receiver.name, page=page.id, error=str(error))

    def _catch_up(self, desk: _Desk) -> None:
        """Keep what is open; what is there already stays as it is."""
        for page in self.open():
            self._offer(desk, page)


def _path(folder: Path, name: str) -> Path:
    return folder / f"outbox-{name}.db"


def _drop_removed(folder: Path, used: set[Path]) -> None:
    """Remove the outboxes of receivers that are in the settings no more, and say what none of them showed."""
    for path in sorted(set(folder.glob("outbox-*.db")) - used):
        try:
            outbox = Outbox(path, lambda *_: None)
            left = outbox.unseen()
            outbox.close()
        except OutboxError as error:
            log.warning("receiver-removed", outbox=str(path), error=str(error))
        else:
            log.warning("receiver-removed", outbox=str(path), undelivered=left)
        try:
            sqlite_file.remove(path)
        except OSError as error:
            log.error("outbox-not-removed", outbox=str(path), error=str(error))
