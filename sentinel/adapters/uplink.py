"""The agent's side of the authenticated connection on which reports and orders travel."""

from collections.abc import Iterator
from enum import Enum
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from sentinel.adapters.keys import Keys
from sentinel.model.codec import MESSAGE_BYTES, CodecError, decode, encode
from sentinel.model.ids import NodeId
from sentinel.model.report import Hello, Order, Report, Unreadable

_NO_DETAIL_LIMIT = 5
"""Handshakes in a row that break off before the keys are believed wrong: a dying peer breaks off one."""

_MONITORED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_DISCONNECTED
)


class Link(Enum):
    """What became of the connection."""

    UP = "up"
    DOWN = "down"
    REFUSED = "refused"


class Uplink:
    """A DEALER that keeps reconnecting; poll `socket` and `monitor` for input."""

    def __init__(self, endpoint: str, keys: Keys, node: NodeId) -> None:
        self.endpoint = endpoint
        self.connected = False
        self._keys = keys
        self._broken_off = 0
        self._context = zmq.Context(io_threads=1)
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self._configure(node)
        self.monitor: zmq.Socket[bytes] = self.socket.get_monitor_socket(_MONITORED)
        self.socket.connect(endpoint)

    def _configure(self, node: NodeId) -> None:
        socket, secret = self.socket, self._keys.agent_secret
        socket.curve_secretkey = secret
        socket.curve_publickey = zmq.curve_public(secret)
        socket.curve_serverkey = self._keys.controller_public
        socket.identity = node.encode()
        socket.linger = 0
        socket.immediate = True  # reports of a time without connection are old news: the spool keeps events
        socket.sndhwm = 64
        socket.maxmsgsize = MESSAGE_BYTES
        socket.reconnect_ivl, socket.reconnect_ivl_max = 100, 1000
        socket.heartbeat_ivl, socket.heartbeat_timeout = 500, 2000  # sees a cut link that sends no reset

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
            yield _parse(payload)

    def changes(self) -> list[Link]:
        """What happened to the connection since the last call."""
        changes = []
        while self.monitor.poll(0):
            change = self._change(recv_monitor_message(self.monitor))
            if change is not None:
                changes.append(change)
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
        """One line for a human whose agent was refused."""
        directory = self._keys.directory
        if self._broken_off:
            return (
                f"{self.endpoint} breaks off the handshake: {directory / 'controller.pub'} "
                "is not the key of the controller there"
            )
        return f"the controller at {self.endpoint} refused this agent's key ({directory / 'agent.key'})"

    def close(self) -> None:
        """Close without waiting for what was not sent."""
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self._context.destroy(linger=0)


def _parse(payload: bytes) -> Order | Unreadable:
    try:
        order: Order = decode(Order, payload)
    except CodecError as error:
        return Unreadable(f"order of {len(payload)} bytes: {error}")
    return order
