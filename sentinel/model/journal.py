"""The journal's nouns: one line is a fact with the actions that were decided from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sentinel.model.action import Action
from sentinel.model.codec import CodecError, Plain, decode, encode, to_plain
from sentinel.model.fact import Fact
from sentinel.model.ids import ActionId, IncidentId

VERSION = 2
"""Version of the journal's and a recording's form that this code writes, and the newest it reads."""

_BODY = tuple[Fact, tuple[Action, ...]]
_OLD_NAMES = {"kind": "is", "kind_": "kind"}
"""Version 1 wrote a noun's name as `kind`, and so a noun's own field `kind` as `kind_`."""


class NewerVersionError(ValueError):
    """What is read was written by a later release."""

    def __init__(self, version: int, newest: int = VERSION) -> None:
        super().__init__(
            f"written by a newer Sentinel (version {version}, this one reads up to {newest})",
        )


@dataclass(frozen=True, slots=True)
class Line:
    """One committed line of the journal."""

    seq: int
    fact: Fact
    actions: tuple[Action, ...]
    policy_hash: str
    runbooks_hash: str


@dataclass(frozen=True, slots=True)
class Recording:
    """A piece of the journal that replays alone: the state before its first line, then the lines."""

    incident: IncidentId
    state_seq: int
    """Sequence number of the last line that `state` contains."""
    state: Plain | None
    """The state's plain form; None when the recording starts with an empty state."""
    policy: Plain | None
    """The policy that decided, if it was known."""
    lines: tuple[Line, ...]


def to_body(fact: Fact, actions: Sequence[Action]) -> bytes:
    """Give a line as the journal keeps it. Raises CodecError."""
    return encode((fact, tuple(actions)))


def from_body(body: bytes) -> tuple[Fact, tuple[Action, ...]]:
    """Read a line as the journal keeps it. Raises CodecError."""
    fact, actions = decode(_BODY, body)
    return fact, actions


def line_to_plain(fact: Fact, actions: Sequence[Action]) -> dict[str, Plain]:
    """Give a line's plain form in the current version."""
    return {"fact": to_plain(fact), "actions": to_plain(tuple(actions))}


def line_from_plain(version: int, plain: dict[str, Plain]) -> tuple[Fact, tuple[Action, ...]]:
    """Read a line's plain form of any known version. Raises CodecError, NewerVersionError."""
    plain = upgraded(version, plain)
    return from_body(encode((plain["fact"], plain["actions"])))  # converting it looks at every noun each time


def upgraded(version: int, plain: Plain) -> Plain:
    """Bring a plain form of any older version to the newest. Raises CodecError, NewerVersionError."""
    if version > VERSION:
        raise NewerVersionError(version)
    try:
        return _renamed(plain) if version == 1 else plain
    except RecursionError:
        raise CodecError("nested too deep") from None


def _renamed(plain: Plain) -> Plain:
    """Rename in nouns, and in no mapping: a node may be called `kind`, and so may a piece of evidence."""
    match plain:
        case list():
            return [_renamed(item) for item in plain]
        case dict():
            names = _OLD_NAMES if isinstance(plain.get("kind"), str) else {}
            return {names.get(key, key): _value(key, value) for key, value in plain.items()}
    return plain


def _value(key: str, value: Plain) -> Plain:
    return value if key == "evidence" and isinstance(value, dict) else _renamed(value)


def incident_of(action: ActionId) -> IncidentId:
    """Give the incident that an action id belongs to: ids read `incident/kind/target/attempt`."""
    return IncidentId(action.split("/", 1)[0])
