"""The key files: who talks to whom as whom. A secret that others could read is refused."""

import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sentinel import private
from sentinel.model.ids import NodeId

CURVE_CHARACTERS = 40
_MOST_BYTES = 4096
_SECRET, _PUBLIC = 0o077, 0o022
"""What nobody but its owner may do with a file: neither read nor write a secret, not write a public key."""


class KeyFileError(ValueError):
    """A key file is missing, may be known to others, or holds no key; the message names the file."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """As whom a connection is made, and to whom."""

    secret: bytes
    """CURVE secret key of this end, 40 bytes of Z85."""
    controller: bytes
    """CURVE public key that the controller must have."""
    source: Path | str
    """Where the secret comes from, for people."""

    @property
    def public(self) -> bytes:
        """CURVE public key that belongs to the secret."""
        return _public(self.secret)


@dataclass(frozen=True, slots=True)
class Keys:
    """Where the secrets lie. An agent needs of them `controller.pub`, `snapshot.key`, `nodes/<node>.key`."""

    directory: Path

    @property
    def controller_public(self) -> bytes:
        """CURVE public key of the controller, 40 bytes of Z85."""
        return read_curve(self.directory / "controller.pub", public=True)

    @property
    def controller_secret(self) -> bytes:
        """CURVE secret key of the controller."""
        return read_curve(self.directory / "controller.key")

    @property
    def api_token(self) -> str:
        """Bearer token of the control API."""
        path = self.directory / "api.token"
        try:
            return _read(path, _SECRET).decode("ascii")
        except UnicodeDecodeError:
            raise KeyFileError(f"{path}: not a token") from None

    @property
    def snapshot_secret(self) -> bytes:
        """Shared secret with which memory snapshots travel between nodes."""
        return _read(self.directory / "snapshot.key", _SECRET)

    @property
    def shared(self) -> Path:
        """The one key that all agents had in an earlier release."""
        return self.directory / "agent.key"

    def node_key(self, node: NodeId) -> Path:
        """Give the file with a node's CURVE secret key."""
        return self.directory / "nodes" / f"{node}.key"

    def of_node(self, node: NodeId) -> Credentials:
        """Give a node's own credentials. Raises KeyFileError."""
        path = self.node_key(node)
        return Credentials(read_curve(path), self.controller_public, path)


def ensure_keys(directory: Path) -> Keys:
    """Make every key that the head node needs and does not have; gives them. Raises KeyFileError, OSError."""
    private.make_folder(directory)
    secret = directory / "controller.key"
    _ensure(secret, new_secret)
    _ensure(directory / "controller.pub", lambda: _public(read_curve(secret)))
    for name in ("api.token", "snapshot.key"):
        _ensure(directory / name, lambda: secrets.token_hex(32).encode())
    return Keys(directory)


def new_secret() -> bytes:
    """Make a CURVE secret key."""
    import zmq  # here and below: a command that only reads the token need not load it

    return zmq.curve_keypair()[1]


def _public(secret: bytes) -> bytes:
    import zmq

    return zmq.curve_public(secret)


def write_key(path: Path, key: bytes) -> None:
    """Put a key in place, readable for its owner only."""
    private.make_folder(path.parent)
    private.write(path, key + b"\n", durable=True)


def version_of(path: Path) -> tuple[int, ...]:
    """Tell one content of a file from another; empty where there is none. Raises KeyFileError."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from None
    return status.st_ino, status.st_mtime_ns, status.st_size


def read_curve(path: Path, *, public: bool = False) -> bytes:
    """Read a CURVE key. Raises KeyFileError."""
    key = _read(path, _PUBLIC if public else _SECRET)
    if len(key) != CURVE_CHARACTERS:
        raise KeyFileError(f"{path}: not a CURVE key of {CURVE_CHARACTERS} characters")
    return key


def read_secret(path: Path, most: int = _MOST_BYTES) -> bytes:
    """Read what nobody else may know, without the space around it. Raises KeyFileError."""
    return _read(path, _SECRET, most)


def _ensure(path: Path, make: Callable[[], bytes]) -> None:
    """Make a key unless there is one: whoever comes second finds the first one's."""
    if os.path.lexists(path):
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    private.write(draft, make() + b"\n", durable=True)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first: its key is as good
    finally:
        draft.unlink()


def _read(path: Path, forbidden: int, most: int = _MOST_BYTES) -> bytes:
    """Read a key by whichever link leads to it, as a mounted secret's does: whose it is says the file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            _see_owner(path, os.fstat(descriptor), forbidden)
            content = file.read(most).strip()
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from None
    if not content:
        raise KeyFileError(f"{path}: empty")
    return content


def _see_owner(path: Path, status: os.stat_result, forbidden: int) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"{path}: no regular file")
    if status.st_uid not in (0, os.geteuid()):
        raise KeyFileError(f"{path}: is another user's (uid {status.st_uid})")
    if mode & forbidden:
        what = "read or change it" if forbidden == _SECRET else "change it"
        raise KeyFileError(f"{path}: others can {what} (mode {mode:04o}): make a new one, with mode 0600")
