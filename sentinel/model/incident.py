"""A cause with its suspects, evidence and stage: what people are paged about."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct

from sentinel.model.action import Action
from sentinel.model.fact import Fact
from sentinel.model.ids import Cause, IncidentId, Instant, JobId, NodeId


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
    SWITCH = "switch"
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


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """An incident's cause: a runbook's name, its suspects, and the sentence that says why."""

    cause: Cause
    suspects: tuple[Suspect, ...]
    confidence: float
    why: str


class Incident(Struct, frozen=True):
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
    steps_lost: int | None = None
    revision: int = 0
    """How often its page was written."""
    remedied: str = ""
    """Cause and suspects that the last remedy was applied to; the same is not applied twice."""
    refused: str = ""
    """What was not done and why, as last recorded; the same is not recorded twice."""
    attempts: int = 0
    """How many remedies were applied."""
