"""A cause with its suspects, evidence and stage: what people are paged about."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import NamedTuple

from msgspec import Struct

from sentinel.model.action import Action
from sentinel.model.fact import Fact
from sentinel.model.ids import Cause, IncidentId, Instant, JobId, NodeId, WorkerId

UNKNOWN = Cause("unknown")
"""What is left when nothing else fits."""


class Stage(StrEnum):
    """An incident's life."""

    OPEN = "open"
    MITIGATING = "mitigating"
    RESOLVED = "resolved"


class Blame(StrEnum):
    """What kind of thing a cause accuses."""

    RANK = "rank"
    GPU = "gpu"
    NODE = "node"
    LINK = "link"
    STORAGE = "storage"
    CODE = "code"
    CONTROL = "control"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Suspect:
    """Who is blamed, as precisely as the evidence allows, and how sure we are (0..1)."""

    node: NodeId | None = None
    rank: int | None = None
    gpu: int | None = None
    confidence: float = 0.0


class Domain(NamedTuple):
    """What several nodes stand on, and fail by together, such as `rack` `r12`."""

    kind: str
    """`rack | feed | switch | nvlink | image`, or what else a site calls it."""
    name: str


@dataclass(frozen=True, slots=True)
class Shared:
    """What nodes that have the same at once are believed to share: that is to blame, and no one of them."""

    domains: tuple[Domain, ...]
    """The smallest that explain it: several if the same nodes are in them; none for the whole cluster."""
    nodes: tuple[NodeId, ...]
    """Who in it has the same."""
    size: int
    """How many nodes are in it."""
    inferred: bool = False
    """No topology is known: only their number says that it is no chance."""

    def __str__(self) -> str:
        return f"{self._domains}: {self._many}" if self.domains else self._many

    @property
    def nodes_of(self) -> str:
        """Say which nodes in a sentence: `4 of 8 nodes of rack r12`."""
        return f"{self._many} of {self._domains}" if self.domains else self._many

    @property
    def doubt(self) -> str:
        """Say, to stand at a sentence's end, how little is known of what they share; empty if it is known."""
        if self.domains:
            return ""
        return " (a guess: no topology is configured)" if self.inferred else " (they are in no one domain)"

    @property
    def _many(self) -> str:
        return f"{len(self.nodes)} of {self.size} nodes"

    @property
    def _domains(self) -> str:
        return ", ".join(f"{kind} {name}" for kind, name in self.domains)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """An incident's cause: a runbook's name, its suspects, and the sentence that says why."""

    cause: Cause
    suspects: tuple[Suspect, ...]
    confidence: float
    why: str
    shared: Shared | None = None
    """What the suspects share, if they are too many for chance."""

    @property
    def is_known(self) -> bool:
        """Whether anybody knows what it was."""
        return self.cause != UNKNOWN

    @property
    def nodes(self) -> list[NodeId]:
        """Suspected nodes, by name."""
        return sorted({suspect.node for suspect in self.suspects if suspect.node})

    @property
    def mark(self) -> str:
        """Tell one accusation from another: by its cause, and whom it blames."""
        return f"{self.cause} {[(s.node, s.rank) for s in self.suspects]}"


class Due(StrEnum):
    """What evidence that came since the last diagnosis asks of the next."""

    NOTHING = ""
    CERTAIN = "certain"
    """A cause, if there is one already; else more evidence may come."""
    ANY = "any"
    """A cause, or the word that it is unknown: nothing more is waited for."""


class Ask(Struct, frozen=True, gc=False):
    """A question that an incident raises: a node's checks, or the stacks of processes."""

    what: str
    """`probe | stacks`"""
    target: str
    """A node, or a job whose stacks are told apart by what follows its name."""
    attempt: int
    processes: tuple[tuple[NodeId, int, int], ...] = ()
    """(node, rank, pid)"""


class PagedDiagnosis(Struct, frozen=True, gc=False):
    """A diagnosis that its page has said, and says still when a better one comes."""

    at: Instant
    diagnosis: Diagnosis

    def is_like(self, other: Diagnosis) -> bool:
        """Say whether who has read this one knows the other one, too: its cause, and whom it blames."""
        known = self.diagnosis
        return known is other or (known.cause == other.cause and known.mark == other.mark)


class Waited(Struct, frozen=True, gc=False):
    """What kept its repair from being done, and how long."""

    what: str
    """What was so meanwhile: `actions were frozen: ray-link-lost (I-0002)`."""
    since: Instant
    until: Instant


