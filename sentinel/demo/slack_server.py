"""A local server that speaks the part of Slack's Web API that pages need, and misbehaves on request."""

import argparse
import itertools
import json
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

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
            behaviour = self._crowded(method, form) or self._next()
            applied = behaviour.mode in ("ok", "hold-reply", "drop-reply")
            answer = self._apply(method, form) if applied else {"ok": False, "error": behaviour.error}
            self._note(method, form, behaviour, answer)
        return behaviour, answer

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
        match method:
            case "auth.test":
                return {"ok": True, "team": "demo", "user": "sentinel", "bot_id": "B1"}
            case "chat.postMessage":
                return self._post(form)
            case "chat.update":
                return self._update(form)
            case "conversations.history":
                return self._listed(form, [m for m in self._in(form) if not m.thread_ts])
            case "conversations.replies":
                thread = [m for m in self._in(form) if form.get("ts") in (m.ts, m.thread_ts)]
                return self._listed(form, thread[::-1]) if thread else _error("thread_not_found")
        return _error("unknown_method")

    def _post(self, form: dict[str, Any]) -> dict[str, Any]:
        if problem := _too_long(form):
            return _error(problem)
        order = next(self._order)
        message = Message(
            channel=str(form["channel"]),
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

    def _update(self, form: dict[str, Any]) -> dict[str, Any]:
        found = [m for m in self._in(form) if m.ts == form.get("ts")]
        if not found or _too_long(form):
            return _error(_too_long(form) or "message_not_found")
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


def _error(code: str) -> dict[str, Any]:
    return {"ok": False, "error": code}


def _too_long(form: dict[str, Any]) -> str:
    texts = [block["text"]["text"] for block in form.get("blocks") or [] if "text" in block]
    if any(len(text) > 3000 for text in texts) or len(texts) > 50:
        return "invalid_blocks"
    return "msg_too_long" if len(str(form.get("text", ""))) > 40_000 else ""


class Handler(BaseHTTPRequestHandler):
    """Routes of one request."""

    server: "SlackServer"

    def do_GET(self) -> None:
        """`/messages` and `/requests`: what arrived, in order."""
        space = self.server.workspace
        with space.changed:
            answers: dict[str, Any] = {
                "/messages": [asdict(message) for message in space.messages],
                "/requests": list(space.requests),
            }
        self._answer(200 if self.path in answers else 404, answers.get(self.path, _error("not_found")))

    def do_POST(self) -> None:
        """`/control` scripts the behaviour; `/api/METHOD` is Slack's."""
        try:
            form = self._form()
            if self.path == "/control":
                self._answer(*self._control(form))
            elif not self.headers.get("Authorization", "").startswith("Bearer "):
                self._answer(200, _error("not_authed"))
            else:
                self._behave(self.path.removeprefix("/api/").partition("?")[0], form)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has given up

    def _form(self) -> Any:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "json" in self.headers.get("Content-Type", "") or self.path == "/control":
            return json.loads(body or b"{}")
        return dict(parse_qsl(body.decode()))

    def _control(self, form: Any) -> tuple[int, dict[str, Any]]:
        orders = form if isinstance(form, list) else [form]
        pace = [order.pop("seconds_per_post") for order in orders if "seconds_per_post" in order]
        try:
            script = [Behaviour(**order) for order in orders if order]
        except TypeError as error:
            return 400, _error(str(error))
        if unknown := [behaviour.mode for behaviour in script if behaviour.mode not in MODES]:
            return 400, _error(f"mode {unknown[0]!r} is none of {', '.join(MODES)}")
        self.server.workspace.control(script, pace[-1] if pace else None)
        return 200, {"ok": True}

    def _behave(self, method: str, form: dict[str, Any]) -> None:
        behaviour, answer = self.server.workspace.receive(method, form)
        match behaviour.mode:
            case "429":
                self._answer(429, _error("ratelimited"), {"Retry-After": f"{behaviour.retry_after:g}"})
            case "500":
                self._answer(500, _error("internal_error"))
            case "silent" | "hold-reply":
                self.server.workspace.hold()
                self.close_connection = True
            case "drop-reply":
                self.close_connection = True
            case _:
                self._answer(200, answer)

    def _answer(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: stdout carries the port, the log file the requests."""


class SlackServer(ThreadingHTTPServer):
    """The server; its threads do not keep the process alive."""

    daemon_threads = True

    def __init__(self, port: int, workspace: Workspace) -> None:
        self.workspace = workspace
        super().__init__(("127.0.0.1", port), Handler)


def main() -> None:
    """Serve until SIGTERM or Ctrl-C; the first line of stdout is the port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, default=None, help="JSON lines, one per request")
    parser.add_argument("--seconds-per-post", type=float, default=0.0, help="per channel; Slack's is about 1")
    options = parser.parse_args()
    server = SlackServer(options.port, Workspace(options.log, options.seconds_per_post))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(server.server_port, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
