"""Every page goes to on-call and to each receiver that wants it; each has an outbox of its own.

On-call gets all of them, and its last channel is a file: what becomes of a page there is the page's outcome,
and an outbox that is new, or was damaged, is filled from there.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from msgspec.structs import replace

from sentinel.adapters import sqlite_file
from sentinel.adapters.outbox import Delivered, Outbox, Timing
from sentinel.adapters.outbox_file import OutboxError
from sentinel.adapters.outboxes import Outboxes
from sentinel.adapters.page_channel import PageChannel, Reminder
from sentinel.adapters.receivers import ON_CALL, Receiver
from sentinel.model.action import Page, kind_of
from sentinel.model.ids import ActionId, Instant, Seconds
from sentinel.oncall.plan import History, Plan

NEWS = "news"
"""Kind of what is announced, as its action id names it."""
RESULTS = ("delivered", "failed")
LOOKS_EVERY_S: Seconds = 1.0
"""How late somebody may be asked, or reminded."""

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
        plan: Plan | None = None,
    ) -> None:
        """Open or create the outboxes in a folder. `delivered` hears of on-call alone. Raises OutboxError."""
        self._delivered, self._timing, self._plan = delivered, timing, plan or Plan()
        self._on_call = self._desk(folder / "outbox.db", Receiver(ON_CALL, (), (), on_call))
        self._others = [self._desk(_path(folder, each.name), each) for each in receivers]
        for desk in self._others:
            self._catch_up(desk)
        _drop_removed(folder, {_path(folder, each.name) for each in receivers})

    def keep(self, page: Page) -> None:
        """Keep a page for delivery to whoever wants it. Raises OutboxError if on-call's is not kept."""
        now = time.time()
        history = [*self._histories().get(page.incident, ()), (page, now)]
        page = self._stamped(history, now)
        for desk in self._others:  # the others first: once on-call has it, the page counts as delivered
            self._offer(desk, page, history, now)
        self._on_call.outboxes.keep(page)
        before = history[-2][0].acked_by if len(history) > 1 else ""
        if before and not page.acked_by and page.stage != "resolved":
            self._wake_again(page, f"{before} had acknowledged {page.incident}, and this is new", now)

    def lacks(self, incident: str, names: Sequence[str]) -> bool:
        """Say whether one of these receivers was never told of something. Raises OutboxError."""
        return any(not desk.outboxes.knows(incident) for desk in self._named(names))

    def announce(self, page: Page, names: Sequence[str]) -> None:
        """Keep news for these receivers, whatever they filter; who was told before is not told again."""
        for desk in self._named(names):
            try:
                if not desk.outboxes.knows(page.incident):
                    desk.outboxes.keep(page)
            except OutboxError as error:  # whoever announces comes again
                log.error("news-not-kept", receiver=desk.receiver.name, page=page.id, error=str(error))

    def _named(self, names: Sequence[str]) -> list[_Desk]:
        return [desk for desk in (self._on_call, *self._others) if desk.receiver.name in names]

    def open(self) -> list[Page]:
        """Give the newest page of each incident that on-call has not seen resolved. Raises OutboxError."""
        return self._on_call.outboxes.open()

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for desk in (self._on_call, *self._others):
                tasks.create_task(desk.outboxes.run(desk.receiver.channels))
            if self._plan:
                tasks.create_task(self._look())

    async def _look(self) -> None:
        """Tell whoever is due by now, and remind those who were told of what nobody has."""
        since = time.time()
        while True:
            await asyncio.sleep(LOOKS_EVERY_S)
            now = time.time()
            for history in self._histories().values():
                try:
                    self._tell_due(history, since, now)
                except Exception:  # a defect in who is asked when must keep no page from anybody
                    log.exception("plan-failed", page=history[-1][0].id)
            since = now

    def _tell_due(self, history: History, since: Instant, now: Instant) -> None:
        page = self._stamped(history, now)
        for desk in (self._on_call, *self._others):
            name = desk.receiver.name
            try:
                if not desk.outboxes.knows(page.incident):
                    self._offer(desk, page, history, now)
                elif self._plan.reminds(name, history, since, now):
                    said = f"Nobody has acknowledged {page.incident} yet"
                    text = f"{said}. {page.asked}" if page.asked else said
                    desk.outboxes.remind(page.incident, Reminder(now, text))
            except OutboxError as error:
                log.error("not-reminded", receiver=name, page=page.id, error=str(error))

    def _wake_again(self, page: Page, text: str, now: Instant) -> None:
        """Tell those again who were told: they may take it for looked after."""
        for desk in (self._on_call, *self._others):
            try:
                if desk.outboxes.knows(page.incident):
                    desk.outboxes.remind(page.incident, Reminder(now, text, is_new=True))
            except OutboxError as error:
                log.error("not-reminded", receiver=desk.receiver.name, page=page.id, error=str(error))

    def _histories(self) -> Mapping[str, History]:
        """Give each open incident's pages; on-call has them all."""
        try:
            return self._on_call.outboxes.histories()
        except OutboxError as error:
            log.error("pages-not-read", error=str(error))
            return {}

    def _stamped(self, history: History, now: Instant) -> Page:
        """Give the newest page, which says who was asked by now."""
        try:
            return replace(history[-1][0], asked=self._plan.asked(history, now))
        except Exception:
            log.exception("plan-failed", page=history[-1][0].id)
            return history[-1][0]

    def show_again(self, incident: str) -> None:
        """Have an incident's messages with buttons shown once more: what people did may be told there."""
        for desk in (self._on_call, *self._others):
            if any(getattr(channel, "is_stale", None) for channel in desk.receiver.channels):
                desk.outboxes.show_again(incident)

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
            if receiver.name == ON_CALL and kind_of(action) != NEWS:  # these are no action of the journal's
                self._delivered(action, ok, detail, channel)

        desk = _Desk(receiver, Outboxes(path, delivered, self._timing))
        return desk

    def _offer(self, desk: _Desk, page: Page, history: History, now: Instant) -> None:
        """Keep a page for one that wants it and is due, or has been told of its incident before."""
        try:
            if desk.outboxes.knows(page.incident) or self._is_for(desk.receiver, page, history, now):
                desk.outboxes.keep(page)
        except OutboxError as error:  # it is caught up with when its file can be read again
            log.error("page-not-kept", receiver=desk.receiver.name, page=page.id, error=str(error))

    def _is_for(self, receiver: Receiver, page: Page, history: History, now: Instant) -> bool:
        if not self._plan:
            return receiver.wants(page)
        try:
            told = self._plan.told_at(receiver.name, history, receiver.wants)
            return told is not None and told <= now and not self._plan.stops(receiver.name, history)
        except Exception:  # then better told at once than never
            log.exception("plan-failed", page=page.id)
            return receiver.wants(page)

    def _catch_up(self, desk: _Desk) -> None:
        """Keep what is open; what is there already stays as it is."""
        now, histories = time.time(), self._histories()
        for page in self.open():
            self._offer(desk, page, histories.get(page.incident, [(page, now)]), now)


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
