"""The command line: what it asks of the controller, and that every error is one line."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from sentinel.adapters.keys import ensure_keys
from sentinel.cli import app
from sentinel.logbook.recording import write
from sentinel.model.fact import NodeJoined
from sentinel.model.ids import IncidentId, NodeId
from sentinel.model.journal import Line, Recording


class Controller(BaseHTTPRequestHandler):
    """A server that answers as the controller's API does."""

    asked: ClassVar[list[tuple[str, str, Any]]] = []
    token = ""

    def _reply(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.headers["Authorization"] != f"Bearer {self.token}":
            self._reply(401, {"detail": "wrong token"})
        else:
            self._reply(200, {"frozen": "", "nodes": [{"node": "n1", "health": "[ok]"}], "jobs": []})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers["Authorization"], body))
        unknown = body["target"] == "n9"
        self._reply(400 if unknown else 200, {"detail": "no node 'n9': known are n1"} if unknown else {})

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Controller]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Controller)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    file = tmp_path / "sentinel.toml"
    file.write_text(f"[cluster]\nstate_dir = '{tmp_path}'\nweb_port = {server.server_address[1]}\n")
    monkeypatch.setenv("SENTINEL_CONFIG", str(file))
    Controller.token = ensure_keys(tmp_path / "keys").api_token
    Controller.asked.clear()
    yield Controller
    server.shutdown()
    server.server_close()


def test_status_shows_what_the_controller_says(controller: type[Controller]) -> None:
    result = CliRunner().invoke(app, ["status"])
    assert result.exit_code == 0
    assert "n1" in result.stdout
    assert "[ok]" in result.stdout
    assert json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)["nodes"][0]["node"] == "n1"


@pytest.mark.parametrize(
    ("words", "path", "target"),
    [
        pytest.param(["ack", "i-1"], "ack", "i-1", id="ack"),
        pytest.param(["drain", "n1"], "drain", "n1", id="drain"),
        pytest.param(["undrain", "n1"], "undrain", "n1", id="undrain"),
        pytest.param(["silence", "gpu-lost", "--until", "30m"], "silence", "gpu-lost", id="silence"),
        pytest.param(["stop-actions"], "stop-actions", "", id="stop-actions"),
        pytest.param(["resume-actions"], "resume-actions", "", id="resume-actions"),
    ],
)
def test_a_command_reaches_the_controller_with_token_and_reason(
    controller: type[Controller], words: list[str], path: str, target: str
) -> None:
    result = CliRunner().invoke(app, [*words, "--reason", "because"])
    assert result.exit_code == 0, result.output
    [(asked, authorization, body)] = controller.asked
    assert (asked, authorization) == (f"/api/{path}", f"Bearer {controller.token}")
    assert (body["target"], body["reason"]) == (target, "because")
    assert body["who"]
    assert (body["until"] > 0) == (path == "silence")


def test_a_refusal_is_told_with_its_reason(controller: type[Controller]) -> None:
    result = CliRunner().invoke(app, ["drain", "n9"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "sentinel: the controller refuses (400): no node 'n9': known are n1\n"


def _recording(directory: Path) -> Path:
    fact = NodeJoined(1.0, NodeId("n1"), "127.0.0.1", 1, 1, "boot")
    lines = (Line(1, fact, (), "p", "r"),)
    file = directory / "recording.jsonl"
    file.write_text(write(Recording(IncidentId("i-1"), 0, None, None, lines)))
    return file


def test_replay_runs_a_recording_through_the_fold(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["replay", str(_recording(tmp_path))])
    assert result.exit_code == 0, result.output
    assert "NodeJoined" in result.stdout
    assert "1 facts, 0 differences" in result.stdout


def sentinel(*words: str, where: Path) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SENTINEL_")}
    return subprocess.run(
        [sys.executable, "-m", "sentinel.cli", *words],
        cwd=where,
        env={**kept, "PYTHONPATH": str(root), "SENTINEL_CLUSTER__STATE_DIR": str(where / "state")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        pytest.param(["nope"], 2, "No such command 'nope'", id="unknown command"),
        pytest.param(["ack"], 2, "Missing argument", id="missing argument"),
        pytest.param(["demo", "--nodes", "many"], 2, "--nodes", id="wrong number"),
        pytest.param(["silence", "n1", "--until", "soon"], 2, "such as 30m", id="wrong duration"),
        pytest.param(["--config", "none.toml", "config"], 2, "none.toml: cannot be read", id="no such file"),
        pytest.param(["--config", "bad.toml", "status"], 2, "did you mean 'world'?", id="unknown key"),
        pytest.param(["status"], 1, "api.token", id="no controller was ever here"),
        pytest.param(["replay", "none.jsonl"], 1, "none.jsonl: No such file", id="no recording"),
        pytest.param(["replay", "bad.toml"], 1, "bad.toml", id="not a recording"),
    ],
)
def test_an_error_is_one_line_and_no_traceback(
    tmp_path: Path, words: list[str], code: int, says: str
) -> None:
    (tmp_path / "bad.toml").write_text("[job]\nwrold = 3\n")
    ended = sentinel(*words, where=tmp_path)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_no_controller_at_the_port_is_one_line(tmp_path: Path) -> None:
    ensure_keys(tmp_path / "state" / "keys")
    (tmp_path / "sentinel.toml").write_text("[cluster]\nweb_port = 1\n")
    ended = sentinel("status", where=tmp_path)
    assert ended.returncode == 1
    assert "no controller answers at http://127.0.0.1:1/api/status" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, sentinel.cli\n"
        "heavy = {'ray', 'torch', 'pydantic', 'httpx', 'zmq', 'fastapi'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": root}, check=True)
    assert sentinel("--help", where=tmp_path).returncode == 0


def test_config_lists_every_setting(tmp_path: Path) -> None:
    ended = sentinel("config", "--markdown", where=tmp_path)
    assert ended.returncode == 0
    assert "| `job.world` | `2` |" in ended.stdout


def test_the_manual_lists_every_command() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    table = manual.partition("## Commands")[2].partition("## When a part dies")[0]
    told = set(re.findall(r"^\| `sentinel ([a-z-]+)", table, re.MULTILINE))
    known = {each.name or each.callback.__name__ for each in app.registered_commands if each.callback}
    assert told == known


@pytest.mark.parametrize(
    ("gpu", "code", "shown"),
    [
        pytest.param({"index": 0}, 0, "nothing found", id="healthy"),
        pytest.param({"index": 0, "present": False}, 1, "critical", id="a lost gpu"),
    ],
)
def test_check_exits_1_on_a_critical_finding(
    tmp_path: Path, gpu: dict[str, Any], code: int, shown: str
) -> None:
    file = tmp_path / "gpus.json"
    whole = {"uuid": "GPU-1", "present": True, "ecc_uncorrectable": 0, "remap_failed": False, **gpu}
    file.write_text(json.dumps({"gpus": [whole]}))
    result = CliRunner().invoke(app, ["check", "gpu", "--gpus", f"simulated:{file}"])
    assert (result.exit_code, shown in result.stdout) == (code, True), result.output


def test_an_unknown_check_is_refused_with_the_known_ones() -> None:
    result = CliRunner().invoke(app, ["check", "nope"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "known are gpu" in result.stderr
