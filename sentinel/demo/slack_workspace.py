"""The local Slack server's state: messages as they stand, requests as they came, behaviour as scripted."""

import itertools
import json
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sentinel.demo.slack_sockets import Sockets

MODES = ("ok", "429", "500", "error", "silent", "hold-reply", "drop-reply")
HELD_S = 60.0
"""How long an unanswered request is kept open unless the mode changes."""


@dataclass(frozen=True)
class Behaviour:
    """What becomes of the next requests; a request is `applied` in modes ok, hold-reply and drop-reply."""

    mode: str = "ok"
    times: int = -1
    """How many requests; -1 until told otherwise."""
    retry_after: float = 1.0
    """Seconds, sent with 429."""
    error: str = "channel_not_found"
    """Slack's code, sent in mode `error`."""


@dataclass
class Message:
    """One message or thread reply as it stands now, and how it came to be."""

    channel: str
    ts: str
    order: int
    at: float
    text: str
    blocks: list[Any]
    metadata: dict[str, Any]
    thread_ts: str = ""
    edits: list[dict[str, Any]] = field(default_factory=list)
    """Older first: text and metadata after each edit, its order and time."""


class Workspace:
    """Messages, the requests that brought them, and the script of misbehaviour. Thread-safe."""

    def __init__(self, log: Path | None, seconds_per_post: float) -> None:
        self.messages: list[Message] = []
        self.requests: list[dict[str, Any]] = []
        self.changed = threading.Condition()
        self._script = [Behaviour()]
        self._order = itertools.count(1)
        self._log = log
        self._seconds_per_post = seconds_per_post
        self._last_post: dict[str, float] = {}
        self._ids: dict[str, str] = {}
        self.sockets = Sockets()
        self.told: list[dict[str, Any]] = []
        """What people alone were told, and the forms that were opened for them."""
        self.address = ""
        """`host:port` of the server."""
        self._groups: dict[str, list[str]] = {}
        self._refuses: dict[str, str] = {}

    def arrange(self, order: dict[str, Any]) -> None:
        """Take out of an order what is about people and the socket.

        `groups`: handle → users; `refuse`: method → Slack's error, empty for none any more; `drop`: all
        sockets are closed; `mute`: whether they answer no ping.
        """
        with self.changed:
            self._groups.update(order.pop("groups", {}))
            self._refuses.update(order.pop("refuse", {}))
        self.sockets.mute = order.pop("mute", self.sockets.mute)
        if order.pop("drop", False):
            self.sockets.drop()

    def tell(self, method: str, form: dict[str, Any]) -> None:
        """Keep what somebody was told."""
        with self.changed:
            self.told.append({"method": method, **form})

    def control(self, script: list[Behaviour], seconds_per_post: float | None) -> None:
        """Follow this script from now on; unanswered requests are let go."""
        with self.changed:
            self._script = [*script, Behaviour()]
            if seconds_per_post is not None:
                self._seconds_per_post = seconds_per_post
            self.changed.notify_all()

    def receive(self, method: str, form: dict[str, Any]) -> tuple[Behaviour, dict[str, Any]]:
        """Decide how to behave and do it: (behaviour, answer)."""
        with self.changed:
            behaviour = self._refused(method) or self._crowded(method, form) or self._next()
            applied = behaviour.mode in ("ok", "hold-reply", "drop-reply")
            answer = self._apply(method, form) if applied else {"ok": False, "error": behaviour.error}
            self._note(method, form, behaviour, answer)
        return behaviour, answer

    def _refused(self, method: str) -> Behaviour | None:
        error = self._refuses.get(method)
        return Behaviour("error", 1, error=error) if error else None

    def hold(self) -> None:
        """Keep a request unanswered until the script changes."""
        with self.changed:
            self.changed.wait(HELD_S)

    def _next(self) -> Behaviour:
        now = self._script[0]
        if now.times > 0:
            rest = [Behaviour(**{**asdict(now), "times": now.times - 1})] if now.times > 1 else []
            self._script[:1] = rest
        return now

    def _crowded(self, method: str, form: dict[str, Any]) -> Behaviour | None:
        if method != "chat.postMessage" or not self._seconds_per_post:
            return None
        channel, now = str(form.get("channel", "")), time.monotonic()
        wait = self._last_post.get(channel, -1e9) + self._seconds_per_post - now
        if wait > 0:
            return Behaviour("429", 1, float(int(wait) + 1))
        self._last_post[channel] = now
        return None

    def _note(self, method: str, form: dict[str, Any], behaviour: Behaviour, answer: dict[str, Any]) -> None:
        entry = {
            "at": time.time(),
            "method": method,
            "mode": behaviour.mode,
            "ok": bool(answer["ok"]),
            "metadata": form.get("metadata"),
        }
        self.requests.append(entry)
        if self._log is not None:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**entry, "text": form.get("text")}, ensure_ascii=False) + "\n")

    def _apply(self, method: str, form: dict[str, Any]) -> dict[str, Any]:
        if method != "chat.postMessage" and str(form.get("channel")).startswith("#"):
            return refusal("channel_not_found")  # Slack takes a name for a post only
        match method:
            case "conversations.list":
                return {"ok": True, "channels": [{"id": i, "name": name} for name, i in self._ids.items()]}
            case "auth.test":
                return {"ok": True, "team": "demo", "user": "sentinel", "bot_id": "B1"}
            case "apps.connections.open":
                return {"ok": True, "url": f"ws://{self.address}/link?ticket=secret"}
            case "usergroups.list":
                found = [{"id": f"S-{name.upper()}", "handle": name} for name in self._groups]
                return {"ok": True, "usergroups": found}
            case "usergroups.users.list":
                group = str(form.get("usergroup", "")).removeprefix("S-").lower()
                return {"ok": True, "users": self._groups.get(group, [])}
            case "chat.postEphemeral" | "views.open":
                self.told.append({"method": method, **form})
                return {"ok": True}
            case "chat.postMessage":
                return self._post(form)
            case "chat.update":
                return self._update(form)
            case "conversations.history":
                return self._listed(form, [m for m in self._in(form) if not m.thread_ts])
            case "conversations.replies":
                thread = [m for m in self._in(form) if form.get("ts") in (m.ts, m.thread_ts)]
                return self._listed(form, thread[::-1]) if thread else refusal("thread_not_found")
        return refusal("unknown_method")

    def _post(self, form: dict[str, Any]) -> dict[str, Any]:
        if problem := _too_long(form):
            return refusal(problem)
        order = next(self._order)
        message = Message(
            channel=self._id(str(form["channel"])),
            ts=f"{int(time.time())}.{order:06d}",
            order=order,
            at=time.time(),
            text=str(form.get("text", "")),
            blocks=form.get("blocks") or [],
            metadata=form.get("metadata") or {},
            thread_ts=str(form.get("thread_ts") or ""),
        )
        self.messages.append(message)
        return {"ok": True, "channel": message.channel, "ts": message.ts, "message": {"text": message.text}}

    def _id(self, channel: str) -> str:
        """Give a channel's id; one that is posted to by a new name exists from then on."""
        if not channel.startswith("#"):
            return channel
        return self._ids.setdefault(channel[1:], f"C-{channel[1:].upper()}")

    def _update(self, form: dict[str, Any]) -> dict[str, Any]:
        found = [m for m in self._in(form) if m.ts == form.get("ts")]
        if not found or _too_long(form):
            return refusal(_too_long(form) or "message_not_found")
        message = found[0]
        message.text = str(form.get("text", ""))
        message.blocks = form.get("blocks") or []
        message.metadata = form.get("metadata") or message.metadata
        edit = {"order": next(self._order), "at": time.time()}
        message.edits.append({**edit, "text": message.text, "metadata": message.metadata})
        return {"ok": True, "channel": message.channel, "ts": message.ts, "text": message.text}

    def _in(self, form: dict[str, Any]) -> list[Message]:
        return [m for m in self.messages if m.channel == form.get("channel")]

    def _listed(self, form: dict[str, Any], found: list[Message]) -> dict[str, Any]:
        """Newest first, in pages, with metadata only when asked for: as Slack does."""
        oldest, limit = float(form.get("oldest") or 0), int(form.get("limit") or 100)
        start = int(form.get("cursor") or 0)
        recent = [m for m in reversed(found) if float(m.ts) > oldest]
        with_metadata = str(form.get("include_all_metadata", "0")).lower() in ("1", "true")
        page = [
            {
                "type": "message",
                "ts": m.ts,
                "text": m.text,
                **({"metadata": m.metadata} if with_metadata else {}),
            }
            for m in recent[start : start + limit]
        ]
        more = str(start + limit) if len(recent) > start + limit else ""
        return {
            "ok": True,
            "messages": page,
            "has_more": bool(more),
            "response_metadata": {"next_cursor": more},
        }


def refusal(code: str) -> dict[str, Any]:
    """Slack's answer to what it will not do."""
    return {"ok": False, "error": code}


def _too_long(form: dict[str, Any]) -> str:
    texts = [block["text"]["text"] for block in form.get("blocks") or [] if "text" in block]
    if any(len(text) > 3000 for text in texts) or len(texts) > 50:
        return "invalid_blocks"
    return "msg_too_long" if len(str(form.get("text", ""))) > 40_000 else ""
