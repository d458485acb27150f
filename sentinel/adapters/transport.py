"""The controller's side of the authenticated connection on which reports and orders travel."""

from typing import Any

import structlog
import zmq
import zmq.asyncio
from zmq.auth.thread import ThreadAuthenticator

from sentinel.adapters.keys import Keys
from sentinel.model.codec import CodecError, Plain, decode, encode, from_plain, to_plain
from sentinel.model.ids import NodeId
from sentinel.model.report import Event, Hello, Order, Report, Unreadable

_MAX_MESSAGE_BYTES = 16 * 1024 * 1024


class Reports:
    """A ROUTER that believes only agents with the cluster's key. Use as an async context manager.

    A message that does not parse is logged, counted in `refused` and left out. An event of a report that does
    not is `Unreadable`: it can be acknowledged, and keeps nothing else from being heard.
    """

    def __init__(self, endpoint: str, keys: Keys) -> None:
        self.refused = 0
        self._endpoint = endpoint
        self._keys = keys
        self._log = structlog.get_logger(logger_name="reports")
        self._context = zmq.asyncio.Context(io_threads=1)
        self._authenticator = ThreadAuthenticator(self._context)
        self._socket = self._context.socket(zmq.ROUTER)

    async def __aenter__(self) -> "Reports":
        self._authenticator.start()
        self._authenticator.configure_curve_callback("*", self)
        socket = self._socket
        socket.curve_server = True
        socket.curve_secretkey = self._keys.controller_secret
        socket.linger = 0
        socket.maxmsgsize = _MAX_MESSAGE_BYTES
        socket.router_handover = True  # a restarted agent takes its node's place at once
        socket.router_mandatory = True  # an order for a node that is gone is an error, not silence
        socket.heartbeat_ivl, socket.heartbeat_timeout = 1000, 4000
        try:
            socket.bind(self._endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise OSError(f"{self._endpoint}: {error.strerror}") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        """The address bound to, with the port that the kernel chose for `:0` or `:*`."""
        bound = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(bound, bytes)
        return bound.decode().rstrip("\0")

    def callback(self, domain: str, key: bytes) -> bool:  # noqa: ARG002 pyzmq calls it so
        """Whether a peer with this public key may talk; asked by the authenticator."""
        return key == self._keys.agent_public

    async def recv(self) -> tuple[NodeId, Hello | Report]:
        """Wait for the next message that parses: (name of the node that sent it, message)."""
        while True:
            frames = await self._socket.recv_multipart()
            node = NodeId(frames[0].decode(errors="replace"))
            try:
                return node, _parse(node, frames)
            except CodecError as error:
                self.refused += 1
                self._log.warning("report-refused", node=node, error=str(error), refused=self.refused)

    async def send(self, node: NodeId, order: Order) -> bool:
        """Give an order to a node's agent; False when no agent of that name is connected."""
        try:
            await self._socket.send_multipart([node.encode(), encode(order)], zmq.NOBLOCK)
        except zmq.ZMQError:
            return False
        return True

    def close(self) -> None:
        """Stop listening; agents notice and reconnect to whoever listens next."""
        self._authenticator.stop()
        self._socket.close(linger=0)
        self._context.destroy(linger=0)


def _parse(node: NodeId, frames: list[bytes]) -> Hello | Report:
    if len(frames) != 2:
        raise CodecError(f"expected 1 frame, got {len(frames) - 1}")
    try:
        message: Hello | Report = decode(Hello | Report, frames[1])
    except CodecError:
        message = from_plain(Hello | Report, _by_event(decode(Any, frames[1])))
    if message.node != node:
        raise CodecError(f"{type(message).__name__}.node: {message.node!r} is not the connection's {node!r}")
    return message


def _by_event(plain: Plain) -> Plain:
    """Read a report's events one by one; what is no report stays what it is."""
    match plain:
        case {"events": [*events]}:
            return {**plain, "events": [_readable(event) for event in events]}
    return plain


def _readable(event: Plain) -> Plain:
    """Put `Unreadable` in the place of an event that does not parse, under its number."""
    match event:
        case [int(number), told]:
            try:
                from_plain(Event, told)
            except CodecError as error:
                return [number, to_plain(Unreadable(str(error)))]
    return event
