"""One run of one fault: what came out, and whether it is right; the demo's JSON line."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sentinel.demo.fault import Place, Victim
from sentinel.model.ids import Instant, Seconds


@dataclass
class Result:
    """One run of one fault; null where something did not happen."""

    fault: str
    seed: int
    skipped: str | None = None
    injected_at: Instant | None = None
    detected_s: Seconds | None = None
    diagnosed_s: Seconds | None = None
    paged_s: Seconds | None = None
    evicted_s: Seconds | None = None
    new_step_s: Seconds | None = None
    steps_lost: int | None = None
    cause: str | None = None
    blamed: Place | None = None
    """The first suspect."""
    suspects: list[Place] = field(default_factory=list)
    truth: Place | None = None
    evicted: list[str] = field(default_factory=list)
    pages: int | None = None
    incidents: int | None = None
    beside: list[str] = field(default_factory=list)
    """Causes of the other incidents."""
    world: int | None = None
    """Ranks that train afterwards."""
    survivors_kept: list[int] | None = None
    pace: float | None = None
    """Steps a second while the fault lasted, as a share of those before; where training must go on."""
    losses_equal: bool | None = None
    right_cause: bool | None = None
    right_place: bool | None = None
    """Every suspect is the right one, or nobody is blamed where nobody is to blame."""
    false_blame: bool | None = None
    """Some incident names a node, rank or GPU that has nothing to do with it."""
    false_eviction: bool | None = None
    wrong: list[str] = field(default_factory=list)
    """What did not come out as it must; empty when all did."""

    def to_plain(self) -> dict[str, Any]:
        """Give the JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a judgement needs beside the result."""

    before: Sequence[Victim]
    """Who trained before the fault."""
    now: Sequence[Victim]
    suspects: Sequence[Sequence[Place]]
    """Of each new incident."""
