"""How readers are served: the state is looked at in its own loop, and what takes long is done beside both."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.exceptions import HTTPException

from sentinel.model.ids import Seconds
from sentinel.web.view import Status, View

T = TypeVar("T")

MOST_READERS = 16
"""Readers of the logbook at once; two are served and the others wait, further ones are told to come again."""
SHARE = 20
"""Looking at the state may take one part in so many of its loop's time: 40 ms with 32,000 ranks."""
ANSWERS_WITHIN: Seconds = 5.0
"""A loop that is busy for longer is said to be."""


class Desk:
    """Serves all readers of one view, whose calls are made in the loop `home`; None: in the loop that serves.

    Raises HTTPException with 503, which says what to wait for.
    """

    def __init__(self, view: View, home: asyncio.AbstractEventLoop | None = None) -> None:
        self.view, self._home = view, home
        self._status: Status | None = None
        self._good_until = 0.0
        self._looking, self._making = asyncio.Lock(), asyncio.Lock()
        self._made: dict[Callable[[Status], Any], tuple[Status, Any]] = {}
        self._writer = ThreadPoolExecutor(1, "web-status")
        self._readers = ThreadPoolExecutor(2, "web-logbook")
        self._reading = 0

    async def status(self) -> Status:
        """Give the present state; of a large cluster one that is up to a second old."""
        async with self._looking:
            if self._status is None or time.monotonic() >= self._good_until:
                self._status = await self.look(self._look)
            return self._status

    async def of_status(self, make: Callable[[Status], T]) -> T:
        """Give what a thread makes of the present state, once for all who ask for it."""
        status = await self.status()
        async with self._making:
            if (made := self._made.get(make)) is None or made[0] is not status:
                loop = asyncio.get_running_loop()
                made = status, await loop.run_in_executor(self._writer, make, status)
                self._made[make] = made
        result: T = made[1]
        return result

    async def read(self, call: Callable[..., T], *args: Any) -> T:
        """Search, read or render in one of the readers' threads."""
        if self._reading >= MOST_READERS:
            raise _later(f"{MOST_READERS} others read the logbook now: ask again")
        self._reading += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, call, *args)
        finally:
            self._reading -= 1

    async def look(self, call: Callable[[], T]) -> T:
        """Call in the loop that owns the state."""

        async def called() -> T:
            return call()

        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                return await self._at_home(called())
        except TimeoutError:
            raise _later("the controller is busy: ask again") from None

    async def command(self, call: Awaitable[T]) -> T:
        """Have a command carried out by the loop that owns the state; the next reader sees what it did."""
        try:
            return await self._at_home(call)
        finally:
            self._good_until = 0.0

    async def _at_home(self, call: Awaitable[T]) -> T:
        """Await in the loop that owns the state."""
        if self._home is None:
            return await call

        async def awaited() -> T:
            return await call

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(awaited(), self._home))

    def _look(self) -> Status:
        began = time.perf_counter()
        status = self.view.status()
        self._good_until = time.monotonic() + SHARE * (time.perf_counter() - began)
        return status


def _later(why: str) -> HTTPException:
    return HTTPException(503, why, {"Retry-After": "1"})
