"""The watchdog goes on trying, whatever keeps the controller from starting, and pages once."""

import errno
import json
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

from sentinel import config
from sentinel.adapters import journal_file
from sentinel.runtime import running
from sentinel.runtime import watchdog as module
from sentinel.runtime.watchdog import LONGEST_WAIT_S, Life, Watchdog


class Stand:
    """A watchdog whose pauses take no time, which is told to stop after so many; its pages are counted."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, pauses: int) -> None:
        switch = "http://127.0.0.1:99999/ping"
        cluster = config.Cluster(state_dir=root, dead_man_switch=switch)
        self.watchdog = Watchdog(config.Settings(cluster=cluster), None)
        self.pauses: list[float] = []
        self.pages = 0
        self._enough = pauses
        monkeypatch.setattr(self.watchdog, "_is_told", self._told_within)
        monkeypatch.setattr(self.watchdog, "_tell", self._tell)

    def _told_within(self, seconds: float = 0.0) -> bool:
        self.pauses += [seconds] if seconds else []
        return len(self.pauses) == self._enough

    def _tell(self, *_: str) -> None:
        self.pages += 1


def test_thousands_of_short_lives_are_paged_once_and_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(tmp_path, monkeypatch, pauses=3_000)
    monkeypatch.setattr(stand.watchdog, "_start", lambda: 0)
    monkeypatch.setattr(stand.watchdog, "_outlive", lambda _pid: Life())
    stand.watchdog.run()
    assert stand.pages == 1
    assert stand.pauses[:3] == [0.2, 0.4, 0.8]
    assert stand.pauses[-1] == LONGEST_WAIT_S


class Dropped:
    """Has somebody told in its destructor, where Python loses whatever is raised."""

    def __init__(self, told: Callable[[], None]) -> None:
        self._told = told

    def __del__(self) -> None:
        self._told()


def starts() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"])


def ends_at_once() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["true"])


def can_t_start() -> NoReturn:
    raise OSError(errno.EAGAIN, "not now")


@pytest.mark.parametrize("start", [starts, ends_at_once, can_t_start])
def test_told_to_stop_wherever_its_code_is_it_ends_the_controller_and_starts_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    watchdog = Watchdog(config.Settings(cluster=config.Cluster(state_dir=tmp_path)), None)
    begun: list[subprocess.Popen[bytes]] = []

    def told_while_it_starts() -> running.Running:
        Dropped(watchdog.stop)
        begun.append(start())
        return running.child(begun[-1].pid)

    monkeypatch.setattr(watchdog, "_start", told_while_it_starts)
    watchdog.run()
    assert [each.poll() is None for each in begun] == [False] * (start is not can_t_start)


def test_told_before_it_begins_it_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watchdog = Watchdog(config.Settings(cluster=config.Cluster(state_dir=tmp_path)), None)
    monkeypatch.setattr(watchdog, "_start", can_t_start)
    monkeypatch.setattr(watchdog, "_count", lambda life: pytest.fail(f"counted {life}"))
    watchdog.stop()
    watchdog.run()


def test_one_that_never_answers_had_a_short_life_however_long_it_took_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchdog = Watchdog(config.Settings(cluster=config.Cluster(state_dir=tmp_path, web_port=1)), None)
    monkeypatch.setattr(module, "HEALTHY_AFTER_S", 0.5)
    told: list[str] = []
    monkeypatch.setattr(watchdog, "_tell", lambda title, _why: told.append(title))
    for _ in range(module.HOPELESS):
        with subprocess.Popen(["sleep", "1"]) as fails:
            life = watchdog._outlive(running.child(fails.pid))
        assert life == Life(0.0, hung=False)
        watchdog._count(life)
    assert told == ["Sentinel's controller does not start"]


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EROFS, errno.ENOMEM])
def test_a_controller_that_can_t_be_started_is_paged_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fails(*_: object, **__: object) -> NoReturn:
        raise OSError(number, "not now")

    stand = Stand(tmp_path, monkeypatch, pauses=20)
    monkeypatch.setattr(subprocess, "Popen", fails)
    stand.watchdog.run()
    assert stand.pages == 1


def test_a_note_that_a_full_disk_does_not_take_keeps_nobody_from_watching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(tmp_path, monkeypatch, pauses=1)

    def fails(_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.running, "text_of", fails)
    monkeypatch.setattr(stand.watchdog, "_watch_one", Life)
    stand.watchdog.run()


def test_a_page_that_can_t_be_sent_ends_no_watching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> NoReturn:
        raise ExceptionGroup("outbox", [RuntimeError("broken")])

    watchdog = Watchdog(config.Settings(cluster=config.Cluster(state_dir=tmp_path)), None)
    monkeypatch.setattr(watchdog._pages, "tell", fails)
    watchdog._tell(*module.DOES_NOT_START)


def test_a_switch_that_can_t_be_reached_at_all_ends_no_watching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(tmp_path, monkeypatch, pauses=1)
    healthy = httpx.Response(200, request=httpx.Request("GET", "http://controller"))
    monkeypatch.setattr(httpx, "get", lambda *_, **__: healthy)
    monkeypatch.setattr(module.time, "monotonic", lambda: time.perf_counter() + 1e6)
    stand.watchdog._feed()


SECRET = "q7Rk2vXw9Zp4Lm8Ty3Ns6Bd1"


@pytest.mark.parametrize(
    "switch",
    [
        f"http://ada:{SECRET}@127.0.0.1:99999/ping",
        f"http://127.0.0.1:1/{SECRET}",
        f"http://{SECRET}@127.0.0.1:1/",
        f"http://127.0.0.1:1/ping?key={SECRET}",
    ],
)
def test_a_switch_s_address_is_told_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], switch: str
) -> None:
    healthy = httpx.Response(200, request=httpx.Request("GET", "http://controller"))

    def refuses(*_: object, **__: object) -> NoReturn:
        said = f"404 Not Found for url '{switch}'"
        raise httpx.HTTPStatusError(said, request=healthy.request, response=healthy)

    cluster = config.Cluster(state_dir=tmp_path, dead_man_switch=switch)
    watchdog = Watchdog(config.Settings(cluster=cluster), None)
    monkeypatch.setattr(httpx, "get", lambda *_, **__: healthy)
    monkeypatch.setattr(httpx, "post", refuses)
    monkeypatch.setattr(httpx, "stream", refuses)
    watchdog._feed()
    said = capsys.readouterr().out
    assert "switch-not-fed" in said
    assert "404 Not Found" in said
    assert SECRET not in said


def test_last_words_are_paged_without_secrets_and_orders_to_a_terminal(tmp_path: Path) -> None:
    watchdog = Watchdog(config.Settings(cluster=config.Cluster(state_dir=tmp_path)), None)
    said = b"x" * 100_000 + f"\nHF_TOKEN={SECRET}\n\x1b]0;owned\x07 ".encode() + b"\xff"
    (tmp_path / "controller.log").write_bytes(said)
    watchdog._tell(*module.DOES_NOT_START)
    paged = (tmp_path / "pages.log").read_text()
    assert "Its last words" in paged
    assert "HF_TOKEN=[hidden]" in paged
    assert "owned" in paged
    assert SECRET not in paged
    assert "\\u001b" not in paged
    assert len(paged) < 50_000


@pytest.mark.parametrize(
    ("said", "restores"),
    [
        pytest.param("/var/journal.db is damaged: line 7 is gone; put …", True, id="damaged"),
        pytest.param("not a journal: /var/journal.db", True, id="not a journal"),
        pytest.param(f"journal /var/journal.db: malformed; {journal_file.HINT}", True, id="malformed"),
        pytest.param("cluster.web_port 7800: Address already in use", False, id="a port that is taken"),
    ],
)
def test_a_journal_that_cannot_be_read_is_paged_with_how_to_restore_it(
    tmp_path: Path, said: str, restores: bool
) -> None:
    watchdog = Watchdog(config.Settings(cluster=config.Cluster(state_dir=tmp_path, name="blue")), None)
    (tmp_path / "controller.log").write_text(f"sentinel controller: {said}\n")
    watchdog._tell(*module.DOES_NOT_START)
    paged = json.loads((tmp_path / "pages.log").read_text().splitlines()[0])
    assert paged["title"].endswith("blue: Sentinel's controller does not start")
    assert (f"cd {tmp_path} && mkdir damaged" in paged["text"]) == restores
    assert ("sentinel resume-actions" in paged["text"]) == restores


def pages_of(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "pages.log").read_text().splitlines()]


@pytest.mark.parametrize("who", ["the same watchdog", "the next one"])
def test_a_page_is_resolved_once_a_controller_answers_whoever_paged(tmp_path: Path, who: str) -> None:
    settings = config.Settings(cluster=config.Cluster(state_dir=tmp_path), job=config.Job(name="moe"))
    first = Watchdog(settings, None)
    first._tell(*module.DOES_NOT_START)
    ends = first if who == "the same watchdog" else Watchdog(settings, None)
    ends._end_pages()
    assert not ends._paged
    firing, resolved = pages_of(tmp_path)
    assert (firing["stage"], resolved["stage"]) == ("open", "resolved")
    assert firing["incident"] == resolved["incident"]
    assert "answers again" in resolved["text"]
    assert "Job: moe goes on\nAsked of you: nothing" in resolved["text"]
    Watchdog(settings, None)._end_pages()
    assert len(pages_of(tmp_path)) == 2


def test_a_page_of_a_disk_that_took_none_is_resolved_too(tmp_path: Path) -> None:
    (tmp_path / "watchdog-outbox.db").mkdir()
    watchdog = Watchdog(config.Settings(cluster=config.Cluster(state_dir=tmp_path)), None)
    watchdog._tell(*module.DOES_NOT_START)
    ending = threading.Thread(target=watchdog._end_pages)
    ending.start()
    ending.join(30)
    assert [page["stage"] for page in pages_of(tmp_path)] == ["open", "resolved"]


@pytest.mark.parametrize(
    ("hangs", "age", "ends"),
    [(0, 9.0, False), (0, 11.0, True), (2, 11.0, False), (2, 601.0, True)],
    ids=["short", "started", "hung lately", "hangs no more"],
)
def test_a_controller_has_to_last_before_its_page_is_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: int, age: float, ends: bool
) -> None:
    watchdog = Watchdog(config.Settings(cluster=config.Cluster(state_dir=tmp_path)), None)
    ended: list[bool] = []
    monkeypatch.setattr(watchdog._pages, "end", lambda: not ended.append(True))
    watchdog._hangs = hangs
    watchdog._end_pages_aside(age)
    if ends:
        watchdog._ending.join(30)
    assert bool(ended) == ends
    watchdog._end_pages_aside(age)
    assert len(ended) <= 1


def test_a_line_that_each_restart_says_again_is_told_once(tmp_path: Path) -> None:
    watchdog = Watchdog(config.Settings(cluster=config.Cluster(state_dir=tmp_path)), None)
    (tmp_path / "controller.log").write_text("first\n" + "sentinel controller: no room\n" * 5)
    assert "last words:\nfirst\nsentinel controller: no room\n" in watchdog._words("title", "why").body


def test_every_receiver_hears_that_the_controller_is_down_and_what_is_asked(tmp_path: Path) -> None:
    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

    taken: list[dict[str, Any]] = []
    with HTTPServer(("127.0.0.1", 0), Taker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hook = config.Receiver(url=f"http://127.0.0.1:{server.server_port}/", causes=("gpu-lost",))
        cluster = config.Cluster(state_dir=tmp_path, name="blue")
        watchdog = Watchdog(config.Settings(cluster=cluster, receivers={"webhook": hook}), None)
        watchdog._tell(*module.DOES_NOT_START)
        watchdog._end_pages()
        server.shutdown()
    in_file, _ = pages_of(tmp_path)
    posted, over = taken
    assert (over["incident"], over["stage"]) == (posted["incident"], "resolved")
    for said in (in_file, posted):
        assert said["title"].endswith("blue: Sentinel's controller does not start")
        assert "Job: train goes on" in said["text"]
        assert f"Asked of you: to see why, in {tmp_path}/controller.log" in said["text"]


def test_a_switch_that_takes_its_time_does_not_hide_the_controller_s_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()

    def waits(*_: object, **__: object) -> NoReturn:
        goes_on.wait(30)
        raise httpx.ConnectError("none")

    cluster = config.Cluster(state_dir=tmp_path, dead_man_switch="http://127.0.0.1:1/")
    watchdog = Watchdog(config.Settings(cluster=cluster), None)
    monkeypatch.setattr(httpx, "get", waits)
    with subprocess.Popen(["sleep", "1.2"]) as ending:
        watchdog._outlive(running.child(ending.pid))
    assert not goes_on.is_set()
    goes_on.set()
