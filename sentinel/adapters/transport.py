"""The controller's side of the authenticated connection on which reports and orders travel."""

import msgspec
import structlog
import zmq
import zmq.asyncio
from msgspec.structs import replace
from zmq.auth.thread import ThreadAuthenticator

from sentinel.adapters.keys import Keys
from sentinel.model.codec import MESSAGE_BYTES, CodecError, decode, encode
from sentinel.model.ids import Int, NodeId
from sentinel.model.report import Event, Hello, Order, RankBeat, Report, Unreadable


class Reports:
    """A ROUTER that believes only agents with the cluster's key. Use as an async context manager.

    A message or beat that does not parse is logged, counted in `refused` and left out. An event that does not
    is `Unreadable`: it can be acknowledged, and keeps nothing else from being heard.
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
        socket.maxmsgsize = MESSAGE_BYTES
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
                return node, self._parse(node, frames)
            except CodecError as error:
                self._refuse("report-refused", node, error)

    def _parse(self, node: NodeId, frames: list[bytes]) -> Hello | Report:
        if len(frames) != 2:
            raise CodecError(f"expected 1 frame, got {len(frames) - 1}")
        try:
            message: Hello | Report = decode(Hello | Report, frames[1])
        except CodecError as error:
            message = self._by_part(node, frames[1], error)
        if message.node != node:
            what = f"{type(message).__name__}.node: {message.node!r:.80}"
            raise CodecError(f"{what} is not the connection's {node!r}")
        return message

    def _by_part(self, node: NodeId, payload: bytes, why: CodecError) -> Report:
        """Read a report's beats and events one by one. Raises `why` for what is no report."""
        fields = decode(dict[str, msgspec.Raw], payload)
        if not fields.keys() >= {"beats", "events"}:
            raise why
        beats: list[msgspec.Raw] = decode(list[msgspec.Raw], fields["beats"])
        events: list[tuple[int, msgspec.Raw]] = decode(list[tuple[Int, msgspec.Raw]], fields["events"])
        report: Report = decode(Report, encode({**fields, "beats": (), "events": ()}))
        return replace(
            report,
            beats=tuple(beat for told in beats if (beat := self._beat(node, told))),
            events=tuple((number, _event(told)) for number, told in events),
        )

    def _beat(self, node: NodeId, told: msgspec.Raw) -> RankBeat | None:
        try:
            beat: RankBeat = decode(RankBeat, told)
        except CodecError as error:
            self._refuse("beat-refused", node, error)
            return None
        return beat

    def _refuse(self, what: str, node: NodeId, error: CodecError) -> None:
        self.refused += 1
        self._log.warning(what, node=node, error=str(error), refused=self.refused)

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


def _event(told: msgspec.Raw) -> Event:
    """Put `Unreadable` in the place of an event that does not parse."""
    try:
        event: Event = decode(Event, told)
    except CodecError as error:
        return Unreadable(str(error))
    return event
