"""A controller with buttons in a local Slack, and one node whose GPU can be lost: real processes."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psutil
from local_http import LOCAL

from sentinel.adapters.keys import Keys
from tests.adapters.slack_process import SlackProcess, ids, slack_process, until

GPU = {"index": 0, "uuid": "GPU-1", "pci": "0000:01:00.0"}
STARTS_WITHIN_S = 240.0
"""Three processes of ours, on a crowded machine."""
MORE = """
[job]
world = 0
[policy]
observe_only = false
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@dataclass
class Cluster:
    folder: Path
    slack: SlackProcess
    start: Callable[..., "subprocess.Popen[bytes]"]
    pages: str = ""
    web: int = field(default_factory=free_port)
    reports: int = field(default_factory=free_port)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    kept: dict[str, Any] = field(default_factory=dict)
    """A button that somebody still sees."""

    def __post_init__(self) -> None:
        self.state, self.gpus = self.folder / "state", self.folder / "gpus.json"
        nodes = self.state / "nodes"
        nodes.mkdir(parents=True, mode=0o700)
        self.state.chmod(0o700)
        (nodes / "n1").write_text("address=127.0.0.1\nstate=idle\n")
        self.gpus.write_text(json.dumps({"gpus": [GPU]}))
        where = (
            f"name = 'blue'\nstate_dir = '{self.state}'\nweb_port = {self.web}\nreport_port = {self.reports}"
        )
        pages = f"channel = 'C1'\nbase_url = '{self.slack.api}'\n{self.pages}"
        self.config = self.folder / "sentinel.toml"
        self.config.write_text(f"[cluster]\nbackend = 'file_backend'\n{where}\n[pages]\n{pages}\n{MORE}")
        self.slack.control({"groups": {"oncall": ["U0ANN", "U0BEN"]}})

    def controller(self) -> "subprocess.Popen[bytes]":
        process = self.process = self.start("sentinel.runtime.controller", "--config", str(self.config))
        until(self.answers, STARTS_WITHIN_S)
        return process

    def agent(self) -> None:
        told = f"--controller=tcp://127.0.0.1:{self.reports}", f"--keys={self.state / 'keys'}"
        gpus = f"--gpus=simulated:{self.gpus}", "--kernel-log=none", "--backend=file_backend"
        key = self.state / "keys/nodes/n1.key"
        until(lambda: key.exists(), STARTS_WITHIN_S)
        self.start("sentinel.runtime.agent", "--node=n1", *told, f"--memory={self.folder / 'memory'}", *gpus)
        until(lambda: any(each["gpus"] for each in self.status()["nodes"]), STARTS_WITHIN_S)

    def loses_a_gpu(self) -> dict[str, Any]:
        """Gives its message."""
        self.gpus.write_text(json.dumps({"gpus": [{**GPU, "present": False}]}))
        until(lambda: bool(self.messages()), STARTS_WITHIN_S)
        return self.message()

    def messages(self, channel: str = "C1") -> list[dict[str, Any]]:
        """Those of incidents."""
        found = self.slack.messages(channel)
        return [each for each in found if not each["thread_ts"] and ids(each)[0][:2] == "I-"]

    def message(self) -> dict[str, Any]:
        return self.messages()[0]

    def digests(self) -> list[dict[str, Any]]:
        return [each for each in self.slack.messages() if ids(each)[0].startswith("digest-")]

    def get(self, path: str) -> Any:
        return LOCAL.get(f"http://127.0.0.1:{self.web}/{path}")

    def answers(self) -> bool:
        try:
            return bool(self.get("healthz").is_success)
        except httpx.TransportError:
            return False

    def status(self) -> dict[str, Any]:
        return dict(self.get("api/status").json())

    def metric(self, name: str) -> float:
        [line] = [each for each in self.get("metrics").text.splitlines() if each.startswith(name)]
        return float(line.rpartition(" ")[2])

    def command(self, name: str, **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {Keys(self.state / 'keys').api_token}"}
        url = f"http://127.0.0.1:{self.web}/api/{name}"
        return LOCAL.post(url, json=body, headers=headers)

    # --- people --------------------------------------------------------------------------------------------

    def listens(self) -> None:
        """Waits until Slack has a socket to it."""
        until(lambda: self.slack.sockets()["open"] > 0 and self.buttons("connected") == 1, STARTS_WITHIN_S)

    def button(self, label: str) -> dict[str, Any]:
        found = [each for each in buttons(self.message()) if each["text"]["text"] == label]
        assert found, (label, [each["text"]["text"] for each in buttons(self.message())])
        return found[0]

    def press(self, label: str, user: str = "U0ANN", name: str = "ann") -> dict[str, Any]:
        """Somebody presses a button of the first message; gives the envelope that Slack sends."""
        return self.press_of(self.button(label), user, name)

    def press_of(self, button: dict[str, Any], user: str = "U0ANN", name: str = "ann") -> dict[str, Any]:
        number, message = next(self.numbers), self.message()
        payload = {
            "type": "block_actions",
            "user": {"id": user, "username": name},
            "channel": {"id": message["channel"]},
            "message": {"ts": message["ts"]},
            "trigger_id": f"T{number}",
            "response_url": self.answer_url(number),
            "actions": [{**button, "action_ts": f"1700000000.{number:06d}"}],
        }
        return self.send({"type": "interactive", "envelope_id": f"E{number}", "payload": payload})

    def typed(self, text: str, user: str = "U0ANN", name: str = "ann") -> None:
        """Somebody types `/sentinel TEXT`."""
        number = next(self.numbers)
        payload = {"command": "/sentinel", "text": text, "user_id": user, "user_name": name}
        payload |= {"channel_id": "C1", "response_url": self.answer_url(number)}
        self.send({"type": "slash_commands", "envelope_id": f"E{number}", "payload": payload})

    def form(self) -> dict[str, Any] | None:
        """The form that was opened last."""
        found = [each["view"] for each in self.slack.told() if each["method"] == "views.open"]
        return found[-1] if found else None

    def submits(self, view: dict[str, Any], reason: str, user: str = "U0ANN", name: str = "ann") -> None:
        """Somebody fills a form in."""
        values = {"reason": {"reason": {"type": "plain_text_input", "value": reason}}}
        payload: dict[str, Any] = {"type": "view_submission", "user": {"id": user, "username": name}}
        payload["view"] = {**view, "state": {"values": values}}
        number = next(self.numbers)
        self.send({"type": "interactive", "envelope_id": f"E{number}", "payload": payload})

    def answer_url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.slack.port}/respond/{number}"

    def presses(self, result: str) -> float:
        return self.metric(f'sentinel_slack_presses_total{{cluster="blue",result="{result}"}}')

    def buttons(self, state: str) -> float:
        return self.metric(f'sentinel_slack_buttons{{cluster="blue",state="{state}"}}')

    def link(self) -> psutil.Process:
        """The slack link."""
        [link] = psutil.Process(self.process.pid).children()
        return link

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def send(self, envelope: dict[str, Any]) -> dict[str, Any]:
        self.slack.event(envelope)
        return envelope

    def replies(self) -> list[str]:
        """What people alone were told."""
        return [str(each.get("text", "")) for each in self.slack.told() if each["method"] != "views.open"]

    def hears(self, what: str) -> None:
        until(lambda: any(what in each for each in self.replies()))


