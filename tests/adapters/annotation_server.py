"""A local server that speaks Grafana's API of annotations, and fails as it is told."""

import json
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.listening import listening

TOKEN = "glsa_right"


@dataclass
class Grafana:
    """What it has; `script` is how the next calls end: a status, `held` (done, no answer), or `silent`."""

    there: dict[int, dict[str, Any]] = field(default_factory=dict)
    made: int = 0
    script: deque[int | str] = field(default_factory=deque)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        asked, number = urlsplit(path), re.fullmatch(r"/api/annotations/(\d+)", urlsplit(path).path)
        if token != f"Bearer {TOKEN}":
            return 401, {"message": "Invalid API key"}
        if number and int(number[1]) not in self.there:
            return 404, {"message": "Could not find annotation to update"}
        if number and method == "PATCH":
            self.there[int(number[1])] |= body
            return 200, {"message": "Annotation patched"}
        if asked.path != "/api/annotations":
            return 404, {"message": "Not found"}
        if method == "GET":
            tags = set(parse_qs(asked.query).get("tags", ()))
            return 200, [{"id": n, **each} for n, each in self.there.items() if tags <= set(each["tags"])]
        self.made += 1
        self.there[self.made] = body
        return 200, {"message": "Annotation added", "id": self.made}


@contextmanager
def serving() -> Iterator[Grafana]:
    grafana = Grafana()
    ending = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(None)

        def do_POST(self) -> None:
            self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def do_PATCH(self) -> None:
            self.do_POST()

        def reply(self, body: Any) -> None:
            said = grafana.script.popleft() if grafana.script else 200
            status, document = said, {"message": "told to"}
            if said in (200, "held"):
                status, document = grafana.answer(
                    self.command, self.path, self.headers.get("Authorization", ""), body
                )
            grafana.asked.append(f"{self.command} {said if isinstance(said, str) else status}")
            if isinstance(said, str):
                ending.wait()
                return
            text = json.dumps(document).encode()
            self.send_response(int(status))
            if status == 429:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    with listening(Handler) as place:
        grafana.url = f"http://{place}"
        try:
            yield grafana
        finally:
            ending.set()
