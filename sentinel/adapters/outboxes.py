"""Two outboxes: the durable one, and one in memory for as long as the disk takes nothing."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path

import structlog

from sentinel.adapters.outbox import Delivered, Outbox, Timing
from sentinel.adapters.outbox_file import OutboxError, set_aside
from sentinel.adapters.page_channel import PageChannel, Reminder
from sentinel.model.action import Page
from sentinel.model.ids import Instant, Seconds

log = structlog.get_logger(logger_name="outboxes")

MOVE_EVERY: Seconds = 1.0


class Outboxes:
    """Every incident is in one of the two, with all that is known of its message: it is told once.

    One thread: call everything from the event loop that runs `run`.
    """

    def __init__(self, path: str | PathLike[str], delivered: Delivered, timing: Timing | None = None) -> None:
        """Open or create the durable one's file; a damaged one is set aside. Raises OutboxError."""
        self._durable = _durable(path, delivered, timing)
        self._memory = Outbox(":memory:", delivered, timing)

    def keep(self, page: Page) -> None:
        """Keep a page for delivery, on the disk if that takes it. Raises OutboxError."""
        if page.incident not in self._memory.incidents():
            try:
                self._durable.enqueue(page)
            except OutboxError as error:
                log.error("page-kept-in-memory", page=page.id, error=str(error))
                with suppress(OutboxError):  # what can't be read either is told anew: better twice than never
                    self._durable.give(page.incident, self._memory)
            else:
                return
        self._memory.enqueue(page)

    def knows(self, incident: str) -> bool:
        """Say whether there is a page of it. Raises OutboxError."""
        return incident in self._memory.incidents() or incident in self._durable.incidents()

    def open(self) -> list[Page]:
        """Give the newest page of each incident that is not resolved. Raises OutboxError."""
        return [*self._durable.open(), *self._memory.open()]

    def histories(self) -> dict[str, list[tuple[Page, Instant]]]:
        """Give each open incident's pages, oldest first, and when each was kept. Raises OutboxError."""
        return {**self._durable.histories(), **self._memory.histories()}

    def remind(self, incident: str, reminder: Reminder) -> None:
        """Say where an incident is shown that it still waits for somebody. Raises OutboxError."""
        box = self._memory if incident in self._memory.incidents() else self._durable
        box.remind(incident, reminder)

    def show_again(self, incident: str) -> None:
        """Have an incident shown once more where it is shown."""
        self._durable.show_again(incident)
        self._memory.show_again(incident)

    def standing(self, channel: str) -> tuple[int, bool]:
        """Say how many pages no channel has shown, and whether this one fails. Raises OutboxError."""
        both = self._durable, self._memory
        failing = any(box.is_failing(channel) for box in both)
        return sum(box.undelivered() for box in both), failing

    async def run(self, channels: Sequence[PageChannel]) -> None:
        """Deliver until cancelled. Both share the channels: one's look-up sees what the other has sent."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._durable.run(channels))
            tasks.create_task(self._memory.run(channels))
            tasks.create_task(self._move())

    async def _move(self) -> None:
        while True:
            await asyncio.sleep(MOVE_EVERY)
            try:
                self._to_disk()
            except OutboxError as error:
                log.debug("outbox-broken", error=str(error))

    def _to_disk(self) -> None:
        """Give back what is in memory; if the disk takes nothing, what waits there goes on in memory."""
        for incident in self._memory.incidents():
            if not self._memory.is_busy(incident):
                self._memory.give(incident, self._durable)
                self._memory.forget(incident)
        if self._durable.broken:
            for incident in self._durable.unseen():
                self._durable.give(incident, self._memory)


def _durable(path: str | PathLike[str], delivered: Delivered, timing: Timing | None) -> Outbox:
    try:
        return Outbox(path, delivered, timing)
    except OutboxError as error:
        if not error.damaged:
            raise
        log.error("outbox-damaged", error=str(error), set_aside=str(set_aside(Path(path))))
    return Outbox(path, delivered, timing)
