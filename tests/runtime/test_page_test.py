"""`sentinel page-test`: who would be reached is tried, not believed."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sentinel.cli import app
from tests.adapters.annotation_server import TOKEN, serving
from tests.adapters.slack_process import slack_process


class Hook(HTTPServer):
    """Takes pages at /takes, refuses them at /refuses, and at /once takes the first alone."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taker)
        self.taken: list[tuple[str, dict[str, Any]]] = []


class Taker(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        refused = self.path == "/refuses" or (self.path == "/once" and said["event"] != "page")
        if not refused:
            self.server.taken.append((self.path, said))
        self.send_response(403 if refused else 204)
        self.end_headers()


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def page_test(root: Path, more: str) -> tuple[int, list[list[str]], str]:
    """Run it; gives exit code, rows of its table, and all it printed."""
    (root / "sentinel.toml").write_text(f"[cluster]\nname = 'blue'\nstate_dir = '{root}/state'\n{more}")
    said = CliRunner().invoke(app, ["page-test", "--config", str(root / "sentinel.toml")])
    lines = [line for line in said.stdout.splitlines() if line.startswith("│")]
    return said.exit_code, [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines], said.output


def test_each_receiver_is_told_and_the_page_is_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: Hook
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    url = f"http://127.0.0.1:{hook.server_port}"
    names = {"one": "takes", "two": "refuses", "three": "once"}
    more = "".join(
        f"[receivers.{name}]\nkind = 'webhook'\nurl = '{url}/{path}'\ncauses = ['gpu-*']\n"
        for name, path in names.items()
    )
    code, rows, _ = page_test(tmp_path, more)
    assert (code, rows) == (
        1,
        [
            ["on-call", "file:pages.log", "arrived", "-"],
            ["one", "webhook:one", "arrived", "-"],
            ["two", "webhook:two", "NOT DELIVERED", "HTTP 403"],
            ["three", "webhook:three", "arrived, but can't be edited", "HTTP 403"],
        ],
    )
    events = [(said["event"], said["stage"]) for path, said in hook.taken if path == "/takes"]
    assert events == [("page", "open"), ("resolve", "resolved")]
    titles = {said["title"].split(" blue: ")[1] for _, said in hook.taken}
    assert titles == {"Test page: nothing is wrong"}


def test_without_any_receiver_it_is_said_that_nobody_is_woken(tmp_path: Path) -> None:
    code, rows, output = page_test(tmp_path, "")
    assert (code, len(rows)) == (0, 1)
    assert "give a Slack token, or [receivers.NAME]" in output


@pytest.mark.parametrize(
    "key", ["channel = '#ops'", "base_url = 'http://127.0.0.1:1/'", "fallback_channel = '#b'"]
)
def test_a_slack_channel_without_a_token_here_is_said_not_to_be_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """That the page arrived in a file says nothing of the channel that people read."""
    monkeypatch.setenv("COLUMNS", "200")
    code, rows, _ = page_test(tmp_path, f"[pages]\n{key}\n")
    first, *_, last = rows
    assert (code, first[2], last[1:3]) == (1, "NOT TRIED", ["file:pages.log", "arrived"])
    assert first[1].startswith("slack:#")
    assert "SENTINEL_PAGES__SLACK_TOKEN" in first[3]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (
            "[routes.a]\ncauses = ['gpu-lst']\n",
            "routes.a.causes: matches nothing: no runbook's cause is like",
        ),
        ("[pages]\noncall_file = '/no/such'\n", "pages.oncall_file: No such file or directory: /no/such"),
    ],
)
def test_what_is_wrong_with_who_is_told_is_told_before_anybody_is(
    tmp_path: Path, more: str, why: str
) -> None:
    code, rows, output = page_test(tmp_path, more)
    assert (code, rows) == (2, [])
    assert why in output
    assert not (tmp_path / "state" / "pages.log").exists()


@pytest.mark.parametrize(
    ("order", "row"),
    [
        ({}, ["on-call", "slack buttons", "arrived", "-"]),
        (
            {"refuse": {"apps.connections.open": "token_expired"}},
            ["on-call", "slack buttons", "NOT DELIVERED", "token_expired"],
        ),
        (
            {"groups": {"oncall": ["U1"]}, "refuse": {"usergroups.list": "missing_scope"}},
            ["on-call", "slack buttons", "NOT DELIVERED", "missing_scope"],
        ),
    ],
)
def test_slack_is_asked_whether_buttons_would_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: dict[str, Any], row: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("SENTINEL_PAGES__SLACK_TOKEN", "xoxb-test-token")
    monkeypatch.setenv("SENTINEL_PAGES__SLACK_APP_TOKEN", "xapp-test-token")
    with slack_process() as slack:
        slack.control({"groups": {"oncall": ["U1"]}}, order)
        more = f"[pages]\nchannel = 'C1'\nbase_url = '{slack.api}'\nslack_groups = ['oncall']\n"
        code, rows, output = page_test(tmp_path, more)
    assert row in rows
    assert code == bool(order)
    assert "xapp-test" not in output


def test_an_annotation_is_tried_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with serving() as grafana:
        more = f"[pages]\ngrafana_url = '{grafana.url}'\n"
        for token, row in (
            (TOKEN, ["annotations", "grafana", "arrived", "-"]),
            ("glsa_wrong", ["annotations", "grafana", "NOT DELIVERED"]),
        ):
            monkeypatch.setenv("SENTINEL_PAGES__GRAFANA_TOKEN", token)
            _, rows, said = page_test(tmp_path, more)
            [found] = [each for each in rows if each[0] == "annotations"]
            assert found[: len(row)] == row
        assert "pages.grafana_token is not accepted" in said
        [made] = grafana.there.values()
        assert made["timeEnd"] == made["time"]
