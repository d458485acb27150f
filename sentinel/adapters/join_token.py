"""A join token: with it an agent that has no key of its own asks the controller for one."""

import re
from dataclasses import dataclass
from pathlib import Path

from zmq.utils import z85

from sentinel.adapters.keys import Credentials, KeyFileError, Keys, read_curve, read_secret

_FORM = re.compile(r"sentinel-join-([0-9a-f]{64})([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A CURVE secret key that may only join, and the controller's public key, each 40 bytes of Z85."""

    secret: bytes
    controller: bytes

    def __str__(self) -> str:
        return f"sentinel-join-{z85.decode(self.secret).hex()}{z85.decode(self.controller).hex()}"


def parse(text: str, source: Path | str) -> Credentials:
    """Read a token. Raises KeyFileError that does not repeat it."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise KeyFileError(f"{source}: not a join token")
    secret, controller = (z85.encode(bytes.fromhex(part)) for part in found.groups())
    return Credentials(secret, controller, source)


def find(keys: Keys, environment: str) -> Credentials | None:
    """Give the token that a new agent has: in its environment, beside its keys, or the old shared key."""
    if environment:
        return parse(environment, "SENTINEL_JOIN_TOKEN")
    file = keys.directory / "join.token"
    if file.exists():
        return parse(read_secret(file).decode("ascii", "replace"), file)
    if keys.shared.exists():
        return Credentials(read_curve(keys.shared), keys.controller_public, keys.shared)
    return None
