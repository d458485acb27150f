"""Whatever a server answers in Slack's place is an error that is tried again, soon and not for ever."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from slack_process import page, until

from sentinel.adapters.http_post import retry_after
from sentinel.adapters.outbox import Outbox, Timing
from sentinel.adapters.page_channel import ChannelError
from sentinel.adapters.slack import Slack, SlackError
from sentinel.model.action import Page
from sentinel.model.ids import ActionId, Instant

TOKEN = "xoxb-1234567890-abcdefghij"


class Liar(ThreadingHTTPServer):
    """Answers every request with the same bytes, or with those of its path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = b""
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.drips = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    server: Liar

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def do_GET(self) -> None:
        liar = self.server
        liar.asked.append((self.path, self.headers.get("Authorization", "")))
        self.send_response(liar.status)
        for name, value in liar.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(liar.answer)))
        self.end_headers()
        try:
            while liar.drips:
                self.wfile.write(b" ")
                time.sleep(0.02)
            self.wfile.write(liar.answer)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def liar() -> Iterator[Liar]:
    with Liar() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def slack(liar: Liar) -> Iterator[Slack]:
    channel = Slack(TOKEN, "C1", base_url=f"{liar.url}api/", timeout=2.0)
    yield channel
    channel.close()


def ask(channel: Slack) -> dict[str, SlackError]:
    """What each call raises."""
    shown, errors = page("INC-1", 1, thread="details"), {}

    async def talk() -> None:
        calls = {
            "open": channel.open(shown),
            "edit": channel.edit(shown, "1.1"),
            "detail": channel.detail(shown, "1.1"),
            "find": channel.find(shown, 0.0),
            "find_detail": channel.find_detail(shown, "1.1"),
        }
        for name, call in calls.items():
            try:
                await call
            except SlackError as error:
                errors[name] = error

    asyncio.run(talk())
    return errors


NONSENSE = {
    "nothing": b"",
    "no JSON": b"<html><body>Sign in to the Wi-Fi</body></html>",
    "no document": b"[1, 2]",
    "a number": b"7",
    "null": b"null",
    "no ok": b'{"ts": "1.1", "channel": "C1"}',
    "ok is text": b'{"ok": "true"}',
    "ok is 1": b'{"ok": 1}',
    "not ok and no error": b'{"ok": false}',
    "an error that is no text": b'{"ok": false, "error": {"a": 1}}',
    "deep": b"[" * 100_000,
    "deep in a document": b'{"ok": true, "x": ' + b'{"a":' * 50_000,
    "no UTF-8": b'{"ok": true, "ts": "\xff\xfe"}',
    "half a character": b'{"ok": tru',
    "10 MB": b'{"ok": true, "x": "' + b"a" * 10_000_000 + b'"}',
    "a long number": b'{"ok": ' + b"9" * 100_000 + b"}",
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_an_error_of_every_call_and_is_tried_again(
    liar: Liar, slack: Slack, answer: bytes
) -> None:
    liar.answer = answer
    errors = ask(slack)
    assert sorted(errors) == ["detail", "edit", "find", "find_detail", "open"]
    assert not any(error.permanent for error in errors.values())
    assert all(len(str(error)) < 300 and "\n" not in str(error) for error in errors.values())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"ts": 7, "channel": "C1"},
        {"ts": "later", "channel": "C1"},
        {"ts": "1.1\n", "channel": "C1"},
        {"ts": "\ud800", "channel": "C1"},
        {"ts": "1.1", "channel": None},
        {"ts": "1.1", "channel": "C1 or another"},
        {"ts": "9" * 400 + ".1", "channel": "C1"},
    ],
    ids=str,
)
def test_a_post_whose_place_is_none_is_looked_up_and_tried_again(
    liar: Liar, slack: Slack, fields: dict[str, object]
) -> None:
    liar.answer = json.dumps({"ok": True, **fields}).encode()
    with pytest.raises(SlackError) as caught:
        asyncio.run(slack.open(page("INC-1", 1)))
    assert caught.value.unsure
    assert not caught.value.permanent


PLACES: list[object] = [None, 7, "text", {"a": 1}]


@pytest.mark.parametrize("messages", PLACES, ids=str)
def test_a_list_that_is_none_is_an_error(liar: Liar, slack: Slack, messages: object) -> None:
    liar.answer = json.dumps({"ok": True, "messages": messages}).encode()
    assert {"find", "find_detail"} <= set(ask(slack))