class Incident(Struct, frozen=True, gc=False):
    """One incident as the fold builds it, change by change."""

    id: IncidentId
    opened: Instant
    topic: str = ""
    """What new facts join it by: `job:moe`, `node:n1`, `gcs`, `disk-full`."""
    job: JobId | None = None
    stage: Stage = Stage.OPEN
    diagnosis: Diagnosis | None = None
    evidence: tuple[Fact, ...] = ()
    actions: tuple[Action, ...] = ()
    times: Mapping[str, Instant] = {}
    """`detected diagnosed paged evicted new_step resolved` → when."""
    acked_by: str = ""
    acked_why: str = ""
    """What they said with it."""
    steps_lost: int | None = None
    """Over all re-formings; None while none was formed that tells."""
    steps_before: int = 0
    """Of these, those of re-formings after which a new step was made."""
    again: tuple[int, int] = (-1, -1)
    """Which steps, from one after the first up to the last, are made again since the last new step."""
    revision: int = 0
    """How often its page was written."""
    attempts: int = 0
    """Generations ordered for its sake since the last new step, eviction or outage."""
    formed: int = 0
    """Generations ordered for its sake."""
    broke_of: tuple[Diagnosis, ...] = ()
    """Of breaks that its job had recovered from before it broke again, oldest first."""
    due: Due = Due.NOTHING
    asks: tuple[Ask, ...] = ()
    """Not yet asked."""
    replace: tuple[WorkerId, ...] = ()
    """Whose places the diagnosis gives to others: the suspects' workers as they sat then."""
    retried: Instant = 0.0
    """When a human said last that it is to be tried again: what was tried in vain before counts no more."""
    lapsed: bool = False
    """Its last generation made no new step in time, and nothing said why."""
    overruled: str = ""
    """The diagnosis whose freeze a human has lifted."""
    paged: str = ""
    """Digest of what its page says: the page is written anew when that is another."""
    decided: tuple[Instant, ...] = ()
    """When its newest actions were decided; fewer than these where an older release did not say."""
    diagnoses: tuple[PagedDiagnosis, ...] = ()
    """What its page has said, each with when it said so first, oldest first."""
    left: tuple[str, ...] = ()
    """What its page says is left for people."""
    part_of: IncidentId | None = None
    """The incident of what its nodes share with others: that one tells the rest."""

    proofs: tuple[str, ...] = ()
    """What nodes that it took out have shown since, and what was tried on them, a line each, oldest first."""

    waits: tuple[Waited, ...] = ()
    """What its repair had to wait for, oldest first."""

    acted: tuple[Diagnosis, ...] = ()
    """What something was done for, oldest first."""
    headline: Diagnosis | None = None
    """What people are told that it is: of what something was done for, and what is known now, the worst."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is done for its sake any more."""
        return self.stage is Stage.RESOLVED

    @property
    def about(self) -> Diagnosis | None:
        """What people are told that it is: a later break that is less of their business does not hide it."""
        return self.headline or self.diagnosis

    @property
    def named(self) -> str:
        """What is the matter now and its id, for others that wait for it."""
        return f"{self.diagnosis.cause} ({self.id})" if self.diagnosis else self.id

    @property
    def earlier(self) -> tuple[PagedDiagnosis, ...]:
        """What its page has said before it said what it is about, oldest first."""
        return tuple(takewhile(lambda each: not self._says(each), self.diagnoses))

    @property
    def later(self) -> tuple[PagedDiagnosis, ...]:
        """What its page has said since, oldest first."""
        since = self.diagnoses[len(self.earlier) :]
        return tuple(each for each in since if not self._says(each))

    def _says(self, told: PagedDiagnosis) -> bool:
        return self.about is not None and told.is_like(self.about)

    @property
    def where(self) -> tuple[Diagnosis, ...]:
        """What it is about, and the breaks of the same cause: all of their suspects are meant."""
        alike = (
            each for each in (*self.broke_of, *self.acted) if self.about and each.cause == self.about.cause
        )
        return tuple({each.mark: each for each in (self.about, *alike) if each}.values())

    @property
    def deeds(self) -> Iterator[tuple[Instant | None, Action]]:
        """What was done, oldest first, each with when that was decided; None where nobody said."""
        unknown = len(self.actions) - len(self.decided)
        return zip((*[None] * unknown, *self.decided), self.actions, strict=True)
