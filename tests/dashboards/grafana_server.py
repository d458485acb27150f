"""A local server that speaks the few routes of Grafana's HTTP API that a push needs, as Grafana answers."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.listening import listening

TOKEN = "glsa_right"
PROMETHEUS = {"uid": "prom-1", "name": "Prometheus", "type": "prometheus", "isDefault": True}
MIMIR = {"uid": "mimir-1", "name": "Mimir", "type": "prometheus", "isDefault": False}
LOKI = {"uid": "loki-1", "name": "Loki", "type": "loki", "isDefault": False}


@dataclass
class Grafana:
    """What this one has, and how it answers."""

    release: str = "12.1.0"
    sources: list[dict[str, Any]] = field(default_factory=lambda: [LOKI, PROMETHEUS])
    may_write: bool = True
    provisioned: bool = False
    fails: int = 0
    """Answer everything with this status."""
    html: bool = False
    """Be something else, which answers pages."""
    folders: dict[str, str] = field(default_factory=dict)
    boards: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        self.asked.append((method, path))
        if self.fails:
            return self.fails, {"message": "database is locked"}
        if path == "/api/frontend/settings":
            return 200, {"buildInfo": {"version": self.release}} if self.release else {}
        if token != f"Bearer {TOKEN}":
            return 401, {"message": "Invalid API key"}
        if path == "/api/datasources":
            return 200, self.sources
        if method == "POST" and not self.may_write:
            return 403, {"message": "You'll need additional permissions to perform this action."}
        if path == "/api/folders":
            self.folders[body["uid"]] = body["title"]
            return 200, {"uid": body["uid"], "title": body["title"]}
        if found := re.fullmatch(r"/api/folders/([\w-]+)", path):
            uid = found[1]
            return (200, {"uid": uid}) if uid in self.folders else (404, {"message": "folder not found"})
        if found := re.fullmatch(r"/api/dashboards/uid/([\w-]+)", path):
            board = self.boards.get(found[1])
            return (404, {"message": "Dashboard not found"}) if board is None else (200, {"dashboard": board})
        return self.save(body) if path == "/api/dashboards/db" else (404, {"message": "Not found"})

    def save(self, body: Any) -> tuple[int, Any]:
        board, uid = body["dashboard"], body["dashboard"]["uid"]
        if self.provisioned:
            return 400, {"message": "Cannot save provisioned dashboard"}
        if body.get("folderUid") not in self.folders:
            return 400, {"message": "folder not found"}
        version = self.boards.get(uid, {}).get("version", 0) + 1
        self.boards[uid] = board | {"id": len(self.boards) + 1, "version": version}
        return 200, {"uid": uid, "version": version, "status": "success"}

    @property
    def writes(self) -> list[str]:
        return [path for method, path in self.asked if method == "POST"]


@contextmanager
def serving(grafana: Grafana) -> Iterator[Grafana]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(None)

        def do_POST(self) -> None:
            self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def reply(self, body: Any) -> None:
            token = self.headers.get("Authorization", "")
            status, document = grafana.answer(self.command, self.path, token, body)
            text = b"<html>hello</html>" if grafana.html else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if grafana.html else "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    with listening(Handler) as place:
        grafana.url = f"http://{place}"
        yield grafana