@pytest.mark.parametrize(
    "message",
    [
        None,
        7,
        {},
        {"metadata": 7},
        {"metadata": {"event_type": ["sentinel_incident"]}},
        {"metadata": {"event_type": "sentinel_incident", "event_payload": "INC-1"}},
        {"metadata": {"event_type": "sentinel_incident", "event_payload": {"incident": ["INC-1"]}}},
    ],
    ids=str,
)
def test_a_message_that_is_none_is_passed_over(liar: Liar, slack: Slack, message: object) -> None:
    liar.answer = json.dumps({"ok": True, "messages": [message]}).encode()
    assert asyncio.run(slack.find(page("INC-1", 1), 0.0)) is None


@pytest.mark.parametrize("revision", [None, "3", -1, 1.5, 2**31, 10**30, True, [3]], ids=str)
def test_a_revision_that_is_none_is_not_believed(liar: Liar, slack: Slack, revision: object) -> None:
    payload = {"incident": "INC-1", "revision": revision}
    metadata = {"event_type": "sentinel_incident", "event_payload": payload}
    liar.answer = json.dumps({"ok": True, "messages": [{"ts": "1.1", "metadata": metadata}]}).encode()
    found = asyncio.run(slack.find(page("INC-1", 1), 0.0))
    assert found is not None
    assert found[0] == "1.1"
    assert found[1] in (-1, 1)


@pytest.mark.parametrize(
    ("said", "waits"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        ("²".encode().decode("latin-1"), 1.0),
        ("²", 1.0),
        ("٣", 1.0),
        ("", 1.0),
        ("-5", 1.0),
        ("1e9", 1.0),
        ("nan", 1.0),
        ("inf", 1.0),
        ("0", 1.0),
        ("1.2.3", 1.0),
        ("1_000", 1.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0),
        ("9" * 400, 600.0),
        ("9" * 5000, 600.0),
        ("86400", 600.0),
    ],
)
def test_how_long_to_wait_is_read_strictly_and_has_an_end(said: str, waits: float) -> None:
    raw = said.encode("utf-8") if not said.isascii() and len(said) == 1 else said.encode("latin-1")
    head = b"HTTP/1.1 429 Too Many\r\nConnection: close\r\nContent-Length: 2\r\nRetry-After: " + raw
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(head + b"\r\n\r\n{}")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        channel = Slack(TOKEN, "C1", base_url=f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=5.0)
        with pytest.raises(SlackError) as caught:
            asyncio.run(channel.detail(page("INC-1", 1, thread="x"), "1.1"))
        thread.join()
        channel.close()
    assert caught.value.retry_after == waits


@pytest.mark.parametrize("endless", [True, False])
def test_a_list_without_end_is_left(liar: Liar, slack: Slack, endless: bool) -> None:
    count = [0]
    original = Handler.do_GET

    def next_page(handler: Handler) -> None:
        count[0] += 1
        cursor = f"page-{count[0]}" if endless else "page"
        handler.server.answer = json.dumps(
            {"ok": True, "messages": [], "response_metadata": {"next_cursor": cursor}}
        ).encode()
        original(handler)

    Handler.do_GET = next_page  # type: ignore[method-assign]
    try:
        with pytest.raises(SlackError) as caught:
            asyncio.run(slack.find(page("INC-1", 1), 0.0))
    finally:
        Handler.do_GET = original  # type: ignore[method-assign]
    assert not caught.value.permanent
    assert count[0] <= (60 if endless else 2)


