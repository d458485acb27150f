"""A server that takes webhook posts, as a process of its own: hook_process.py; it prints its port."""

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


@dataclass
class HookProcess:
    """How a test drives it."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/pages"

    def answer(self, *script: int | str) -> None:
        """Answer the next posts so: a status, `hold` (taken, no answer) or `silent` (not taken either)."""
        with urlopen(f"http://127.0.0.1:{self.port}/control", json.dumps(script).encode(), 5):
            pass

    def posts(self) -> list[dict[str, Any]]:
        """What was taken, oldest first, with headers under `headers`."""
        with urlopen(f"http://127.0.0.1:{self.port}/", timeout=5) as answer:
            return list(json.load(answer))

    def known(self) -> list[tuple[str, int]]:
        """What somebody sees who knows posts by their id."""
        return list({post["id"]: (post["event"], post["revision"]) for post in self.posts()}.values())


@contextmanager
def hook_process() -> Iterator[HookProcess]:
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield HookProcess(int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


def _serve() -> None:
    taken: list[dict[str, Any]] = []
    script: deque[int | str] = deque()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            self._say(200, json.dumps(taken).encode())

        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path == "/control":
                script.clear()
                script.extend(content)
                return self._say(200)
            said = (script.popleft() if len(script) > 1 else script[0]) if script else 200
            if said == 200 or said == "hold":
                taken.append({**content, "headers": dict(self.headers)})
            if isinstance(said, str):
                threading.Event().wait()
            return self._say(int(said))

        def _say(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve()