def buttons(message: dict[str, Any]) -> list[dict[str, Any]]:
    rows = (block["elements"] for block in message["blocks"] if block["type"] == "actions")
    return [each for row in rows for each in row]


def labels(message: dict[str, Any]) -> list[str]:
    return [each["text"]["text"] for each in buttons(message)]


def shown(message: dict[str, Any]) -> str:
    """All words of a message's blocks."""
    texts = [block["text"]["text"] for block in message["blocks"] if "text" in block]
    texts += [
        each["text"]
        for block in message["blocks"]
        if block["type"] == "context"
        for each in block["elements"]
    ]
    return "\n".join(texts)


@contextmanager
def starter(folder: Path) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    backend = Path(__file__).parents[1] / "backends"
    paths = os.pathsep.join([str(backend), *sys.path])
    env = os.environ | {
        "PYTHONPATH": paths,
        "SENTINEL_PAGES__SLACK_TOKEN": "xoxb-test-token",
    }
    with ExitStack() as ending, (folder / "log").open("w") as log:

        def begin(module: str, *argv: str) -> "subprocess.Popen[bytes]":
            command = [sys.executable, "-P", "-m", module, *argv]
            started = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder)
            ending.callback(started.wait)
            ending.callback(started.terminate)
            return started

        yield begin


APP = """
slack_app_token_file = '{folder}/app-token'
slack_groups = ['oncall']
grafana_url = 'https://grafana.example.org'
digest = '{minute}'

[receivers.team]
kind = 'slack'
token_file = '{folder}/bot-token'
channel = 'C2'
base_url = '{api}'
"""


@contextmanager
def slack_cluster(folder: Path, pages: str = APP) -> Iterator[Cluster]:
    (folder / "app-token").write_text("xapp-test-token\n")
    (folder / "bot-token").write_text("xoxb-test-token\n")
    with slack_process() as slack, starter(folder) as start:
        minute = f"{datetime.now(UTC):%H:%M}"
        yield Cluster(folder, slack, start, pages.format(folder=folder, minute=minute, api=slack.api))
