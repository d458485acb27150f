"""The durable outbox: every page reaches people, in order per incident, none twice, whatever is killed."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import Any, TypeVar, assert_never

import structlog
from msgspec.structs import replace

from sentinel.adapters.guarded_channel import GuardedChannel
from sentinel.adapters.outbox_file import OutboxError
from sentinel.adapters.outbox_rows import Health, Rows, Step, Work
from sentinel.adapters.page_channel import ChannelError, PageChannel, Reminder
from sentinel.model.action import Page
from sentinel.model.ids import ActionId, Instant, Seconds

Delivered = Callable[[ActionId, bool, str, str], None]
"""(action id, ok, detail, channel's name). Comes again after a crash between the call and its record."""

T = TypeVar("T")

log = structlog.get_logger(logger_name="outbox")


LOOKS_EVERY_S: Seconds = 1.0
"""How late what can be pressed below a page may be shown."""
MOST_COMPLAINTS = 100
"""Different errors that are remembered as told."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient the outbox is."""

    fallback_after: Seconds = 10.0
    """A channel that has failed this long, from the start of its first failed call, is passed over."""
    first_retry: Seconds = 0.5
    """Doubles with each failure, with jitter, unless the other side says how long to wait."""
    longest_retry: Seconds = 30.0
    longest_asked: Seconds = 600.0
    """However long the other side says to wait."""
    refused_retry: Seconds = 60.0
    """A refusal such as an archived channel is a human's to mend; this is how often we look."""
    call_deadline: Seconds = 20.0
    """No call may hold a channel longer; above the channel's own time-outs, for what they miss (DNS)."""
    keep: Seconds = 30 * 86400.0
    """Resolved incidents that were shown to the end are forgotten after this."""
    poll: Seconds = 0.2
    """How often waiting work is looked at while something waits."""


class Outbox:
    """Keeps pages in SQLite and shows them in channels, the first of which is the primary.

    One thread: call everything from the event loop that runs `run`.
    """

    def __init__(self, path: str | PathLike[str], delivered: Delivered, timing: Timing | None = None) -> None:
        """Open or create the file. Raises OutboxError."""
        self._rows = Rows(path)
        self._delivered = delivered
        self._timing = timing or Timing()
        self._bells: list[asyncio.Event] = []
        self._complained: set[tuple[str, str]] = set()
        self._busy: set[tuple[str, str]] = set()
        """(channel, incident) of the calls that are under way."""
        self._reported: set[tuple[ActionId, str]] = set()
        self._refreshed: dict[tuple[str, str], Instant] = {}
        """(channel, incident) → when it was last told, in this process."""
        self._reminders: dict[str, Reminder] = {}
        """Incident → what is still to be said; a restart forgets it, and what is due next comes."""
        self._again: set[tuple[str, str]] = set()
        """(channel, incident) to be shown once more as it is, such as after a press; a restart forgets it."""
        self._channels: Sequence[str] = ()
        self._prepared = False
        self.broken = False
        """The file took no record lately, and what can't be recorded is not shown."""

    def enqueue(self, page: Page) -> bool:
        """Keep a page for delivery: one commit. False when it is there already. Raises OutboxError."""
        try:
            added = self._rows.add(page, time.time())
        except sqlite3.Error as error:
            raise OutboxError(f"page {page.id} is not kept: {error}") from error
        if page.acked_by or page.stage == "resolved":
            self._reminders.pop(page.incident, None)
        self._ring()
        return added

    def incidents(self) -> list[str]:
        """Name the incidents that it tells of. Raises OutboxError."""
        with _readable("incidents"):
            return [name for name in self._rows.incidents() if name not in self._rows.elsewhere]

    def unseen(self) -> list[str]:
        """Name those of them that have a page which no channel has shown. Raises OutboxError."""
        with _readable("incidents"):
            return [name for name in self._rows.unseen() if name not in self._rows.elsewhere]

    def open(self) -> list[Page]:
        """Give the newest page of each incident that is not resolved. Raises OutboxError."""
        with _readable("incidents"):
            newest = [self._rows.newest(name) for name in self.incidents()]
        return [page for page in newest if page.stage != "resolved"]

    def histories(self) -> dict[str, list[tuple[Page, Instant]]]:
        """Give each open incident's pages, oldest first, and when each was kept. Raises OutboxError."""
        with _readable("pages"):
            return self._rows.histories()

    def remind(self, incident: str, reminder: Reminder) -> None:
        """Say in the channel that shows an incident that it still waits, unless it is over by then."""
        self._reminders[incident] = reminder
        self._ring()

    def show_again(self, incident: str) -> None:
        """Have each channel that shows an incident show it once more, also one that is over."""
        self._again |= {(name, incident) for name in self._channels}
        self._ring()

    def undelivered(self) -> int:
        """How many pages no channel has shown. Raises OutboxError."""
        with _readable("pages"):
            return self._rows.undelivered()

    def is_failing(self, channel: str) -> bool:
        """Say whether its last call failed, or it refuses an incident. Raises OutboxError."""
        with _readable(channel):
            return bool(self._rows.health(channel).failures) or self._rows.refuses(channel)

    def is_busy(self, incident: str) -> bool:
        """Say whether a call about it is under way, whose end nobody else would hear of."""
        return any(name == incident for _, name in self._busy)

    def give(self, incident: str, other: "Outbox") -> None:
        """Let another outbox go on with an incident from where this one is. Raises OutboxError."""
        with _readable(incident):
            other._rows.replace(incident, self._rows.of(incident))
        other.broken = False
        other._rows.elsewhere.discard(incident)
        self._rows.elsewhere.add(incident)
        other._ring()

    def forget(self, incident: str) -> None:
        """Drop what was given away; it is another's now. Raises OutboxError."""
        with _readable(incident):
            self._rows.replace(incident, {})
        self._rows.elsewhere.discard(incident)

    def _ring(self) -> None:
        for bell in self._bells:
            bell.set()

    def waiting(self, channel: str) -> int:
        """How many pages this channel has not shown."""
        return self._rows.waiting(channel)

    def health(self, channel: str) -> Health:
        """How this channel fares."""
        return self._rows.health(channel)

    def close(self) -> None:
        """Close the file; `run` must have ended."""
        self._rows.close()

    async def run(self, channels: Sequence[PageChannel]) -> None:
        """Deliver until cancelled. Order matters: the first is the primary, the next its fallback."""
        guarded = [GuardedChannel(channel) for channel in channels]
        names, self._prepared = [channel.name for channel in guarded], False
        self._channels = names
        self._bells = [asyncio.Event() for _ in guarded]
        try:
            async with asyncio.TaskGroup() as group:
                for position in range(len(guarded)):
                    group.create_task(self._serve(guarded[position], names, position))
        finally:
            self._bells = []

    async def _serve(self, channel: GuardedChannel, names: Sequence[str], position: int) -> None:
        bell = self._bells[position]
        while True:
            bell.clear()
            try:
                self._prepare(names)
                work = self._due(names, position) or self._due_again(channel, names, position)
                if work is not None:
                    await self._attempt(channel, work)
                    self.broken = False
                else:
                    looks_s = LOOKS_EVERY_S if channel.may_be_stale else None
                    await self._pause(bell, names, looks_s or (channel.refresh_s and channel.refresh_s / 10))
                self._tell(names)
            except (sqlite3.Error, OutboxError) as error:  # a full disk may get room again
                self.broken = True
                self._complain(channel.name, f"outbox: {error}")
                await asyncio.sleep(self._timing.first_retry)

    def _prepare(self, names: Sequence[str]) -> None:
        """Once, before anything is shown, and after every start."""
        if not self._prepared:
            self._rows.adopt(names[0])
            self._tell(names)
            self._prepared = True
            self._rows.prune(names[0], time.time() - self._timing.keep)

    def _due(self, names: Sequence[str], position: int) -> Work | None:
        now, name = time.time(), names[position]
        if now < self._rows.health(name).not_before:
            return None
        healthy = [before for before in names[:position] if not self._given_up(before, now)]
        return self._rows.next_work(name, healthy, position == 0, now)

    def _due_again(self, channel: GuardedChannel, names: Sequence[str], position: int) -> Work | None:
        """Give what is shown as it is and has to be told again: a reminder, or else it would end there."""
        now, name = time.time(), channel.name
        has_cause = self._reminders or self._again or channel.refresh_s or channel.may_be_stale
        if not has_cause or now < self._rows.health(name).not_before:
            return None
        for asked in [each for each in self._again if each[0] == name]:
            self._again.discard(asked)
            if (shown := self._rows.shown_as_is(*asked)) is not None:
                return Work(Step.REFRESH, *shown, False, now)
        for page, ref in self._rows.shown_open(name, now):
            if page.incident in self._reminders and self._speaks(page.incident, names, position, now):
                return Work(Step.REMIND, page, ref, False, now)
            told = self._refreshed.get((name, page.incident), 0.0)
            if channel.refresh_s and not told <= now < told + channel.refresh_s:
                return Work(Step.REFRESH, page, ref, False, now)
            if channel.is_stale(page):
                return Work(Step.REFRESH, page, ref, False, now)
        return None

    def _speaks(self, incident: str, names: Sequence[str], position: int, now: Instant) -> bool:
        """Say whether no channel before this one shows the incident and still might say it."""
        shown = (name for name in names[:position] if not self._given_up(name, now))
        return not any(
            page.incident == incident for each in shown for page, _ in self._rows.shown_open(each, now)
        )

    def _given_up(self, name: str, now: Instant) -> bool:
        since = self._rows.health(name).failing_since
        return since is not None and now - since >= self._timing.fallback_after

    async def _pause(self, bell: asyncio.Event, names: Sequence[str], at_most: Seconds | None) -> None:
        failing = any(self._rows.health(name).failures for name in names)
        idle = not failing and not self._rows.waiting(names[0])
        try:
            async with asyncio.timeout(at_most if idle else self._timing.poll):
                await bell.wait()
        except TimeoutError:
            return

    async def _attempt(self, channel: GuardedChannel, work: Work) -> None:
        began, call = time.time(), (channel.name, work.page.incident)
        self._busy.add(call)
        try:
            async with asyncio.timeout(self._timing.call_deadline):  # wait_for of 3.11 can lose a cancel
                await self._do(channel, work)
        except ChannelError as error:
            self._failed(channel.name, work, error, began)
        except TimeoutError:
            self._failed(channel.name, work, ChannelError("deadline passed", unsure=True), began)
        else:
            self._rows.worked(channel.name, work.page)
        finally:
            self._busy.discard(call)

    async def _do(self, channel: GuardedChannel, work: Work) -> None:
        match work.step:
            case Step.OPEN:
                ref, revision = await self._open(channel, work)
                self._rows.shown(channel.name, work.page, ref, revision)
            case Step.EDIT:
                await channel.edit(work.page, work.ref)
                self._rows.shown(channel.name, work.page, work.ref, work.page.revision)
            case Step.DETAIL:
                await self._detail(channel, work)
                self._rows.detailed(channel.name, work.page)
            case Step.REFRESH:
                await channel.edit(work.page, work.ref)
            case Step.REMIND:
                await self._remind(channel, work)
            case _:
                assert_never(work.step)
        if channel.refresh_s:
            self._told(channel.name, work.page)

    def _told(self, name: str, page: Page) -> None:
        if page.stage == "resolved":
            self._refreshed.pop((name, page.incident), None)
        else:
            self._refreshed[name, page.incident] = time.time()

    async def _remind(self, channel: GuardedChannel, work: Work) -> None:
        incident = work.page.incident
        reminder = self._reminders.pop(incident)
        if work.page.acked_by:
            return
        try:
            await channel.remind(work.page, work.ref, reminder)
        except ChannelError as error:
            if not error.unsure and not error.permanent:
                self._reminders.setdefault(incident, reminder)
            raise

    async def _open(self, channel: GuardedChannel, work: Work) -> tuple[str, int]:
        if work.unsure and channel.looks_up:
            found = await channel.find(work.page, work.since)
            if found is not None:
                return found
        ref = await self._send(channel, work, lambda: channel.open(_marked(channel, work)))
        return ref, work.page.revision

    async def _detail(self, channel: GuardedChannel, work: Work) -> None:
        if work.unsure and channel.looks_up and await channel.find_detail(work.page, work.ref):
            return
        await self._send(channel, work, lambda: channel.detail(_marked(channel, work), work.ref))

    async def _send(
        self, channel: GuardedChannel, work: Work, call: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        self._rows.sending(channel.name, work)
        try:
            return await call()
        except ChannelError as error:
            if not error.unsure and not work.unsure:
                self._rows.not_sent(channel.name, work)
            raise

    def _failed(self, name: str, work: Work, error: ChannelError, began: Instant) -> None:
        now, timing, old = time.time(), self._timing, self._rows.health(name)
        page = work.page
        if error.gone and work.step in (Step.EDIT, Step.REFRESH):
            self._rows.gone(name, page)
        elif error.permanent:
            self._rows.refused(name, page, str(error), now + timing.refused_retry)
        else:
            failures = old.failures + 1
            asked = error.retry_after
            wait = _backoff(failures, timing) if asked is None else min(asked, timing.longest_asked)
            since = began if old.failing_since is None else old.failing_since
            self._rows.failed(name, page, Health(since, failures, now + wait, str(error)))
            if work.step is Step.REFRESH:
                self._again.add((name, page.incident))
        self._complain(name, str(error))

    def _complain(self, name: str, error: str) -> None:
        if (name, error) not in self._complained:
            if len(self._complained) >= MOST_COMPLAINTS:  # errors that are never the same
                self._complained.clear()
            self._complained.add((name, error))
            log.warning("a page channel fails", channel=name, error=error)

    def _tell(self, names: Sequence[str]) -> None:
        for action, place in self._rows.unreported():
            self._tell_once(action, "delivered", f"shown in {place}", place)
        for action, why in self._rows.hopeless(names):
            self._tell_once(action, "refused", f"refused by every channel: {why}", "")

    def _tell_once(self, action: ActionId, what: str, detail: str, place: str) -> None:
        """Once in this process, even while the disk does not take that it was told."""
        if (action, what) not in self._reported:
            self._reported.add((action, what))
            self._delivered(action, what == "delivered", detail, place)
        self._rows.reported(action, what)


@contextmanager
def _readable(what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OutboxError(f"{what}: {error}") from error


def _backoff(failures: int, timing: Timing) -> Seconds:
    doubled = min(timing.first_retry * 2.0 ** min(failures - 1, 30), timing.longest_retry)
    return doubled * random.uniform(0.5, 1.0)  # noqa: S311  jitter is no secret


def _marked(channel: GuardedChannel, work: Work) -> Page:
    """Nobody can tell whether an unsure send arrived where no look-up exists: say so."""
    if not work.unsure or channel.looks_up:
        return work.page
    return replace(work.page, title=f"{work.page.title} (possible duplicate)")
