"""The local Slack server's end of Socket Mode: WebSockets over which people's presses come."""

import base64
import hashlib
import json
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Of RFC 6455, section 1.3."""
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Sockets:
    """The connections that are open, and what came over them. Thread-safe."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        self.opened = 0
        self.mute = False
        """Whether pings are answered no more, as of a network that has lost the connection."""
        self._open: list[BaseHTTPRequestHandler] = []
        self._lock = threading.Lock()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Take a request over as a WebSocket, until either end closes it."""
        key = handler.headers.get("Sec-WebSocket-Key", "")
        accepts = base64.b64encode(hashlib.sha1(f"{key}{GUID}".encode()).digest())  # noqa: S324  RFC 6455
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        with self._lock:
            handler.wfile.write(head + b"Sec-WebSocket-Accept: " + accepts + b"\r\n\r\n")
            handler.wfile.write(_frame(TEXT, json.dumps({"type": "hello", "num_connections": 1}).encode()))
            self._open.append(handler)
            self.opened += 1
        try:
            for code, body in _frames(handler):
                self._take(handler, code, body)
        except (OSError, struct.error):
            pass  # the other end has gone, or this one was closed
        finally:
            handler.close_connection = True
            with self._lock:
                self._open = [each for each in self._open if each is not handler]

    def _take(self, handler: BaseHTTPRequestHandler, code: int, body: bytes) -> None:
        if code == PING and not self.mute:
            with self._lock:
                handler.wfile.write(_frame(PONG, body))
        elif code == TEXT:
            with self._lock:
                self.acknowledged.append(str(json.loads(body).get("envelope_id")))

    def send(self, envelope: dict[str, Any]) -> bool:
        """Send an envelope over the newest connection; false when there is none."""
        with self._lock:
            if not self._open:
                return False
            self._open[-1].wfile.write(_frame(TEXT, json.dumps(envelope).encode()))
        return True

    def drop(self) -> None:
        """Close all connections, without a word."""
        with self._lock:
            for each in self._open:
                each.connection.shutdown(2)

    def view(self) -> dict[str, Any]:
        """Say how many are open, how many ever were, and which envelopes were acknowledged."""
        with self._lock:
            return {"open": len(self._open), "opened": self.opened, "acknowledged": [*self.acknowledged]}


def _frame(code: int, body: bytes) -> bytes:
    """Frame a whole message, https://www.rfc-editor.org/rfc/rfc6455#section-5.2."""
    if len(body) < 126:
        return struct.pack("!BB", 0x80 | code, len(body)) + body
    if len(body) < 1 << 16:
        return struct.pack("!BBH", 0x80 | code, 126, len(body)) + body
    return struct.pack("!BBQ", 0x80 | code, 127, len(body)) + body


def _frames(handler: BaseHTTPRequestHandler) -> Iterator[tuple[int, bytes]]:
    """Give the messages of a client, which are masked and here whole, until it closes."""
    while head := handler.rfile.read(2):
        code, length = head[0] & 0x0F, head[1] & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", handler.rfile.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", handler.rfile.read(8))
        mask = handler.rfile.read(4)
        body = bytes(byte ^ mask[place % 4] for place, byte in enumerate(handler.rfile.read(length)))
        if code == CLOSE:
            return
        yield code, body
