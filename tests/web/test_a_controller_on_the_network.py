"""A whole controller with few descriptors, and a stranger who can reach its web port."""

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from local_http import LOCAL

from sentinel.adapters.keys import Keys

DESCRIPTORS, STRANGERS = 256, 400
SOON = 60.0


@dataclass
class Running:
    """The controller and where its log lies."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    def get(self, path: str, **more: object) -> httpx.Response:
        return LOCAL.get(f"http://127.0.0.1:{self.port}{path}", timeout=5.0, **more)  # type: ignore[arg-type]

    def tell(self, command: str, **headers: str) -> httpx.Response:
        token = {"Authorization": f"Bearer {Keys(self.folder / 'keys').api_token}"}
        url = f"http://127.0.0.1:{self.port}/api/{command}"
        return LOCAL.post(url, json={}, headers={**token, **headers}, timeout=5.0)

    def descriptors(self) -> list[Path]:
        return list(Path(f"/proc/{self.process.pid}/fd").iterdir())

    def answers(self) -> bool:
        try:
            return self.get("/healthz").is_success
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("controller")
    folder.chmod(0o700)
    with ExitStack() as listeners:
        taken = [listeners.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        report_port, web_port = (listener.getsockname()[1] for listener in taken)
    file = folder / "sentinel.toml"
    ports = f"report_port = {report_port}\nweb_port = {web_port}\n"
    job = "[job]\nworld = 0\n[ray]\naddress = '127.0.0.1:1'\n"
    file.write_text(f"[cluster]\nstate_dir = '{folder}'\n{ports}{job}")
    argv = [sys.executable, "-m", "sentinel.runtime.controller", "--config", str(file)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, preexec_fn=few_descriptors)
    running = Running(process, web_port, folder)
    try:
        until(running)
        yield running
    finally:
        process.terminate()
        assert process.wait(SOON) == 0


def few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


def until(running: Running) -> None:
    deadline = time.monotonic() + SOON
    while not running.answers():
        assert running.process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_idle_connections_keep_nobody_out_and_write_no_thousands_of_lines(controller: Running) -> None:
    before = len((controller.folder / "log").read_text().splitlines())
    with ExitStack() as visits:
        for _ in range(STRANGERS):
            visits.enter_context(closing(socket.create_connection(("127.0.0.1", controller.port), 5.0)))
        assert controller.answers()
        assert controller.get("/logbook").is_success
        assert controller.tell("stop-actions").is_success
        assert len(controller.descriptors()) < DESCRIPTORS - 32
    assert len((controller.folder / "log").read_text().splitlines()) - before < 50


def test_a_report_tells_until_this_moment(controller: Running) -> None:
    first, then = (controller.get("/api/report?since=10m").json() for _ in range(2))
    assert 0.0 < first["watched"] < then["watched"] < 1.0
    assert "GPU-days watched" in controller.get("/report").text
    assert controller.get("/node/n1").status_code == 404


@pytest.mark.parametrize("query", ["a " * 30_000, "a" * 60_000, "%20a" * 15_000])
def test_a_long_search_is_refused(controller: Running, query: str) -> None:
    with suppress(httpx.ReadError):  # to hang up on what it won't read may be faster than its answer
        assert controller.get(f"/logbook?q={query}").status_code in (400, 414)
    assert controller.answers()


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7800",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "a b",
        "[::2]",
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/status", "/logbook", "/metrics", "/static/style.css"])
def test_a_foreign_name_is_not_served(controller: Running, host: str, path: str) -> None:
    refused = controller.get(path, headers={"Host": host})
    assert refused.status_code in (400, 421)
    assert len(refused.text.splitlines()) == 1
    assert "evil" not in refused.headers.get("location", "")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "LOCALHOST.", "[::1]:80", socket.gethostname()])
def test_its_own_names_are_served(controller: Running, host: str) -> None:
    assert controller.get("/", headers={"Host": host}).is_success


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
    ids=str,
)
def test_a_command_from_another_site_is_refused_though_its_token_is_right(
    controller: Running, headers: dict[str, str]
) -> None:
    refused = controller.tell("stop-actions", **headers)
    assert refused.status_code in (403, 421)
    assert list(refused.json()) == ["error"]


def test_a_command_of_its_own_page_or_of_no_page_is_taken(controller: Running) -> None:
    own = f"http://127.0.0.1:{controller.port}"
    assert controller.tell("stop-actions").is_success
    assert controller.tell("stop-actions", Origin=own).is_success
    assert controller.tell("stop-actions", Origin=own, **{"Sec-Fetch-Site": "same-origin"}).is_success
    assert controller.tell("resume-actions", **{"Sec-Fetch-Site": "none"}).is_success
