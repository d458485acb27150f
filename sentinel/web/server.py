"""The web server in a thread of its own, so that the controller's loop never waits for a reader."""

import asyncio
import logging
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import h11
import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from sentinel.logs import Ration
from sentinel.model.ids import Seconds

log = structlog.get_logger(logger_name="web")

MOST_VISITORS = 128
"""Connections at once; the rest of the descriptors, 1,024 where nobody raised them, is the controller's."""
ASKS_WITHIN: Seconds = 10.0
"""From the connection's start or its last answer until its next request is whole, head and body."""
TAKES_WITHIN: Seconds = 30.0
"""From there until the last byte of the answer is taken; commands take less."""
KEPT_FOR = 5
"""Seconds that a connection without a further request is kept."""
AT_A_TIME, WAITING = 8, 128
"""Connections that are accepted in one turn of the loop, before they are counted, and those that may wait."""
HEAD_BYTES = 16 * 1024
TELL_EVERY: Seconds = 60.0
"""The same line about what strangers do is logged this often at most."""
SWITCH_S = 0.001
"""How long a reader's thread keeps the interpreter from the controller's, which reads reports meanwhile."""

_AT_ONCE = struct.pack("ii", 1, 0)
"""The system keeps nothing for a connection's end, either."""


SELDOM = Ration(burst=1, every_s=TELL_EVERY)


def _is_seldom(record: logging.LogRecord) -> bool:
    """Judge a line by its message without the arguments: what makes it comes from strangers."""
    return SELDOM.passes(str(record.msg)) is not None


class Visitor(H11Protocol):
    """One connection, which asks and takes its answer in time, or is cut."""

    since: float
    """When it was made or was last answered."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it; where there are too many, one has to go."""
        super().connection_made(transport)
        self.since = self.loop.time()
        if len(self.connections) > MOST_VISITORS:
            others: Iterable[Any] = [each for each in self.connections if each is not self]
            chosen_to_go(others).cut("too many connections")

    def on_response_complete(self) -> None:
        """Begin the next turn."""
        self.since = self.loop.time()
        super().on_response_complete()

    @property
    def address(self) -> str:
        """Who it is."""
        return self.client[0] if self.client else ""

    @property
    def asks(self) -> bool:
        """Whether its request is not whole yet."""
        if self.cycle is None or self.cycle.response_complete:
            return self.transport.get_write_buffer_size() == 0
        return self.conn.their_state is h11.SEND_BODY

    @property
    def is_late(self) -> bool:
        """Whether its turn takes too long."""
        return self.loop.time() - self.since > (ASKS_WITHIN if self.asks else TAKES_WITHIN)

    def cut(self, why: str) -> None:
        """End it at once: closing it would wait for a client that takes nothing."""
        if SELDOM.passes(why) is not None:
            log.warning("connections-cut", why=why, address=self.address, open=len(self.connections))
        self.connections.discard(self)
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()


def chosen_to_go(visitors: Iterable[Visitor]) -> Visitor:
    """Choose of the address with the most connections: the one that has asked for nothing longest."""
    crowds = Counter(visitor.address for visitor in visitors)
    return max(visitors, key=lambda each: (crowds[each.address], each.asks, -each.since))


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(WAITING)  # asyncio's own backlog is also how many it accepts in one turn


async def serve(app: FastAPI, listener: socket.socket) -> None:
    """Serve in a thread until cancelled; raises what ends the thread before."""
    server = _server(app)
    thread = ThreadPoolExecutor(1, "web")
    sys.setswitchinterval(SWITCH_S)
    try:
        await asyncio.get_running_loop().run_in_executor(thread, lambda: asyncio.run(_run(server, listener)))
    finally:
        server.should_exit = True
        thread.shutdown(wait=False)


def _server(app: FastAPI) -> uvicorn.Server:
    async def cut_the_late() -> None:
        for visitor in list(server.server_state.connections):
            if isinstance(visitor, Visitor) and visitor.is_late:
                visitor.cut("too slow")

    server = _Server(
        uvicorn.Config(
            app,
            http=Visitor,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            backlog=AT_A_TIME,
            timeout_keep_alive=KEPT_FOR,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=HEAD_BYTES,
            callback_notify=cut_the_late,
            timeout_notify=1,
        )
    )
    return server


async def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    asyncio.get_running_loop().set_exception_handler(_complain)
    logger = logging.getLogger("uvicorn.error")
    logger.addFilter(_is_seldom)
    try:
        await server.serve([listener])
    finally:
        logger.removeFilter(_is_seldom)


def _complain(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what the loop could not do, such as to accept without a descriptor."""
    message, error = str(context.get("message", "")), context.get("exception")
    if SELDOM.passes(message) is not None:
        log.error("web", error=f"{message}: {type(error).__name__}: {error}" if error else message)
