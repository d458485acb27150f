"""The server of `/metrics`: one thread, so many connections, each for a short while."""

import contextlib
import io
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from http.client import parse_headers
from typing import Any

import structlog

from sentinel.model.ids import Seconds

MOST_CONNECTIONS = 64
"""More than scrape one agent; beyond them the oldest is cut."""
MOST_BYTES = 16 * 1024
"""Of a request."""
_WITHIN_S: Seconds = 5.0
"""To ask, and to take the answer."""
_PAUSE_S: Seconds = 1.0
"""Before the next try to accept, when nothing could be accepted."""
_END = b"\r\n\r\n"

log = structlog.get_logger(logger_name="metrics")
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
"""A WSGI application."""


class _Connection:
    """One client: what it has said, or what it still has to be told."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.until = time.monotonic() + _WITHIN_S
        self.said = b""
        self.answer: memoryview | None = None

    def ready(self, app: App) -> bool:
        """Go on as far as it goes without waiting; says whether it is done. Raises OSError."""
        if self.answer is None:
            if not (piece := self.sock.recv(MOST_BYTES)):
                return True
            self.said += piece
            if _END not in self.said:
                return len(self.said) > MOST_BYTES
            self.answer = memoryview(_answer(app, self.said))
        self.answer = self.answer[self.sock.send(self.answer) :]
        return not self.answer


class HttpServer:
    """Answers GET by a WSGI application. Raises OSError when the port is taken."""

    def __init__(self, address: str, port: int, app: App) -> None:
        self._app = app
        self._listener = socket.create_server((address, port), backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._open: dict[socket.socket, _Connection] = {}
        """Oldest first."""
        self._accept_at: Seconds | None = None
        """When to try to accept again; None while that is not held back."""
        self._trouble = False
        self._closed = False
        threading.Thread(target=self._run, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Let go of the port; the daemon thread ends with its process."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._listener.close()

    def _run(self) -> None:
        while not self._closed:
            for key, _ in self._selector.select(self._timeout()):
                if key.fileobj is self._listener:
                    self._accept()
                elif (connection := self._open.get(key.fileobj)) is not None:  # type: ignore[call-overload]
                    self._serve(connection)
            self._send_away()
        for sock in list(self._open):
            self._end(sock)

    def _timeout(self) -> Seconds | None:
        """Sleep until somebody comes, or has taken too long."""
        due = [*[each.until for each in self._open.values()][:1], *filter(None, [self._accept_at])]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:  # no file is free
            self._hold_back(error)
            return
        self._trouble = False
        sock.setblocking(False)
        self._open[sock] = _Connection(sock)
        self._selector.register(sock, selectors.EVENT_READ)

    def _hold_back(self, error: OSError) -> None:
        if self._closed:
            return
        if not self._trouble:
            log.warning("metrics-not-accepted", error=str(error))
        self._trouble = True
        self._selector.unregister(self._listener)
        self._accept_at = time.monotonic() + _PAUSE_S

    def _serve(self, connection: _Connection) -> None:
        try:
            done = connection.ready(self._app)
        except BlockingIOError:
            done = False
        except OSError:
            done = True
        if done:
            self._end(connection.sock)
        elif connection.answer is not None:
            self._selector.modify(connection.sock, selectors.EVENT_WRITE)

    def _send_away(self) -> None:
        """Cut who has taken too long, and the oldest of those that are too many."""
        now = time.monotonic()
        over = len(self._open) - MOST_CONNECTIONS
        for number, connection in enumerate(list(self._open.values())):
            if number >= over and connection.until > now:
                break
            self._end(connection.sock)
        if self._accept_at is not None and self._accept_at <= now and not self._closed:
            self._accept_at = None
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _end(self, sock: socket.socket) -> None:
        del self._open[sock]
        self._selector.unregister(sock)
        sock.close()


def _answer(app: App, said: bytes) -> bytes:
    """Ask the application; gives the bytes of its answer. Whatever can't be answered is an error of HTTP."""
    head: list[bytes] = []

    def start(status: str, headers: list[tuple[str, str]], *_: object) -> None:
        lines = [f"HTTP/1.1 {status}", "Connection: close", *(f"{name}: {value}" for name, value in headers)]
        head.append("\r\n".join(lines).encode("latin-1", "replace"))

    try:
        body = b"".join(app(_environ(said), start))
        return b"%b\r\nContent-Length: %d\r\n\r\n%b" % (head[0], len(body), body)
    except _NoRequestError:
        return b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
    except Exception as error:  # one page less; the thread serves the next
        log.error("metrics-not-told", error=f"{type(error).__name__}: {error}")
        return b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n\r\n"


class _NoRequestError(Exception):
    """What was said is no request that can be answered."""


def _environ(said: bytes) -> dict[str, Any]:
    try:
        line, _, rest = said.partition(_END)[0].partition(b"\r\n")
        method, target, _ = line.decode("ascii").split(" ")
        headers = parse_headers(io.BytesIO(rest + _END))
    except Exception:
        raise _NoRequestError from None
    path, _, query = target.partition("?")
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "HTTP_ACCEPT": headers.get("Accept", ""),
        "HTTP_ACCEPT_ENCODING": headers.get("Accept-Encoding", ""),
    }
