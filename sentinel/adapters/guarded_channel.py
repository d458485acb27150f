"""A page channel as the outbox uses it: all that goes wrong is a ChannelError, and what it says is short."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog

from sentinel.adapters.page_channel import ChannelError, PageChannel, Reminder
from sentinel.model.action import Page
from sentinel.model.ids import Instant, Seconds
from sentinel.redact import redact
from sentinel.terminal_text import harmless

T = TypeVar("T")

log = structlog.get_logger(logger_name="outbox")

LONGEST_DETAIL, LONGEST_REF = 500, 1000
_REVISIONS = range(-1, 2**31)


class GuardedChannel:
    """A PageChannel around another. A defect in it may have come after a page was taken: so `unsure`."""

    def __init__(self, channel: PageChannel) -> None:
        self.name, self.looks_up, self._channel = channel.name, channel.looks_up, channel
        self.refresh_s: Seconds | None = getattr(channel, "refresh_s", None)
        self._is_stale: Callable[[Page], bool] | None = getattr(channel, "is_stale", None)

    async def open(self, page: Page) -> str:
        """Post the incident's message."""
        return _ref(await _guarded(lambda: self._channel.open(page)))

    async def edit(self, page: Page, ref: str) -> None:
        """Replace the message's text."""
        await _guarded(lambda: self._channel.edit(page, ref))

    @property
    def may_be_stale(self) -> bool:
        """Whether what it shows beside a page may become another."""
        return self._is_stale is not None

    def is_stale(self, page: Page) -> bool:
        """Say whether a page that is shown as it is has to be shown anew; a defect there says no."""
        try:
            return self._is_stale is not None and self._is_stale(page)
        except Exception:
            log.exception("controls-fail", channel=self.name)
            return False

    async def detail(self, page: Page, ref: str) -> None:
        """Post the page's details."""
        await _guarded(lambda: self._channel.detail(page, ref))

    async def find(self, page: Page, since: Instant) -> tuple[str, int] | None:
        """Look for the incident's message."""
        found: Any = await _guarded(lambda: self._channel.find(page, since))
        match found:
            case None:
                return None
            case (ref, int(revision)) if revision in _REVISIONS:
                return _ref(ref), revision
        raise ChannelError("what it found makes no sense", unsure=True)

    async def find_detail(self, page: Page, ref: str) -> bool:
        """Look for the page's details."""
        return bool(await _guarded(lambda: self._channel.find_detail(page, ref)))

    async def remind(self, page: Page, ref: str, reminder: Reminder) -> None:
        """Say that a page still waits, where the channel can."""
        if (remind := getattr(self._channel, "remind", None)) is not None:
            await _guarded(lambda: remind(page, ref, reminder))


async def _guarded(call: Callable[[], Awaitable[T]]) -> T:
    try:
        return await call()
    except ChannelError as error:
        raise _bounded(error) from None
    except TimeoutError:
        raise ChannelError("timed out", unsure=True) from None
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is None or task.cancelling():
            raise
        raise ChannelError("was cancelled", unsure=True) from None
    except Exception as error:
        raise ChannelError(_text(error), unsure=True) from None


def _bounded(error: ChannelError) -> ChannelError:
    wait = error.retry_after
    usable = wait is None or (isinstance(wait, int | float) and math.isfinite(wait) and wait >= 0)
    return ChannelError(
        _text(error, named=False),
        permanent=error.permanent,
        unsure=error.unsure,
        retry_after=wait if usable else None,
        gone=error.gone,
    )


def _text(error: Exception, *, named: bool = True) -> str:
    try:
        said = str(error)
    except Exception:
        said = "says nothing"
    name = f"{type(error).__name__}: " if named or not said else ""
    return harmless(redact(f"{name}{said[: 4 * LONGEST_DETAIL]}"))[:LONGEST_DETAIL]


def _ref(found: Any) -> str:
    if not isinstance(found, str) or not 0 < len(found) <= LONGEST_REF or harmless(found) != found:
        raise ChannelError("its reference to the message makes no sense", unsure=True)
    return found
