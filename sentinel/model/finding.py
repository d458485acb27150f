"""What a check concluded about one component of one node."""

import re
from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from sentinel.model.ids import Count, Span, Text, Word

_GPU = re.compile(r"gpu-([0-9]{1,4})")


NODE = "node"
"""The component of a finding about a node as a whole: while it is critical nothing is placed there."""


class Health(StrEnum):
    """A check's opinion; `unknown` and `skipped` are answers of their own, never `ok`."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


WORST = (Health.CRITICAL, Health.WARNING, Health.UNKNOWN)
"""From the worst on; what is ok or skipped asks nothing of anybody."""
RANKING: Mapping[Health, int] = {
    Health.OK: 0,
    Health.SKIPPED: 0,
    Health.UNKNOWN: 1,
    Health.WARNING: 2,
    Health.CRITICAL: 3,
}
"""A health as a number that can be charted: worse is more."""
NO_OPINION = frozenset({"probe-failed", "probe-hung", "probe-died"})
"""Codes of findings that only say that a check could not be run: what it would have found, nobody knows."""
TRAINER = "trainer"
"""The check that a job's ranks speak for: about the job, and the node is only where it was said."""
REPLAYED = "step-replayed"
"""Its code for a step that was computed again: `why` and `result` are in the evidence."""


class Finding(Struct, frozen=True, gc=False):
    """A check's result. The caller of `judge` adds node and time."""

    check: Word
    """The check's name, such as `gpu`."""
    code: Word
    """What was found in one word, such as `ecc-uncorrectable`; runbooks match on it."""
    component: str
    """What it is about: `gpu-3`, `memory`, `disk:/ckpt`, `rank-5`."""
    health: Health
    summary: Text
    evidence: Mapping[str, str | int | float] = {}
    """The decisive values, raw, with units in the key (`temperature_c`)."""
    event: bool = False
    """True for something that happened (an Xid); false for a state that can clear."""
    burst: str = ""
    """Names an event among its likes: reported again under this name it is the same one, counted further."""
    count: Count = 1
    """How often it happened until it was reported; `last_line` in the evidence is then the newest line."""
    age_s: Span = 0.0
    """How long before it was reported it happened, or happened last."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Identity of the state that this finding describes."""
        return (self.check, self.code, self.component)

    @property
    def name(self) -> str:
        """The same as one word: `check|code|component`."""
        return "|".join(self.key)


def skipped(check: str, why: str) -> Finding:
    """Say that a check does not apply on this machine, such as one of ports where there are none."""
    return Finding(check, "not-applicable", check, Health.SKIPPED, why)


def gpu_of(component: str) -> int | None:
    """Return the index in a component such as `gpu-3`."""
    found = _GPU.fullmatch(component)
    return int(found[1]) if found else None
