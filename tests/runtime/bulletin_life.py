"""A controller's life as far as news go."""

import asyncio
from collections.abc import Sequence

from sentinel.adapters.dispatcher import Dispatcher
from sentinel.model.ids import Instant
from sentinel.runtime.bulletins import Bulletin


def live(dispatcher: Dispatcher, bulletin: Bulletin, moments: Sequence[Instant]) -> None:
    """Look at these moments, and deliver all that is kept."""

    async def drive() -> None:
        run = asyncio.create_task(dispatcher.run())
        for now in moments:
            await bulletin.look(now)
        async with asyncio.timeout(20):
            while any(standing.undelivered for _, standing in dispatcher.standing()):
                await asyncio.sleep(0.02)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)

    asyncio.run(drive())
