"""The controller's side of the authenticated connection on which reports and orders travel."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import structlog
import zmq

from sentinel.adapters.enrolment import Enrolment, EnrolmentError, Token
from sentinel.adapters.keys import KeyFileError, Keys
from sentinel.adapters.report_parts import read_by_part
from sentinel.adapters.report_socket import ReportSocket
from sentinel.adapters.strangers import Place
from sentinel.model.codec import CodecError, decode, encode
from sentinel.model.ids import NodeId
from sentinel.model.report import Hello, Join, Joined, Order, Refused, Report

_TAKEN_AT_ONCE = 16


class NotBelievedError(Exception):
    """A connection says what it may not say; the message tells whoever is at its other end."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One connection, by what was proven about it and by what names it here."""

    route: bytes
    public: str
    """Key that its other end has."""
    descriptor: int
    place: Place | None = None


class Reports:
    """Hears agents, each by the name that its key has. Use as an async context manager.

    A message or beat that does not parse is logged, counted in `refused` and left out. An event that does not
    is `Unreadable`: it can be acknowledged, and keeps nothing else from being heard. A node has one
    connection, that on which its key said hello last.
    """

    def __init__(self, endpoint: str, keys: Keys) -> None:
        self.refused = 0
        self.enrolment = Enrolment(keys)
        self._listener = ReportSocket(endpoint, self.enrolment)
        self._socket = self._listener.socket
        self._peers: dict[NodeId, Peer] = {}
        self._taken = 0
        self._aside: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger(logger_name="reports")

    async def __aenter__(self) -> "Reports":
        self._listener.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        """The address bound to, with the port that the kernel chose for `:0` or `:*`."""
        return self._listener.endpoint

    # --- hearing

    async def recv(self) -> tuple[NodeId, Hello | Report]:
        """Wait for the next message that parses: (name of the node that sent it, message)."""
        while True:
            route, *frames = await self._socket.recv_multipart(copy=False)
            self._taken += 1
            if self._taken % _TAKEN_AT_ONCE == 0:
                await asyncio.sleep(0)  # one that talks without end leaves time for all else
            if (heard := await self._hear(route, frames)) is not None:
                return heard

    async def _hear(self, route: zmq.Frame, frames: list[zmq.Frame]) -> tuple[NodeId, Hello | Report] | None:
        """Take one message; None where it is not for the caller."""
        peer = Peer(route.bytes, *_proven(frames))
        owner = self.enrolment.owner(peer.public)
        name = owner if isinstance(owner, str) else "no node"
        try:
            if owner is None:
                self._let_go(peer)
                raise NotBelievedError("its key was revoked, or another has taken its place")
            payload = _only(frames)
            if isinstance(owner, Token):
                self._spawn(self._join(peer, decode(Join, payload)))
                return None
            return self._of_node(NodeId(owner), peer, self._read(name, payload))
        except CodecError as error:
            self._refuse("report-refused", name, error)
        except NotBelievedError as error:
            self._refuse("not-believed", name, error)
            await self._say(peer.route, Refused(str(error)))
        return None

    def _of_node(
        self, node: NodeId, peer: Peer, message: Hello | Report
    ) -> tuple[NodeId, Hello | Report] | None:
        if message.node != node:
            raise NotBelievedError(f"its key is {node}'s, not {message.node}'s")
        known = self._peers.get(node)
        if known is None or known.route != peer.route:
            if known is not None and isinstance(message, Report):
                return None  # of the connection before: it may come late
            self._take(node, peer)
        return node, message

    def _take(self, node: NodeId, peer: Peer) -> None:
        """Have a connection stand for a node from now on."""
        strangers = self._listener.strangers
        if (before := self._peers.get(node)) is not None:
            strangers.is_known_no_more(before.descriptor, before.place)
        place = strangers.is_known(peer.descriptor)
        self._peers[node] = Peer(peer.route, peer.public, peer.descriptor, place)
        self._spawn(self._used(node, peer.public))

    def _let_go(self, peer: Peer) -> None:
        """Take the route from a connection whose key is not known any more."""
        for node, each in list(self._peers.items()):
            if each.route == peer.route:
                del self._peers[node]
                self._listener.strangers.is_known_no_more(each.descriptor, each.place)

    def _read(self, node: str, payload: bytes) -> Hello | Report:
        try:
            message: Hello | Report = decode(Hello | Report, payload)
        except CodecError as error:
            return read_by_part(payload, error, lambda why: self._refuse("beat-refused", node, why))
        return message

    def _refuse(self, what: str, node: str, error: Exception) -> None:
        self.refused += 1
        self._log.warning(what, node=node, error=str(error), refused=self.refused)

    # --- keys

    async def _join(self, peer: Peer, asked: Join) -> None:
        answer: Joined | Refused
        try:
            await asyncio.to_thread(self.enrolment.join, asked.node, asked.public, peer.public)
            answer = Joined(self.enrolment.keys.snapshot_secret)
            self._log.info("node-joined", node=asked.node)
        except (EnrolmentError, KeyFileError, OSError) as error:
            self._refuse("not-joined", "a join token", error)
            answer = Refused(str(error) if isinstance(error, EnrolmentError) else "the keys can't be written")
        await self._say(peer.route, answer)

    async def _used(self, node: NodeId, public: str) -> None:
        try:
            await asyncio.to_thread(self.enrolment.used, node, public)
        except (EnrolmentError, KeyFileError, OSError) as error:
            self._log.warning("old-key-kept", node=node, error=str(error))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    # --- telling

    async def send(self, node: NodeId, order: Order) -> bool:
        """Give an order to a node's agent; False when none is connected, or its key was revoked."""
        peer = self._peers.get(node)
        if peer is None or self.enrolment.owner(peer.public) != node:
            return False
        return await self._say(peer.route, order)

    async def _say(self, route: bytes, message: Order | Joined | Refused) -> bool:
        try:
            await self._socket.send_multipart([route, encode(message)], zmq.NOBLOCK)
        except zmq.ZMQError:
            return False
        return True

    def close(self) -> None:
        """Stop listening; agents notice and reconnect to whoever listens next."""
        for task in self._aside:
            task.cancel()
        self._listener.close()


def _proven(frames: list[zmq.Frame]) -> tuple[str, int]:
    """Give what the handshake has shown: the key of the other end, and the connection's descriptor."""
    try:
        return str(frames[-1].get("User-Id")), int(frames[-1].get("__fd"))
    except (zmq.ZMQError, ValueError, IndexError):
        return "", -1


def _only(frames: list[zmq.Frame]) -> bytes:
    if len(frames) != 1:
        raise CodecError(f"expected 1 frame, got {len(frames)}")
    return frames[0].bytes
