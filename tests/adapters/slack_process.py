"""The local Slack server as a real process, and what the tests ask of it."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from sentinel.model.action import Page
from sentinel.model.ids import ActionId, IncidentId


@dataclass
class SlackProcess:
    port: int
    http: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False, verify=False, timeout=5))

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"

    def control(self, *script: dict[str, Any]) -> None:
        self.http.post(f"http://127.0.0.1:{self.port}/control", json=list(script)).raise_for_status()

    def messages(self, channel: str = "C1") -> list[dict[str, Any]]:
        found = self.http.get(f"http://127.0.0.1:{self.port}/messages").json()
        return [message for message in found if message["channel"] == channel]

    def event(self, envelope: dict[str, Any]) -> None:
        """Send an envelope over Socket Mode."""
        answer = self.http.post(f"http://127.0.0.1:{self.port}/event", json=envelope)
        assert answer.json()["ok"], "no socket is open"

    def told(self) -> list[dict[str, Any]]:
        """What people alone were told, and the forms that were opened."""
        return list(self.http.get(f"http://127.0.0.1:{self.port}/told").json())

    def sockets(self) -> dict[str, Any]:
        return dict(self.http.get(f"http://127.0.0.1:{self.port}/sockets").json())

    def requests(self) -> list[dict[str, Any]]:
        return list(self.http.get(f"http://127.0.0.1:{self.port}/requests").json())


@contextmanager
def slack_process(*options: str) -> Iterator[SlackProcess]:
    command = [sys.executable, "-m", "sentinel.demo.slack_server", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield SlackProcess(int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


def page(
    incident: str, revision: int, stage: str = "open", thread: str = "", body: str = "GPU 3 lost"
) -> Page:
    return Page(
        id=ActionId(f"{incident}/page/{revision}/0"),
        incident=IncidentId(incident),
        revision=revision,
        title=f"gpu-off-bus on node-7 r{revision}",
        body=body,
        stage=stage,
        thread=thread,
    )


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition never came true"
        time.sleep(0.02)


def ids(message: dict[str, Any]) -> tuple[str, int]:
    payload = message["metadata"]["event_payload"]
    return payload["incident"], payload["revision"]


def opened(messages: list[dict[str, Any]]) -> list[str]:
    return [ids(message)[0] for message in messages if not message["thread_ts"]]


def details(messages: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [ids(message) for message in messages if message["thread_ts"]]
