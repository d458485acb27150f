"""The journal's nouns: one line is a fact with what was decided from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sentinel.model.action import Action
from sentinel.model.codec import CodecError, Plain, decode, encode, to_plain
from sentinel.model.decision import DEFERRED, Decision, deeds
from sentinel.model.fact import Fact
from sentinel.model.ids import ActionId, IncidentId

VERSION = 3
"""Version of the journal's and a recording's form that this code writes, and the newest it reads."""
ACTIONS_ONLY = 2
"""Version whose lines hold the actions alone: what else was decided has to be decided again."""

_BODY = tuple[Fact, tuple[Decision, ...], bool]
_OLD_BODY = tuple[Fact, tuple[Action, ...]]
_OF_TWO = b"\x92"
"""How the bytes of an old body begin."""
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
    decisions: tuple[Decision, ...]
    policy_hash: str
    runbooks_hash: str
    is_whole: bool = True
    """Whether all that was decided is there; before version 3 it was the actions alone."""

    @property
    def is_deferred(self) -> bool:
        """Whether it was decided together with the next line."""
        return self.decisions == DEFERRED

    @property
    def actions(self) -> tuple[Action, ...]:
        """What was to be done, or was refused."""
        return deeds(self.decisions)


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


def to_body(fact: Fact, decisions: Sequence[Decision], *, is_whole: bool = True) -> bytes:
    """Give a line as the journal keeps it. Raises CodecError."""
    return encode((fact, tuple(decisions), is_whole))


def from_body(body: bytes) -> tuple[Fact, tuple[Decision, ...], bool]:
    """Read a line as the journal keeps it: fact, decisions, whether all of them. Raises CodecError."""
    if body.startswith(_OF_TWO):
        return (*decode(_OLD_BODY, body), False)
    fact, decisions, is_whole = decode(_BODY, body)
    return fact, decisions, is_whole


def line_to_plain(fact: Fact, decisions: Sequence[Decision]) -> dict[str, Plain]:
    """Give a line's plain form in the current version."""
    return {"fact": to_plain(fact), "decisions": to_plain(tuple(decisions))}


def line_from_plain(version: int, plain: dict[str, Plain]) -> tuple[Fact, tuple[Decision, ...], bool]:
    """Read a line's plain form of any known version. Raises CodecError, NewerVersionError, KeyError."""
    plain, is_whole = upgraded(version, plain), version > ACTIONS_ONLY
    fact, decisions = plain["fact"], plain["decisions" if is_whole else "actions"]
    return from_body(encode((fact, decisions, is_whole)))  # converting it looks at every noun each time


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
