"""Strangers at an agent's /metrics: they end nobody, and whoever asks is answered."""

import asyncio
import socket

from agent_node import Node, until
from scraping import scrape

from sentinel.model.check import series
from sentinel.runtime.agent.metrics_server import MOST_BYTES, MOST_CONNECTIONS
from tests.crowd import crowd

MANY = 1100


HALF_A_REQUEST = b"GET /metrics HTTP/1.1\r\n"


def test_idle_connections_end_no_agent_and_hide_no_metrics(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            port, agent = controller.hellos[-1].metrics_port, node.processes[0]
            with crowd(port, MANY // 2) as silent, crowd(port, MANY // 2, HALF_A_REQUEST) as slow:
                found = await asyncio.to_thread(scrape, port)
                assert found[series("agent_connected")] == 1
                open_still = [each for each in (*silent, *slow) if _is_open(each)]
                assert len(open_still) <= MOST_CONNECTIONS
            assert agent.poll() is None

    asyncio.run(scenario())


def _is_open(stranger: socket.socket) -> bool:
    stranger.setblocking(False)
    try:
        return stranger.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_a_request_without_end_is_cut(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            port = controller.hellos[-1].metrics_port
            with crowd(port, 1, b"x" * (MOST_BYTES + 1)) as [endless]:
                await until(lambda: not _is_open(endless))
            assert (await asyncio.to_thread(scrape, port))[series("agent_connected")] == 1

    asyncio.run(scenario())
