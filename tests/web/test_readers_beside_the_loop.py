"""Whoever reads, slowly, often or much, keeps neither the controller's loop nor other readers waiting."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
import structlog
from local_http import LOCAL
from sample_cluster import QUIET, TOKEN, Cluster, an_incident

from sentinel.logbook.book import Logbook
from sentinel.logbook.row import Row
from sentinel.logs import Ration
from sentinel.web import desk, server
from sentinel.web.app import create_app
from sentinel.web.pages import ENTRY_CHARS, entry_page
from sentinel.web.server import serve
from sentinel.web.view import Status

RIGHT = {"Authorization": f"Bearer {TOKEN}"}
SOON = 20.0


@dataclass
class Slow(Cluster):
    """A cluster whose logbook takes its time."""

    goes_on: threading.Event = field(default_factory=threading.Event)
    looking: set[int] = field(default_factory=set)

    def status(self) -> Status:
        self.looking.add(threading.get_ident())
        return super().status()

    def search(self, query: str) -> Sequence[Row]:
        assert self.goes_on.wait(SOON)
        return super().search(query)


@dataclass
class House:
    """A server with the loop that its view lives in."""

    port: int
    home: asyncio.AbstractEventLoop
    stop: Callable[[], None]
    thread: threading.Thread

    def get(self, path: str, **more: object) -> httpx.Response:
        return LOCAL.get(f"http://127.0.0.1:{self.port}{path}", timeout=SOON, **more)  # type: ignore[arg-type]

    def visit(self, sent: bytes = b"", take: int = 0) -> socket.socket:
        """Connect and say something, with room for so many bytes of an answer."""
        visitor = socket.socket()
        if take:
            visitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, take)
        visitor.settimeout(SOON)
        visitor.connect(("127.0.0.1", self.port))
        visitor.sendall(sent)
        return visitor


@contextmanager
def house(cluster: Cluster) -> Iterator[House]:
    ready: list[House] = []

    async def live(listener: socket.socket) -> None:
        home, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        app = create_app(cluster, cluster.command, TOKEN, home=home)
        stop = lambda: home.call_soon_threadsafe(task.cancel)  # noqa: E731
        ready.append(House(listener.getsockname()[1], home, stop, threading.current_thread()))
        await serve(app, listener)

    def run(listener: socket.socket) -> None:
        try:
            asyncio.run(live(listener))
        except asyncio.CancelledError:
            return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run, args=(listener,))
        thread.start()
        until(lambda: bool(ready))
        try:
            yield ready[0]
        finally:
            ready[0].stop()
            thread.join(SOON)
            assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


def is_cut(visitor: socket.socket) -> bool:
    """Read until the other end is gone."""
    try:
        while visitor.recv(1 << 20):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Slow]:
    cluster = Slow(Logbook(tmp_path / "logbook"))
    yield cluster
    cluster.goes_on.set()


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SELDOM", Ration(burst=1, every_s=server.TELL_EVERY))


def test_searches_keep_nobody_else_waiting_and_further_ones_are_told_to_come_again(slow: Slow) -> None:
    with house(slow) as served, ExitStack() as visits:
        for _ in range(desk.MOST_READERS):
            visits.enter_context(closing(served.visit(b"GET /logbook?q=a HTTP/1.1\r\nHost: a\r\n\r\n")))
        until(lambda: served.get("/logbook").status_code == 503)
        refused = served.get("/api/incidents")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert list(refused.json()) == ["error"]
        for path in ("/healthz", "/", "/api/status", "/metrics"):
            assert served.get(path).status_code == 200
        slow.goes_on.set()
        until(lambda: served.get("/logbook").status_code == 200)


def test_the_state_is_looked_at_in_its_own_loop_only(slow: Slow) -> None:
    slow.goes_on.set()
    with house(slow) as served:
        for path in ("/", "/fragment", "/api/status", "/api/incidents", "/metrics"):
            assert served.get(path).is_success
        answer = LOCAL.post(f"http://127.0.0.1:{served.port}/api/stop-actions", json={}, headers=RIGHT)
        assert answer.json() == {"done": "stop-actions"}
        assert slow.looking == {served.thread.ident}


def test_a_loop_that_does_not_turn_is_no_healthy_controller(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "ANSWERS_WITHIN", 0.2)
    goes_on = threading.Event()
    with house(slow) as served:
        served.home.call_soon_threadsafe(goes_on.wait, SOON)
        assert served.get("/healthz").status_code == 503
        goes_on.set()
        until(lambda: served.get("/healthz").status_code == 200)


def test_a_large_state_is_looked_at_once_for_many_readers(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    look = slow.status

    def takes_long() -> Status:
        looks.append(1)
        time.sleep(0.05)  # what looking costs with thousands of nodes
        return look()

    monkeypatch.setattr(slow, "status", takes_long)
    monkeypatch.setattr(desk, "SHARE", 1000)
    with house(slow) as served:
        assert all(served.get(path).is_success for path in ("/", "/fragment", "/api/status", "/") * 3)
        assert len(looks) == 1


@pytest.mark.usefixtures("seldom")
def test_idle_connections_give_way_to_those_who_ask(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_VISITORS", 16)
    with house(slow) as served, ExitStack() as visits, structlog.testing.capture_logs() as lines:
        idle = [visits.enter_context(closing(served.visit())) for _ in range(60)]
        assert served.get("/healthz").is_success
        assert all(is_cut(visitor) for visitor in idle[:44])
        assert [line["event"] for line in lines] == ["connections-cut"]


NEVER_READ = b"GET /api/status HTTP/1.1\r\nHost: a\r\n\r\n"
SLOW_BODY = (
    f"POST /api/ack HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 60000\r\n\r\n"
).encode()


SLOW = {
    "says nothing": (b"", b""),
    "a head byte by byte": (b"GET / HTTP/1.1\r\nX: ", b"a"),
    "a body byte by byte": (SLOW_BODY, b" "),
    "a reader's body": (b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n", b" "),
    "asked and stays": (b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", b""),
    "takes no answer": (NEVER_READ, b""),
    "asks for many answers and takes none": (NEVER_READ * 50, b""),
    "an upgrade": (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", b""),
    "no HTTP at all": (b"\x00" * 4096, b""),
    "a long head": (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000, b""),
}


@pytest.mark.usefixtures("seldom")
def test_who_is_slow_is_cut(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ASKS_WITHIN", 0.2)
    monkeypatch.setattr(server, "TAKES_WITHIN", 0.2)
    much = tuple(replace(QUIET.nodes[0], findings=("x" * 200,)) for _ in range(20_000))
    slow.now = replace(QUIET, nodes=much)
    with house(slow) as served, ExitStack() as visits:
        there = {
            name: visits.enter_context(closing(served.visit(sent, take=4096)))
            for name, (sent, _) in SLOW.items()
        }

        def stay() -> set[str]:
            return {name for name, visitor in there.items() if not gone(visitor, SLOW[name][1])}

        deadline = time.monotonic() + SOON
        while left := stay():
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
        slow.now = QUIET
        assert served.get("/healthz").is_success


def gone(visitor: socket.socket, drip: bytes) -> bool:
    """Whether the other end has cut the connection, told without taking what it sent."""
    try:
        visitor.sendall(drip)
        state: int = visitor.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return True
    return state != 1  # 1: established


def test_the_address_with_the_most_connections_gives_way_first() -> None:
    @dataclass
    class Seen:
        address: str
        asks: bool
        since: float

    crowd = [Seen("10.0.0.66", asks=False, since=at) for at in (5.0, 6.0, 7.0)]
    alone = [Seen("10.0.0.1", asks=True, since=1.0)]
    assert server.chosen_to_go([*alone, *crowd]) is crowd[0]  # type: ignore[type-var]
    asking = Seen("10.0.0.66", asks=True, since=9.0)
    assert server.chosen_to_go([*alone, *crowd, asking]) is asking  # type: ignore[type-var]


def test_what_strangers_do_is_logged_once_a_minute() -> None:
    now = [0.0]
    seldom = Ration(burst=1, every_s=server.TELL_EVERY, clock=lambda: now[0])
    assert [seldom.passes("garbage") for _ in range(1000)] == [0, *[None] * 999]
    assert seldom.passes("another") == 0
    now[0] = server.TELL_EVERY
    assert seldom.passes("garbage") == 999


@pytest.mark.parametrize(
    "query", [pytest.param("a" * 201, id="long"), pytest.param("a " * 17, id="many words")]
)
def test_a_search_is_bounded(slow: Slow, query: str) -> None:
    slow.goes_on.set()
    with house(slow) as served:
        for path in ("/logbook", "/api/incidents"):
            refused = served.get(path, params={"q": query})
            assert refused.status_code == 400
            assert refused.json() == {"error": "a search may have 200 characters and 16 words"}
        assert served.get("/logbook?q=" + "a%20" * 15_000).status_code == 400


def test_a_long_logbook_is_shown_in_part(slow: Slow) -> None:
    slow.goes_on.set()
    row = {**json.loads(a_row(slow)), "words": "w" * 5000}
    index = slow.book.folder / "index.jsonl"
    index.write_text("".join(json.dumps({**row, "incident": f"I-{n}"}) + "\n" for n in range(1200)))
    with house(slow) as served:
        assert "1200 incidents, the newest 1000 are shown" in served.get("/logbook").text
        found = served.get("/api/incidents").json()["logbook"]
    assert len(found) == 1000
    assert all(len(each["words"]) == 1000 for each in found)


def a_row(cluster: Slow) -> str:
    cluster.book.write(an_incident())
    return (cluster.book.folder / "index.jsonl").read_text().splitlines()[0]


def test_a_long_entry_is_rendered_in_part_and_says_so() -> None:
    page = entry_page("I-1", "line\n" * ENTRY_CHARS)
    assert len(page) < 2 * ENTRY_CHARS
    assert "characters are left out here; the file has them" in page


def test_half_a_character_is_spelled_out(slow: Slow) -> None:
    slow.now = replace(QUIET, frozen="no file \udcff")
    with house(slow) as served:
        assert "no file \\udcff" in served.get("/").text
        assert served.get("/api/status").json()["frozen"] == "no file \\udcff"
