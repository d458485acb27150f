"""Requests to the controller's web server, from the first byte to the answer."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry
from uvicorn.server import ServerState

from sentinel.logbook.book import Logbook
from sentinel.web.app import create_app
from tests.web.sample_cluster import TOKEN, TROUBLE, Cluster, an_incident

STALLS_S = 0.02
"""After which a request without its end is taken for one whose end never comes."""


def seeds() -> Iterator[bytes]:
    """What browsers, Prometheus and the command line ask."""
    for path in ("/", "/fragment", "/logbook?q=gpu", "/logbook/INC-7", "/api/status", "/api/incidents?q=a"):
        yield _request("GET", path)
    for path in ("/healthz", "/metrics", "/static/style.css", "/nowhere", "/logbook/%2e%2e%2fx"):
        yield _request("GET", path)
    body = '{"target": "INC-7", "who": "ada", "reason": "r", "for_s": 60}'
    for command in ("ack", "silence", "drain", "stop-actions", "retire", "unknown"):
        yield _request("POST", f"/api/{command}", body, f"Authorization: Bearer {TOKEN}\r\n")
    yield _request("POST", "/api/ack", body, "Authorization: Bearer wrong\r\n")
    yield _request("HEAD", "/") + _request("OPTIONS", "*")


def _request(method: str, path: str, body: str = "", more: str = "") -> bytes:
    length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}{length}\r\n{body}".encode()


class Transport(asyncio.Transport):
    """In the place of a connection: what the server writes, and whether it hung up."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 40_000), "sockname": ("127.0.0.1", 7800)})
        self.written, self.closed = bytearray(), False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """Whoever feeds does not wait."""

    resume_reading = pause_reading

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


@contextmanager
def opened(folder: Path) -> Iterator[Callable[[bytes], bool]]:
    """Send one request after the other; accepted is what is answered with success."""
    book = Logbook(folder / "logbook")
    book.write(an_incident())
    cluster = Cluster(book, TROUBLE)
    app = create_app(cluster, cluster.command, TOKEN, CollectorRegistry())
    config = uvicorn.Config(app, log_level="critical", lifespan="off")
    config.load()
    state, loop = ServerState(), asyncio.new_event_loop()

    async def ask(data: bytes) -> bytes:
        protocol = config.http_protocol_class(config=config, server_state=state, app_state={})
        transport = Transport()
        protocol.connection_made(transport)
        if data:  # a transport never gives nothing
            protocol.data_received(data)
        while state.tasks and (await asyncio.wait(state.tasks, timeout=STALLS_S))[0]:
            await asyncio.sleep(0)
        protocol.connection_lost(None)  # what still waits waits for more of the request
        while state.tasks:
            await asyncio.wait(state.tasks)
            await asyncio.sleep(0)
        return bytes(transport.written)

    def take(data: bytes) -> bool:
        cluster.asked.clear()
        answer = loop.run_until_complete(ask(data))
        statuses = [line.split()[1] for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
        assert b"500" not in statuses, answer[:300]
        return b"200" in statuses

    yield take
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
