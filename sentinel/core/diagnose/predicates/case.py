"""What a predicate is asked about and what it answers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from msgspec import structs

from sentinel.core.evidence import breaks
from sentinel.core.group import since_step
from sentinel.core.state import Rules, State
from sentinel.model.fact import RankExited, RankRaised, RankSlow
from sentinel.model.incident import Incident, Suspect

F = TypeVar("F")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Case:
    """An incident under diagnosis with all that may be asked about it.

    What its job had recovered from is dealt with, so it is no evidence of why the job broke again.
    """

    incident: Incident
    state: State
    rules: Rules
    _by_kind: dict[type, list[Any]] = field(init=False, default_factory=dict, repr=False, compare=False)

    _found: dict[str, Any] = field(init=False, default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        evidence = since_step(self.state, self.incident)
        if evidence is not self.incident.evidence:
            object.__setattr__(self, "incident", structs.replace(self.incident, evidence=evidence))
        for fact in self.incident.evidence:
            self._by_kind.setdefault(type(fact), []).append(fact)

    def once(self, name: str, found: Callable[[], T]) -> T:
        """Find something out at most once, whoever asks."""
        if name not in self._found:
            self._found[name] = found()
        return cast(T, self._found[name])

    def all(self, noun: type[F]) -> Iterator[F]:
        """Evidence of one kind, oldest first."""
        return iter(self._by_kind.get(noun, ()))

    @property
    def newest(self) -> int:
        """The generation that broke last: what broke earlier is repaired already."""
        return self.once(
            "newest", lambda: max((fact.generation for fact in breaks(self.incident)), default=0)
        )

    def raised(self) -> list[RankRaised]:
        """Exceptions of that generation."""
        return [fact for fact in self.all(RankRaised) if fact.generation == self.newest]

    def last(self, noun: type[F]) -> F | None:
        """Return the newest evidence of one kind."""
        facts = self._by_kind.get(noun)
        return facts[-1] if facts else None


@dataclass(frozen=True, slots=True)
class Match:
    """A condition that holds: who is suspected, and the sentence that says why."""

    suspects: tuple[Suspect, ...]
    why: str
    sure: float = 1.0
    """Multiplies the runbook's confidence."""


Predicate = Callable[[Case], Match | None]


def suspect_of(fact: RankExited | RankRaised | RankSlow) -> Suspect:
    """Blame the rank that the fact is about, with its place."""
    return Suspect(fact.node, fact.rank if fact.rank >= 0 else None, fact.gpu)


def who_raised(fact: RankRaised) -> str:
    """Say who raised: a rank, or a worker that has none yet."""
    return f"rank {fact.rank}" if fact.rank >= 0 else "a worker that starts"
