"""How an agent without a key of its own gets one: it makes it, and shows a join token."""

from pathlib import Path

import zmq

from sentinel.adapters import join_token
from sentinel.adapters.keys import (
    Credentials,
    KeyFileError,
    Keys,
    new_secret,
    read_curve,
    write_key,
)
from sentinel.adapters.uplink import Link, Wire
from sentinel.model.codec import CodecError, decode, encode
from sentinel.model.ids import NodeId
from sentinel.model.report import Join, Joined, Refused

_ASK_AGAIN_MS = 5000


def own_key(keys: Keys, node: NodeId, endpoint: str, token: str = "") -> None:
    """See that a node has its keys; where it has none, join with a token, as soon as a controller answers.

    Raises KeyFileError: there is neither key nor token, or the controller refuses it.
    """
    if all(path.exists() for path in _needed(keys, node)):
        return
    shown = join_token.find(keys, token)
    if shown is None:
        missing = next(path for path in _needed(keys, node) if not path.exists())
        raise KeyFileError(
            f"{missing}: no such file, and no join token: `sentinel enroll {node}` on the head node makes it"
        )
    path = keys.node_key(node)
    draft = path.with_name(f"{node}.joining")
    if not draft.exists():
        # Before it is sent: a key that the controller has enrolled must not be lost.
        write_key(draft, new_secret())
    public = zmq.curve_public(read_curve(draft)).decode()
    joined = _ask(Wire(endpoint, shown), shown, Join(node, public))
    write_key(keys.directory / "controller.pub", shown.controller)
    write_key(keys.directory / "snapshot.key", joined.snapshot_key)
    draft.replace(path)


def _needed(keys: Keys, node: NodeId) -> tuple[Path, ...]:
    return (keys.node_key(node), keys.directory / "controller.pub", keys.directory / "snapshot.key")


def _ask(wire: Wire, shown: Credentials, question: Join) -> Joined:
    """Ask until there is an answer. Raises KeyFileError."""
    poller = zmq.Poller()
    poller.register(wire.socket, zmq.POLLIN)
    poller.register(wire.monitor, zmq.POLLIN)
    try:
        while True:
            ready = dict(poller.poll(_ASK_AGAIN_MS))
            changes = wire.changes()
            if Link.REFUSED in changes:
                raise KeyFileError(f"{wire.refusal}: a join token is good for a while and for so many nodes")
            if wire.socket in ready:
                return _read(wire, shown)
            if wire.connected and (Link.UP in changes or not ready):
                wire.socket.send(encode(question), zmq.NOBLOCK)
    finally:
        wire.close()


def _read(wire: Wire, shown: Credentials) -> Joined:
    try:
        answer: Joined | Refused = decode(Joined | Refused, wire.socket.recv(zmq.NOBLOCK))
    except CodecError as error:
        raise KeyFileError(f"{wire.endpoint}: the answer to a join token can't be read: {error}") from None
    if isinstance(answer, Refused):
        raise KeyFileError(f"the controller at {wire.endpoint} refused {shown.source}: {answer.why}")
    return answer
