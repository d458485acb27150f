"""What `sentinel enroll` does: keys for nodes, and tokens with which nodes get their own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sentinel.adapters.enrolment import ANY_NUMBER, Enrolment
from sentinel.adapters.keys import Keys, ensure_keys, read_curve, version_of, write_key
from sentinel.model.ids import Instant, NodeId, Seconds, node_name


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for; one of them, or nodes to enrol."""

    nodes: Sequence[str] = ()
    revoke: bool = False
    rotate: bool = False
    end_tokens: bool = False
    token_s: Seconds = 0.0
    """How long a new join token is good."""
    shared_s: Seconds = 0.0
    """How long the key that all agents shared may still join."""
    pattern: str = "*"
    uses: int = ANY_NUMBER
    to: Path | None = None
    """A folder for what is to be carried to the nodes."""


def enroll(directory: Path, wish: Wish) -> Iterator[str]:
    """Do what is asked for; gives what to print. Raises ValueError (names, keys) and OSError."""
    nodes = [node_name(node) for node in wish.nodes]
    keys = ensure_keys(directory)
    enrolment = Enrolment(keys)
    if wish.end_tokens:
        enrolment.end_tokens()
        yield "no join token is good any more"
    if wish.shared_s:
        enrolment.accept_shared(wish.shared_s)
        yield f"for so long, agents that show {keys.shared} get keys of their own"
    if wish.token_s:
        yield str(enrolment.issue(wish.token_s, wish.pattern, wish.uses))
    for node in nodes:
        if wish.revoke:
            enrolment.revoke(node)
            yield f"{node}: its keys are believed no more"
            continue
        (enrolment.rotate if wish.rotate else enrolment.enroll)(node)
        yield f"{node}: {_where(keys, node, wish.to)}"


def _where(keys: Keys, node: NodeId, to: Path | None) -> str:
    """Say where an agent finds its keys; put what it needs into a folder, if one is given."""
    if to is None:
        return f"its key is {keys.node_key(node)}"
    folder = Keys(to / node)
    write_key(folder.node_key(node), read_curve(keys.node_key(node)))
    write_key(folder.directory / "controller.pub", keys.controller_public)
    write_key(folder.directory / "snapshot.key", keys.snapshot_secret)
    return f"carry {folder.directory} to it, as its keys folder"


def known(directory: Path) -> list[dict[str, object]]:
    """List nodes and join tokens as rows, none where there are no keys yet. Raises KeyFileError."""
    if not version_of(Enrolment.file(directory)):
        return []
    enrolment = Enrolment(Keys(directory))
    states = ("revoked", "enrolled", "changes its key")
    rows: list[dict[str, object]] = [
        {"node": node, "state": states[len(publics)]} for node, publics in sorted(enrolment.nodes.items())
    ]
    return rows + [
        {"node": token.nodes, "state": f"may join: {_uses(token.uses)}, until {_time(token.expires)}"}
        for token in enrolment.tokens.values()
    ]


def _uses(uses: int) -> str:
    return "any number" if uses > ANY_NUMBER // 2 else f"{uses} more"


def _time(at: Instant) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(" ", "seconds")
