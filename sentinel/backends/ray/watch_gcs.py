"""Whether Ray's GCS answers; while it does, how to start it is remembered."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from sentinel.backends.ray import gcs
from sentinel.model.fact import Fact, GcsBack, GcsLost
from sentinel.model.ids import Instant

log = structlog.get_logger(logger_name="rounds")

GCS_EVERY_S = 0.5
GCS_LOOK_AGAIN_S = 60.0
"""A GCS that can't be remembered may be another user's for ever, or the disk only full for now."""
GCS_MISSES = 2
"""Refused connections in a row that make a dead GCS."""
GCS_HANGS = 4
"""Connections in a row that are taken and not answered within a second that make one that hangs."""
HUNG = "it takes connections and answers none: it hangs"


async def watch_gcs(
    address: str,
    memory: Path,
    learn: Callable[[Fact], None],
    now: Callable[[], Instant],
    *,
    lost: bool = False,
    needed: bool = True,
) -> None:
    """Ask the GCS whether it is there until cancelled; remember in `memory` how to start it while it lives.

    `lost`: it was told that it is dead. `needed`: something is to be done in Ray; else one that has never
    answered is no news.
    """
    host, _, port = address.rpartition(":")
    if not host:
        log.warning("gcs-not-watched", address=address, hint="set ray.address to host:port")
        return
    misses, look_at, trouble, known = 0, 0.0, "", needed or lost
    while True:
        await asyncio.sleep(GCS_EVERY_S)
        answer = await _alive(address)
        if answer == "ok" and now() >= look_at:
            before, trouble = trouble, await asyncio.to_thread(_remember, host, int(port), memory)
            look_at = now() + GCS_LOOK_AGAIN_S if trouble else float("inf")
            if trouble and trouble != before:
                log.warning("gcs-not-remembered", error=trouble)
        if answer == "unknown":  # we could not ask, which says nothing about it
            continue
        misses = 0 if answer == "ok" else misses + 1
        known = known or answer == "ok"
        if known and misses >= (GCS_HANGS if answer == "hung" else GCS_MISSES) and not lost:
            lost = True
            learn(GcsLost(now(), address, HUNG if answer == "hung" else answer))
        elif lost and answer == "ok":
            lost = False
            learn(GcsBack(now(), address))


async def _alive(address: str) -> str:
    try:
        return await asyncio.to_thread(gcs.answers, address)
    except RuntimeError:  # no thread is to be had
        return "unknown"


def _remember(host: str, port: int, memory: Path) -> str:
    """Remember how to start the GCS; says why not, as when it runs on another machine."""
    try:
        gcs.remember(memory, gcs.find(host, port))
    except gcs.GcsError as error:
        return str(error)
    return ""
