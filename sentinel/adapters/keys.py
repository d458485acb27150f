"""Who may talk to whom: the key files that controller, agents, snapshots and the HTTP API use."""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import zmq


class KeyFileError(ValueError):
    """A key file is missing or holds no key; the message names the file."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Where the secrets lie. An agent needs `controller.pub`, `agent.key` and `snapshot.key` of them."""

    directory: Path

    @property
    def controller_public(self) -> bytes:
        """CURVE public key of the controller, 40 bytes of Z85."""
        return _read_curve(self.directory / "controller.pub")

    @property
    def controller_secret(self) -> bytes:
        """CURVE secret key of the controller."""
        return _read_curve(self.directory / "controller.key")

    @property
    def agent_secret(self) -> bytes:
        """CURVE secret key that every agent of the cluster shares."""
        return _read_curve(self.directory / "agent.key")

    @property
    def agent_public(self) -> bytes:
        """CURVE public key that belongs to `agent_secret`."""
        return _read_curve(self.directory / "agent.pub")

    @property
    def api_token(self) -> str:
        """Bearer token of the control API."""
        path = self.directory / "api.token"
        try:
            return _read(path).decode("ascii")
        except UnicodeDecodeError:
            raise KeyFileError(f"{path}: not a token") from None

    @property
    def snapshot_secret(self) -> bytes:
        """Shared secret with which memory snapshots travel between nodes."""
        return _read(self.directory / "snapshot.key")


def ensure_keys(directory: Path) -> Keys:
    """Create every missing key in `directory` (0700, secrets 0600) and give the whole set."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    _ensure_pair(directory, "controller")
    _ensure_pair(directory, "agent")
    for name in ("api.token", "snapshot.key"):
        _ensure(directory / name, lambda: secrets.token_hex(32).encode())
    return Keys(directory)


def _ensure_pair(directory: Path, owner: str) -> None:
    secret = directory / f"{owner}.key"
    _ensure(secret, lambda: zmq.curve_keypair()[1])
    _ensure(directory / f"{owner}.pub", lambda: zmq.curve_public(_read_curve(secret)))


def _ensure(path: Path, make: Callable[[], bytes]) -> None:
    """Write a new file under a name of its own first, so that nobody ever reads half a key."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(make() + b"\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first: its key is as good
    finally:
        draft.unlink()


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes().strip()
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from None
    if not content:
        raise KeyFileError(f"{path}: empty")
    return content


def _read_curve(path: Path) -> bytes:
    key = _read(path)
    if len(key) != 40:
        raise KeyFileError(f"{path}: not a CURVE key of 40 characters")
    return key
