"""Which key is which node's: the head node's list of them, and of the tokens with which new nodes join."""

import fcntl
import fnmatch
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

import msgspec
import zmq

from sentinel import private
from sentinel.adapters.join_token import JoinToken
from sentinel.adapters.keys import (
    KeyFileError,
    Keys,
    new_secret,
    read_curve,
    read_secret,
    version_of,
    write_key,
)
from sentinel.model.ids import Instant, NodeId, NodeName, Seconds

ANY_NUMBER = 10**9
_MOST_BYTES = 16 * 1024 * 1024
Public = Annotated[str, msgspec.Meta(min_length=40, max_length=40)]


class EnrolmentError(ValueError):
    """A node is not enrolled, renamed or let in; one line says why."""


class Token(msgspec.Struct, frozen=True):
    """What a join token allows."""

    expires: Instant
    nodes: str
    """A pattern of names, as of file names."""
    uses: int
    """How many nodes may still join with it."""

    def refusal(self, node: NodeId) -> str:
        """Say why a node can't join with it; empty when it can."""
        if not fnmatch.fnmatchcase(node, self.nodes):
            return f"this join token is for nodes named {self.nodes}, not for {node}"
        return ""


class Book(msgspec.Struct):
    """All that is known; as a file, JSON."""

    nodes: dict[NodeName, tuple[Public, ...]] = {}
    """A node's public keys: two while it is about to change them, none once it is revoked."""
    tokens: dict[Public, Token] = {}


Owner = NodeId | Token | None


class Enrolment:
    """The list of keys, read once and again when its file has changed. Several processes may change it."""

    def __init__(self, keys: Keys, now: Callable[[], Instant] = time.time) -> None:
        self.keys = keys
        self._now = now
        self._path = keys.directory / "enrolled.json"
        self._seen: tuple[int, ...] = ()
        self._book = Book()
        self._owners: dict[str, NodeId] = {}
        self.refresh()

    # --- asking

    @property
    def nodes(self) -> Mapping[NodeId, tuple[str, ...]]:
        """Every node that was ever enrolled, with its public keys."""
        return self._book.nodes

    @property
    def tokens(self) -> Mapping[str, Token]:
        """The join tokens that can still be used, by their public keys."""
        return {public: token for public, token in self._book.tokens.items() if self._is_valid(token)}

    def owner(self, public: str) -> Owner:
        """Say whose key this is: a node's, a join token's, or nobody's. Touches no file."""
        if (node := self._owners.get(public)) is not None:
            return node
        token = self._book.tokens.get(public)
        return token if token is not None and self._is_valid(token) else None

    def refresh(self) -> bool:
        """Read the file again if it has changed; says whether it had. Raises KeyFileError."""
        version = version_of(self._path)
        if version == self._seen:
            return False
        if not version:
            raise KeyFileError(f"{self._path}: is gone")
        self._hold(self._read(), version)
        return True

    def _read(self) -> Book:
        try:
            return msgspec.json.decode(read_secret(self._path, _MOST_BYTES), type=Book)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            message = str(error)
            raise KeyFileError(
                message if str(self._path) in message else f"{self._path}: {message}"
            ) from None

    def _hold(self, book: Book, seen: tuple[int, ...]) -> None:
        self._book, self._seen = book, seen
        self._owners = {public: node for node, publics in book.nodes.items() for public in publics}

    def _is_valid(self, token: Token) -> bool:
        return token.uses > 0 and token.expires > self._now()

    # --- changing

    def enroll(self, node: NodeId) -> None:
        """Make a node's key, in `nodes/<node>.key`. Raises EnrolmentError when it has one."""
        with self._changing() as book:
            if book.nodes.get(node):
                raise EnrolmentError(f"{node} is enrolled already: --rotate gives it a new key")
            book.nodes[node] = (self._new_key(node),)

    def rotate(self, node: NodeId) -> None:
        """Make a node's next key; the one that it has is good until that is used. Raises EnrolmentError."""
        with self._changing() as book:
            if not book.nodes.get(node):
                raise EnrolmentError(f"{node} is not enrolled")
            book.nodes[node] = (book.nodes[node][0], self._new_key(node))

    def revoke(self, node: NodeId) -> None:
        """Believe none of a node's keys any more. Raises EnrolmentError."""
        with self._changing() as book:
            if not book.nodes.get(node):
                raise EnrolmentError(f"{node} is not enrolled")
            book.nodes[node] = ()

    def used(self, node: NodeId, public: str) -> None:
        """Forget the key before this one: the node has shown that it has the new one."""
        if self._book.nodes.get(node, ())[:1] == (public,):
            return
        with self._changing() as book:
            if public in book.nodes.get(node, ()):
                book.nodes[node] = (public,)

    def issue(self, for_s: Seconds, nodes: str = "*", uses: int = ANY_NUMBER) -> JoinToken:
        """Make a join token."""
        secret = new_secret()
        with self._changing() as book:
            book.tokens[zmq.curve_public(secret).decode()] = Token(self._now() + for_s, nodes, uses)
        return JoinToken(secret, self.keys.controller_public)

    def accept_shared(self, for_s: Seconds) -> None:
        """Let the key that all agents shared in an earlier release join nodes for a while."""
        public = zmq.curve_public(read_curve(self.keys.shared))
        with self._changing() as book:
            book.tokens[public.decode()] = Token(self._now() + for_s, "*", ANY_NUMBER)

    def end_tokens(self) -> None:
        """Let nobody join any more."""
        with self._changing() as book:
            book.tokens.clear()

    def join(self, node: NodeId, public: str, token: str) -> None:
        """Enrol a node that shows a token, and the key it made; twice is as once. Raises EnrolmentError."""
        with self._changing() as book:
            allowed = book.tokens.get(token)
            known = book.nodes.get(node)
            if known and public in known:
                return
            if allowed is None or not self._is_valid(allowed):
                raise EnrolmentError("this join token is not valid any more")
            if refusal := allowed.refusal(node):
                raise EnrolmentError(refusal)
            if known is not None:
                what = "is enrolled already" if known else "was revoked"
                raise EnrolmentError(f"{node} {what}: a join token gives away no name that was given")
            if any(public in publics for publics in book.nodes.values()) or public in book.tokens:
                raise EnrolmentError("this key is another's already")
            book.nodes[node] = (public,)
            book.tokens[token] = msgspec.structs.replace(allowed, uses=allowed.uses - 1)

    def _new_key(self, node: NodeId) -> str:
        secret = new_secret()
        write_key(self.keys.node_key(node), secret)
        return zmq.curve_public(secret).decode()

    @contextmanager
    def _changing(self) -> Iterator[Book]:
        """Give a copy of the newest list to change; it is written and held unless an error was raised."""
        lock = private.open_file(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.refresh()
            book = Book(
                dict(self._book.nodes), {p: t for p, t in self._book.tokens.items() if self._is_valid(t)}
            )
            yield book
            private.write(self._path, msgspec.json.format(msgspec.json.encode(book)), durable=True)
            self._hold(book, version_of(self._path))
        finally:
            os.close(lock)
