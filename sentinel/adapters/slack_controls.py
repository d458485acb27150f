"""What people can press below a message in Slack, what it says of presses, and what a press carries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from sentinel.adapters.page_channel import Sender
from sentinel.model.action import Page
from sentinel.model.judgement import NOT_CAUSE, NOT_NODE

PREFIX = "sentinel-"
"""How the action ids of our buttons begin; what follows is a command."""
ASKS_WHY = {NOT_NODE: "Not this node", NOT_CAUSE: "Not this cause"}
"""Commands that need a reason, with the title of the form that asks for it."""
FORM = "sentinel-reason"
REASON_CHARS, TITLE_CHARS = 500, 140
"""A command's reason; what the form shows of the message."""
_LABEL_CHARS, _ID_CHARS = 75, 255


@dataclass(frozen=True, slots=True)
class Button:
    """One command that makes sense now."""

    command: str
    label: str
    target: str = ""
    style: str = ""
    """`primary`, `danger` or empty."""
    confirm: str = ""
    """What is asked before it is done; empty for nothing."""


@dataclass(frozen=True, slots=True)
class Controls:
    """What stands below a message beside the page itself."""

    buttons: Sequence[Button] = ()
    said: Sequence[str] = ()
    """What people did that the page does not say, a line each."""


ControlsOf: TypeAlias = Callable[[Page], Controls]


class Carried(msgspec.Struct, frozen=True):
    """What a button carries: a message may be old, and of another cluster's app."""

    cluster: str
    journal: str
    incident: str
    command: str
    target: str = ""


class Form(msgspec.Struct, frozen=True):
    """What a form carries: the button that opened it, and where to answer."""

    carried: Carried
    channel: str


def blocks(controls: Controls, page: Page, sender: Sender) -> list[dict[str, Any]]:
    """Give the buttons in Block Kit; none for no buttons."""
    elements = [_element(each, page, sender) for each in controls.buttons]
    return [{"type": "actions", "block_id": "sentinel", "elements": elements}] if elements else []


def _element(button: Button, page: Page, sender: Sender) -> dict[str, Any]:
    carried = Carried(sender.cluster, sender.journal, page.incident, button.command, button.target)
    element: dict[str, Any] = {
        "type": "button",
        "action_id": f"{PREFIX}{button.command}{button.target and f'/{button.target}'}"[:_ID_CHARS],
        "text": _plain(button.label[:_LABEL_CHARS]),
        "value": msgspec.json.encode(carried).decode(),
    }
    if button.style:
        element["style"] = button.style
    if button.confirm:
        element["confirm"] = {
            "title": _plain(button.label[:_LABEL_CHARS]),
            "text": _plain(button.confirm),
            "confirm": _plain("Yes"),
            "deny": _plain("No"),
        }
    return element


def read(value: Any) -> Carried | None:
    """Read what a button carries; None if it is none of ours."""
    try:
        return msgspec.json.decode(value, type=Carried) if isinstance(value, str) else None
    except msgspec.MsgspecError:
        return None


def read_form(value: Any) -> Form | None:
    """Read what a form carries; None if it is none of ours."""
    try:
        return msgspec.json.decode(value, type=Form) if isinstance(value, str) else None
    except msgspec.MsgspecError:
        return None


def form(carried: Carried, channel: str) -> dict[str, Any]:
    """Give the view that asks for a reason."""
    blames = f": {carried.target}" if carried.target else ""
    return {
        "type": "modal",
        "callback_id": FORM,
        "private_metadata": msgspec.json.encode(Form(carried, channel)).decode(),
        "title": _plain(ASKS_WHY[carried.command]),
        "submit": _plain("Say so"),
        "close": _plain("Cancel"),
        "blocks": [
            {"type": "section", "text": _plain(f"{carried.incident}{blames}"[:TITLE_CHARS])},
            {
                "type": "input",
                "block_id": "reason",
                "label": _plain("What was it, and how do you know?"),
                "element": {
                    "type": "plain_text_input",
                    "action_id": "reason",
                    "multiline": True,
                    "min_length": 1,
                    "max_length": REASON_CHARS,
                },
            },
        ],
    }


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}
