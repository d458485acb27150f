"""The agent's side of the authenticated connection on which reports and orders travel."""

import time
from collections.abc import Iterator
from enum import Enum
from typing import Any

import structlog
import zmq
from zmq.utils.monitor import recv_monitor_message

from sentinel.adapters.keys import Credentials, KeyFileError, Keys, version_of
from sentinel.model.codec import MESSAGE_BYTES, CodecError, decode, encode
from sentinel.model.ids import NodeId, Seconds
from sentinel.model.report import Hello, Order, Refused, Report, Unreadable

_NO_DETAIL_LIMIT = 5
"""Handshakes in a row that break off before the keys are believed wrong: a dying peer breaks off one."""
_LOOK_EVERY_S: Seconds = 1.0
"""How often the key's file is looked at."""

_MONITORED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_DISCONNECTED
)

log = structlog.get_logger(logger_name="uplink")


class Link(Enum):
    """What became of the connection."""

    UP = "up"
    DOWN = "down"
    REFUSED = "refused"


class Wire:
    """A DEALER that keeps reconnecting with a key; poll `socket` and `monitor` for input."""

    def __init__(self, endpoint: str, credentials: Credentials) -> None:
        self.endpoint = endpoint
        self.connected = False
        self._credentials = credentials
        self._broken_off = 0
        self._refusal = ""
        """Why the controller says that it does not believe this end."""
        self._context = zmq.Context(io_threads=1)
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self._configure()
        self.monitor: zmq.Socket[bytes] = self.socket.get_monitor_socket(_MONITORED)
        self.socket.connect(endpoint)

    def _configure(self) -> None:
        socket = self.socket
        self._show(self._credentials)
        socket.linger = 0
        socket.immediate = True  # reports of a time without connection are old news: the spool keeps events
        socket.sndhwm = 64
        socket.maxmsgsize = MESSAGE_BYTES
        socket.reconnect_ivl, socket.reconnect_ivl_max = 100, 1000
        socket.heartbeat_ivl, socket.heartbeat_timeout = 500, 2000  # sees a cut link that sends no reset

    def _show(self, credentials: Credentials) -> None:
        """Make every connection from now on with these."""
        self._credentials = credentials
        self.socket.curve_secretkey = credentials.secret
        self.socket.curve_publickey = credentials.public
        self.socket.curve_serverkey = credentials.controller

    def changes(self) -> list[Link]:
        """What happened to the connection since the last call."""
        changes = []
        while self.monitor.poll(0):
            change = self._change(recv_monitor_message(self.monitor))
            if change is not None:
                changes.append(change)
        if self._refusal:
            changes.append(Link.REFUSED)
        return changes

    def _change(self, event: Any) -> Link | None:
        match event["event"]:
            case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.connected, self._broken_off = True, 0
                return Link.UP
            case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                return Link.REFUSED
            case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                self._broken_off += 1
                return Link.REFUSED if self._broken_off >= _NO_DETAIL_LIMIT else None
            case _:
                was_connected, self.connected = self.connected, False
                return Link.DOWN if was_connected else None

    @property
    def refusal(self) -> str:
        """One line for a human whose agent was refused; what the controller itself said is said once."""
        refusal, self._refusal = self._refusal, ""
        if refusal:
            return f"the controller at {self.endpoint} refused this agent: {refusal}"
        if self._broken_off:
            return (
                f"{self.endpoint} breaks off the handshake: the key given with {self._credentials.source} "
                "is not that of the controller there (controller.pub)"
            )
        return f"the controller at {self.endpoint} refused this agent's key ({self._credentials.source})"

    def close(self) -> None:
        """Close without waiting for what was not sent."""
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self._context.destroy(linger=0)


class Uplink(Wire):
    """An agent's connection: reports out, orders in. It follows its key's file. Raises KeyFileError."""

    def __init__(self, endpoint: str, keys: Keys, node: NodeId) -> None:
        self.accepted = False
        """Whether the controller has ever given an order, if only to acknowledge: it believes this agent."""
        self._keys, self._node = keys, node
        self._key_file = keys.node_key(node)
        self._seen, self._next_look = version_of(self._key_file), 0.0
        super().__init__(endpoint, keys.of_node(node))

    def send(self, message: Hello | Report) -> bool:
        """Hand one message to the connection; False when there is none or it is full."""
        if not self.connected:
            return False
        try:
            self.socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def orders(self) -> Iterator[Order | Unreadable]:
        """Every order that has arrived, and `Unreadable` in the place of one that does not parse."""
        while True:
            try:
                payload = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            order = _parse(payload)
            if isinstance(order, Refused):
                self._refusal = order.why
                continue
            self.accepted = self.accepted or not isinstance(order, Unreadable)
            yield order

    def follow_key(self) -> None:
        """Connect anew when the node has another key; one that can't be read leaves all as it was."""
        if (now := time.monotonic()) < self._next_look:
            return
        self._next_look = now + _LOOK_EVERY_S
        try:
            if (version := version_of(self._key_file)) == self._seen:
                return
            self._seen = version
            credentials = self._keys.of_node(self._node)
        except KeyFileError as error:
            log.error("key-not-read", error=str(error))
            return
        if credentials != self._credentials:
            log.info("key-changed", file=str(self._key_file))
            self.socket.disconnect(self.endpoint)
            self._show(credentials)
            self.socket.connect(self.endpoint)


def _parse(payload: bytes) -> Order | Refused | Unreadable:
    try:
        order: Order | Refused = decode(Order | Refused, payload)
    except CodecError as error:
        return Unreadable(f"order of {len(payload)} bytes: {error}")
    return order
