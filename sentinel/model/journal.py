"""The journal's nouns: one line is a fact with the actions that were decided from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sentinel.model.action import Action
from sentinel.model.fact import Fact
from sentinel.model.ids import ActionId, IncidentId
from sentinel.model.wire import Plain, WireError, from_plain, to_plain

VERSION = 1
"""Version of a line's and a recording's plain form that this code writes, and the newest it reads."""

UPGRADES: Mapping[int, Callable[[dict[str, Plain]], dict[str, Plain]]] = {}
"""Version n → what makes `{"fact": …, "actions": […]}` of version n one of version n + 1."""


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


def upgrade(
    version: int,
    plain: dict[str, Plain],
    *,
    upgrades: Mapping[int, Callable[[dict[str, Plain]], dict[str, Plain]]] = UPGRADES,
    newest: int = VERSION,
) -> dict[str, Plain]:
    """Bring a line of any older version to the newest. Raises NewerVersionError for a later one."""
    if version > newest:
        raise NewerVersionError(version, newest)
    for step in range(version, newest):
        plain = upgrades[step](plain)
    return plain


def line_to_plain(fact: Fact, actions: tuple[Action, ...]) -> dict[str, Plain]:
    """Give a line's plain form in the current version."""
    return {"fact": to_plain(fact), "actions": to_plain(actions)}


def line_from_plain(version: int, plain: dict[str, Plain]) -> tuple[Fact, tuple[Action, ...]]:
    """Read a line's plain form of any known version. Raises WireError, NewerVersionError."""
    plain = upgrade(version, plain)
    fact: Fact = from_plain(Fact, plain["fact"])
    return fact, _actions(plain["actions"])


def incident_of(action: ActionId) -> IncidentId:
    """Give the incident that an action id belongs to: ids read `incident/kind/target/attempt`."""
    return IncidentId(action.split("/", 1)[0])


def _actions(plain: Plain) -> tuple[Action, ...]:
    if not isinstance(plain, list):
        raise WireError(f"expected a list of actions, got {plain!r:.80}")
    return tuple(from_plain(Action, item) for item in plain)
