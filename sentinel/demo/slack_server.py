"""A local server that speaks the part of Slack's Web API that pages need, and misbehaves on request."""

import argparse
import json
import signal
import sys
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from sentinel.demo.slack_workspace import MODES, Behaviour, Workspace, refusal


class Handler(BaseHTTPRequestHandler):
    """Routes of one request."""

    server: "SlackServer"

    def do_GET(self) -> None:
        """`/messages`, `/requests`, `/told`: what arrived, in order; `/sockets`; `/link` is Socket Mode's."""
        space = self.server.workspace
        if self.path.partition("?")[0] == "/link":
            space.sockets.serve(self)
            return
        with space.changed:
            answers: dict[str, Any] = {
                "/messages": [asdict(message) for message in space.messages],
                "/requests": list(space.requests),
                "/told": list(space.told),
                "/sockets": space.sockets.view(),
            }
        self._answer(200 if self.path in answers else 404, answers.get(self.path, refusal("not_found")))

    def do_POST(self) -> None:
        """`/control` scripts the behaviour; `/event` is sent to the app; `/api/METHOD` is Slack's."""
        try:
            form = self._form()
            if self.path == "/control":
                self._answer(*self._control(form))
            elif self.path == "/event":
                self._answer(200, {"ok": self.server.workspace.sockets.send(form)})
            elif self.path.startswith("/respond"):
                self.server.workspace.tell("respond", form)
                self._answer(200, {"ok": True})
            elif not self.headers.get("Authorization", "").startswith("Bearer "):
                self._answer(200, refusal("not_authed"))
            else:
                self._behave(self.path.removeprefix("/api/").partition("?")[0], form)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has given up

    def _form(self) -> Any:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "json" in self.headers.get("Content-Type", "") or self.path in ("/control", "/event"):
            return json.loads(body or b"{}")
        return dict(parse_qsl(body.decode()))

    def _control(self, form: Any) -> tuple[int, dict[str, Any]]:
        orders = form if isinstance(form, list) else [form]
        for order in orders:
            self.server.workspace.arrange(order)
        pace = [order.pop("seconds_per_post") for order in orders if "seconds_per_post" in order]
        try:
            script = [Behaviour(**order) for order in orders if order]
        except TypeError as error:
            return 400, refusal(str(error))
        if unknown := [behaviour.mode for behaviour in script if behaviour.mode not in MODES]:
            return 400, refusal(f"mode {unknown[0]!r} is none of {', '.join(MODES)}")
        self.server.workspace.control(script, pace[-1] if pace else None)
        return 200, {"ok": True}

    def _behave(self, method: str, form: dict[str, Any]) -> None:
        behaviour, answer = self.server.workspace.receive(method, form)
        match behaviour.mode:
            case "429":
                self._answer(429, refusal("ratelimited"), {"Retry-After": f"{behaviour.retry_after:g}"})
            case "500":
                self._answer(500, refusal("internal_error"))
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

    def __init__(self, address: str, port: int, workspace: Workspace) -> None:
        self.workspace = workspace
        super().__init__((address, port), Handler)
        workspace.address = f"{address}:{self.server_port}"


def main() -> None:
    """Serve until SIGTERM or Ctrl-C; the first line of stdout is the port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, default=None, help="JSON lines, one per request")
    parser.add_argument("--seconds-per-post", type=float, default=0.0, help="per channel; Slack's is about 1")
    options = parser.parse_args()
    server = SlackServer(options.address, options.port, Workspace(options.log, options.seconds_per_post))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(server.server_port, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