@pytest.mark.parametrize("cursor", [7, ["a"], {"a": 1}, None, ""], ids=str)
def test_a_cursor_that_is_none_is_the_end(liar: Liar, slack: Slack, cursor: object) -> None:
    liar.answer = json.dumps(
        {"ok": True, "messages": [], "response_metadata": {"next_cursor": cursor}}
    ).encode()
    assert asyncio.run(slack.find(page("INC-1", 1), 0.0)) is None
    assert len(liar.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_takes_the_token_nowhere(liar: Liar, slack: Slack, status: int) -> None:
    with Liar() as thief:
        threading.Thread(target=thief.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        thief.answer = b'{"ok": true, "ts": "1.1", "channel": "C1"}'
        liar.status, liar.headers = status, {"Location": thief.url}
        with pytest.raises(SlackError) as caught:
            asyncio.run(slack.open(page("INC-1", 1)))
        thief.shutdown()
    assert thief.asked == []
    assert not caught.value.permanent


def test_an_answer_that_drips_has_an_end(liar: Liar) -> None:
    channel = Slack(TOKEN, "C1", base_url=liar.url, timeout=0.1)
    liar.answer, liar.drips = b"x" * 1_000_000, True
    began = time.monotonic()
    with pytest.raises(SlackError):
        asyncio.run(channel.open(page("INC-1", 1)))
    assert time.monotonic() - began < 10
    liar.drips = False
    channel.close()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999/", "http://[/", "nonsense", "http://\x00/", "ftp://a/"]
)
def test_an_address_that_is_none_is_an_error(url: str) -> None:
    channel = Slack(TOKEN, "C1", base_url=url, timeout=0.5)
    with pytest.raises(SlackError) as caught:
        asyncio.run(channel.open(page("INC-1", 1)))
    assert not caught.value.permanent
    channel.close()


class OddError(Exception):
    """Says nothing, and not even that."""

    def __str__(self) -> str:
        raise RuntimeError


RAISED = [
    ValueError("could not convert string to float: '²'"),
    RecursionError(),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    KeyError("\ud800 ts"),
    ExceptionGroup("several", [RuntimeError("one")]),
    asyncio.CancelledError(),
    TimeoutError(),
    StopAsyncIteration(),
    OddError(),
    ChannelError("x" * 10_000_000),
    ChannelError("", retry_after=float("nan")),
    ChannelError("", retry_after=float("inf")),
    ChannelError("", retry_after=-1e300),
    ChannelError("", retry_after="²"),  # type: ignore[arg-type]
    MemoryError(),
    OverflowError("Python int too large to convert to SQLite INTEGER"),
]


@dataclass
class Broken:
    """A channel whose calls fail by these, one after the other, and then work."""

    errors: list[BaseException]
    name: str = "broken"
    looks_up: bool = True
    ref: object = "ref"
    shown: list[str] = field(default_factory=list)

    def _next(self) -> None:
        if self.errors:
            raise self.errors.pop(0)

    async def open(self, page: Page) -> str:
        self._next()
        self.shown.append(page.incident)
        return self.ref  # type: ignore[return-value]

    async def edit(self, page: Page, ref: str) -> None:
        self._next()

    def detail(self, page: Page, ref: str) -> None:  # no coroutine at all
        self._next()

    async def find(self, page: Page, since: Instant) -> tuple[str, int] | None:
        self._next()
        return None

    async def find_detail(self, page: Page, ref: str) -> bool:
        return False


QUICK = Timing(first_retry=0.001, longest_retry=0.001, refused_retry=0.001, poll=0.001)


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_no_exception_of_a_channel_ends_the_outbox(tmp_path: Path, error: BaseException) -> None:
    reported: list[ActionId] = []
    broken = Broken([error] * 3)

    async def run() -> None:
        outbox = Outbox(tmp_path / "outbox.db", lambda action, *_: reported.append(action), QUICK)
        outbox.enqueue(page("INC-1", 1))
        task = asyncio.create_task(outbox.run([broken]))  # type: ignore[list-item]
        await asyncio.to_thread(until, lambda: bool(reported) or task.done())
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        outbox.close()

    asyncio.run(run())
    assert broken.shown == ["INC-1"]


@pytest.mark.parametrize("ref", [None, 7, "", "\ud800", "a\x00b", "x" * 10_000, ["a"]], ids=repr)
def test_a_reference_that_is_none_ends_no_outbox(tmp_path: Path, ref: object) -> None:
    broken = Broken([], ref=ref)

    async def run() -> None:
        outbox = Outbox(tmp_path / "outbox.db", lambda *_: None, QUICK)
        outbox.enqueue(page("INC-1", 1))
        task = asyncio.create_task(outbox.run([broken]))  # type: ignore[list-item]
        await asyncio.to_thread(until, lambda: len(broken.shown) > 2 or task.done())
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        outbox.close()

    asyncio.run(run())


@pytest.mark.parametrize(("said", "waits"), [("3\x1d", 1.0), ("\x1c3", 1.0), ("\u20033", 1.0), (" 3\t", 3.0)])
def test_what_only_python_takes_for_a_space_is_none(said: str, waits: float) -> None:
    assert retry_after(said) == waits
