"""Whether a ray link is there."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from sentinel.backends.ray.link import Link
from sentinel.model.fact import Fact, LinkBack, LinkLost
from sentinel.model.ids import Instant, Seconds

FIRST_JOIN_S = 30.0
"""A link that has not joined Ray this long after the controller's start is missed."""


async def watch_link(
    link: Link,
    learn: Callable[[Fact], None],
    now: Callable[[], Instant],
    *,
    lost: bool = False,
    first_s: Seconds | None = FIRST_JOIN_S,
) -> None:
    """Tell until cancelled when no ray link is there, and when one is.

    `lost`: it was told that none is. One that has never been there is missed after `first_s`; None: never.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(first_s):
            await link.up.wait()
    while True:
        if not (link.up.is_set() or lost):
            lost = True
            learn(LinkLost(now(), link.trouble, link.silent_s))
        await link.up.wait()
        if lost:
            lost = False
            learn(LinkBack(now()))
        await link.away.wait()
