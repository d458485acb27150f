"""Answers of Slack, or of whoever answers in its place, from HTTP's first byte to the outbox's patience."""

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h11
import httpx

from sentinel.adapters import http_post
from sentinel.adapters.page_channel import UNNAMED, ChannelError
from sentinel.adapters.slack import Slack
from sentinel.adapters.slack_message import MESSAGE, metadata
from sentinel.model.action import Page
from sentinel.model.ids import ActionId, IncidentId

PAGE = Page(ActionId("I-1/page/on-call/1"), IncidentId("I-1"), 1, "title", "body", "open", thread="details")
MOST_CALLS = 1_000
"""In one look-up: a history that never ends is somebody's doing."""
LONGEST_WAIT_S = 86_400.0


def _answer(body: Any, status: str = "200 OK", **headers: str) -> bytes:
    content = json.dumps(body).encode()
    head = {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(content)), **headers}
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in head.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content


def seeds() -> Iterator[bytes]:
    """What Slack says to each call, when it is well and when it is not."""
    message = {"ts": "1.2", "text": "t", "metadata": metadata(MESSAGE, PAGE, UNNAMED)}
    yield _answer({"ok": True, "channel": "C1", "ts": "1772600767.000100", "message": message})
    yield _answer({"ok": True, "messages": [message], "response_metadata": {"next_cursor": ""}})
    yield _answer({"ok": True, "messages": [message] * 3, "response_metadata": {"next_cursor": "abc"}})
    yield _answer({"ok": True, "channels": [{"id": "C1", "name": "oncall"}, {"id": "C2", "name": "x"}]})
    yield _answer({"ok": False, "error": "ratelimited"}, "429 Too Many Requests", Retry_After="3")
    yield _answer({"ok": False, "error": "channel_not_found"})
    yield _answer("<html>", "503 Service Unavailable", Content_Type="text/html")
    yield _answer({"ok": True}, "302 Found", Location="https://slack.com/api/elsewhere")


class Fed:
    """In the place of the network: the same answer to every request, read by HTTP's own rules."""

    def __init__(self) -> None:
        self.data, self.calls = b"", 0

    async def post(self, *_: Any, **__: Any) -> tuple[int, httpx.Headers, bytes]:
        self.calls += 1
        assert self.calls < MOST_CALLS, "calls without end"
        wire = h11.Connection(h11.CLIENT)
        wire.send(h11.Request(method="POST", target="/api/x", headers=[("Host", "slack.com")]))
        wire.send(h11.EndOfMessage())
        wire.receive_data(self.data)
        wire.receive_data(b"")
        status, headers, body = 0, httpx.Headers(), b""
        while not isinstance(event := wire.next_event(), h11.EndOfMessage):
            match event:
                case h11.Response():
                    status, headers = event.status_code, httpx.Headers(event.headers.raw_items())
                case h11.Data():
                    body += event.data
                case h11.InformationalResponse():
                    continue
                case _:
                    raise httpx.RemoteProtocolError("cut off")
        return status, headers, body


@contextmanager
def opened(folder: Path) -> Iterator[Callable[[bytes], bool]]:
    """Give one answer after the other to all that is ever asked; accepted is what some call takes."""
    fed = Fed()
    loop = asyncio.new_event_loop()

    async def ask(slack: Slack) -> bool:
        taken = False
        for call in (
            lambda: slack.open(PAGE),
            lambda: slack.edit(PAGE, "1.2"),
            lambda: slack.detail(PAGE, "1.2"),
            lambda: slack.find(PAGE, 1e9),
            lambda: slack.find_detail(PAGE, "1.2"),
        ):
            fed.calls = 0
            try:
                await call()
                taken = True
            except ChannelError as error:
                wait = error.retry_after or 0.0
                assert math.isfinite(wait), wait
                assert 0.0 <= wait <= LONGEST_WAIT_S, wait
                assert fed.calls < MOST_CALLS, "calls without end"
        return taken

    slack = Slack("xoxb-test", "#oncall")
    network, http_post._call = http_post._call, fed.post

    def take(data: bytes) -> bool:
        fed.data, slack._id = data, ""
        return loop.run_until_complete(ask(slack))

    try:
        yield take
    finally:
        http_post._call = network
        slack.close()
        loop.close()
