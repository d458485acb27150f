"""The agent's card: pid and ports, where people, the demo and the next agent find them."""

import contextlib
import json
from pathlib import Path
from typing import Annotated

import msgspec

from sentinel import private

_NAME = "agent.json"
_MOST = 4096
"""Bytes of a card, and more."""
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class Card(msgspec.Struct, frozen=True):
    """Which processes watch a node, and at which ports."""

    node: str
    pid: int
    prober_pid: int
    """0 while there is none."""
    snapshot_port: Port
    metrics_port: Port
    """0 when no metrics are served."""


def write(memory: Path, card: Card) -> None:
    """Leave the card; whoever reads it meets the old one or the new one, never half of one."""
    with contextlib.suppress(OSError):  # a full memory directory must not end the watching
        private.write(memory / _NAME, json.dumps(msgspec.structs.asdict(card)).encode())


def read(memory: Path) -> Card | None:
    """Give the card of the node's last agent, None when it left none."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return msgspec.json.decode(private.read(memory / _NAME, _MOST), type=Card)
    return None
