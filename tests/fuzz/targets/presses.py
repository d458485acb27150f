"""What comes over Slack's socket: an envelope, down to the command that a press becomes."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from slack_sdk.socket_mode.request import SocketModeRequest

from sentinel.adapters import slack_controls
from sentinel.adapters.page_channel import Sender
from sentinel.adapters.slack_api import SlackError
from sentinel.adapters.slack_controls import Button, Controls
from sentinel.adapters.slack_socket import Socket
from sentinel.model.action import Page
from sentinel.model.ids import ActionId, IncidentId
from sentinel.runtime.slack_presses import PRESSABLE, WHO_CHARS, Controller, Presses

SENDER = Sender("blue", "http://head", "j1")
PAGE = Page(ActionId("I-1/page/on-call/1"), IncidentId("I-1"), 1, "title", "body", "open", cause="gpu-lost")


def seeds() -> Iterator[bytes]:
    """What Slack sends of each kind."""
    user = {"id": "U1", "username": "ann"}
    for command in ("ack", "silence", "not-node"):
        [block] = slack_controls.blocks(Controls([Button(command, "x", "n1")]), PAGE, SENDER)
        pressed = {"type": "block_actions", "user": user, "channel": {"id": "C1"}, "trigger_id": "T"}
        pressed["actions"] = [{**block["elements"][0], "action_ts": "1.1"}]
        yield _envelope("interactive", pressed)
        carried = slack_controls.read(block["elements"][0]["value"])
        assert carried is not None
    view = {**slack_controls.form(carried, "C1"), "state": {"values": {"reason": {"reason": {"value": "x"}}}}}
    yield _envelope("interactive", {"type": "view_submission", "user": user, "view": view})
    yield _envelope("slash_commands", {"user_id": "U1", "user_name": "ann", "text": "status"})


def _envelope(kind: str, payload: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "envelope_id": "E1", "payload": payload}).encode()


class Door(Controller):
    """In the place of the controller's API: what it is told has to be what a button is for."""

    told: ClassVar[list[str]] = []

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        assert (method, path) == ("GET", "answer") or (method == "POST" and path in PRESSABLE), path
        assert len((body or {}).get("who", "")) <= WHO_CHARS
        self.told.append(path)
        return 200, {"done": path, "cluster": "blue", "headline": "All is well", "details": []}


class Silent:
    """In the place of Slack's API, and of its groups."""

    def call(self, method: str, **_: Any) -> Any:
        raise SlackError("not here")

    def may_press(self, user: str, within: float) -> bool:
        return user == "U1"


@contextmanager
def opened(folder: Path) -> Iterator[Callable[[bytes], bool]]:
    """Hear one envelope after the other; accepted is what became a command."""
    silent: Any = Silent()
    presses = Presses(Door("127.0.0.1", 1, "token", "blue", "j1"), silent, silent, lambda *_: None)
    socket = Socket("xapp-test", "http://127.0.0.1:1/api/", presses.hear, lambda _: None)
    client = type("Client", (), {"send_socket_mode_response": lambda *_: None})()

    def take(data: bytes) -> bool:
        Door.told.clear()
        socket._known.clear()
        try:
            message = msgspec.json.decode(data)
            request = SocketModeRequest.from_dict(message) if isinstance(message, dict) else None
        except (ValueError, RecursionError):  # the library logs it, and goes on
            return False
        if request is not None:
            socket._listen(client, request)
        return bool(Door.told)

    yield take
