"""A server that speaks PagerDuty's Events API v2, as a process of its own; it prints its port.

It knows alerts by their key, as PagerDuty does: what it has taken twice is one.
"""

import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import urlopen

KEY = "0123456789abcdef0123456789abcdef"
"""The one that it accepts."""


@dataclass
class ApiProcess:
    """How a test drives it."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v2/enqueue"

    def answer(self, *script: int | str) -> None:
        """Answer the next events so: a status, `lost` (taken, no answer) or `silent` (not taken either)."""
        with urlopen(f"http://127.0.0.1:{self.port}/control", json.dumps(script).encode(), 5):
            pass

    def asked(self) -> dict[str, Any]:
        """`events` that were taken, oldest first, `alerts` by their key with how they stand, `posts`."""
        with urlopen(f"http://127.0.0.1:{self.port}/", timeout=5) as answer:
            return dict(json.load(answer))


@contextmanager
def api_process() -> Iterator[ApiProcess]:
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield ApiProcess(int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


def _invalid(event: dict[str, Any]) -> str:
    """Say what PagerDuty would refuse."""
    if event.get("routing_key") != KEY:
        return "Length of 'routing_key' is incorrect (should be 32 characters)"
    action, payload = event.get("event_action"), event.get("payload", {})
    if action not in ("trigger", "acknowledge", "resolve") or len(event["dedup_key"]) > 255:
        return "'event_action' or 'dedup_key' is invalid"
    if action == "trigger":
        if not (payload.get("summary") and payload.get("source")) or len(payload["summary"]) > 1024:
            return "'payload.summary' or 'payload.source' is missing or too long"
        if payload.get("severity") not in ("critical", "error", "warning", "info"):
            return "'payload.severity' is invalid"
    return ""


def _serve() -> None:
    taken: list[dict[str, Any]] = []
    alerts: dict[str, str] = {}
    posts: list[int] = []
    script: deque[int | str] = deque()

    def take(event: dict[str, Any]) -> None:
        key, action = event["dedup_key"], event["event_action"]
        taken.append(event)
        if action == "trigger":
            alerts[key] = "triggered" if alerts.get(key, "resolved") == "resolved" else alerts[key]
        elif alerts.get(key, "resolved") != "resolved":
            alerts[key] = {"acknowledge": "acknowledged", "resolve": "resolved"}[action]

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            self._say(200, {"events": taken, "alerts": alerts, "posts": len(posts)})

        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path == "/control":
                script.clear()
                script.extend(content)
                return self._say(200, {})
            posts.append(1)
            said = (script.popleft() if len(script) > 1 else script[0]) if script else 202
            if said not in (202, "lost"):
                if said == "silent":
                    threading.Event().wait()
                return self._say(int(said), {"status": "throttle exceeded", "message": "later"})
            if why := _invalid(content):
                return self._say(400, {"status": "invalid event", "message": "invalid", "errors": [why]})
            take(content)
            if said == "lost":
                threading.Event().wait()
            return self._say(202, {"status": "success", "dedup_key": content["dedup_key"]})

        def _say(self, status: int, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            if status == 429:
                self.send_header("retry-after", "1")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve()
