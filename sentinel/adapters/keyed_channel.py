"""A page channel to what knows an incident by a key: telling it again makes no second one."""

from abc import ABC, abstractmethod

from sentinel.model.action import Page
from sentinel.model.ids import Instant


class KeyedChannel(ABC):
    """Tells the page as it is now, each time; there is nothing to be found again, and no thread."""

    looks_up = True
    shows_news = False

    @abstractmethod
    async def _send(self, page: Page) -> None:
        """Tell it. Raises ChannelError."""

    async def open(self, page: Page) -> str:
        """Tell of the incident, which is its own reference."""
        await self._send(page)
        return page.incident

    async def edit(self, page: Page, ref: str) -> None:  # noqa: ARG002
        """Tell what became of it."""
        await self._send(page)

    async def detail(self, page: Page, ref: str) -> None:  # noqa: B027  nothing is its answer
        """Do nothing: what is told has all of it."""

    async def find(self, page: Page, since: Instant) -> tuple[str, int] | None:  # noqa: ARG002
        """Find nothing: what comes again has the same key."""
        return None

    async def find_detail(self, page: Page, ref: str) -> bool:  # noqa: ARG002
        """Say so: there are none to be sent."""
        return True
