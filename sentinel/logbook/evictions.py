"""Whether evictions were right: by people's word, and by what the nodes have shown since."""

from collections.abc import Iterator, Sequence
from enum import StrEnum

from msgspec import Struct

from sentinel.logbook.judgement import Judged, standing
from sentinel.logbook.row import Row
from sentinel.logbook.tally import Entry, Evicted, Proved
from sentinel.model.ids import Instant
from sentinel.model.judgement import NOT_NODE, RIGHT, SAID


class Verdict(StrEnum):
    """What is known of an eviction by now."""

    RIGHT = "right"
    WRONG = "wrong"
    OPEN = "not known"


class Eviction(Struct, frozen=True):
    """One node that an incident took out of use."""

    at: Instant
    node: str
    incident: str
    cause: str
    verdict: Verdict
    why: str
    """Who or what says so."""


def evictions(rows: Sequence[Row], entries: Sequence[Entry]) -> Iterator[Eviction]:
    """Give all evictions, oldest first, each judged by all that is known of it."""
    by_incident = {row.incident: row for row in rows}
    when = {(each.incident, each.node): each.at for each in reversed(entries) if isinstance(each, Evicted)}
    for row in rows:  # of an older release, whose tally does not say when each was
        for node in row.evicted:
            when.setdefault((row.incident, node), row.opened + row.times.get("evicted", 0.0))  # type: ignore[arg-type]
    for (incident, node), at in sorted(when.items(), key=lambda item: item[1]):
        found = by_incident.get(incident)
        yield Eviction(at, node, incident, found.cause if found else "", *judge(node, incident, entries))


def judge(node: str, incident: str, entries: Sequence[Entry]) -> tuple[Verdict, str]:
    """Say whether it was right that an incident took a node out; people's newest word counts most.

    A node that passes every test without a repair was well: that counts against us.
    """
    said = standing(each for each in entries if isinstance(each, Judged) and each.incident == incident)
    words = {each.what: each for each in said}
    if word := words.get(NOT_NODE):
        return Verdict.WRONG, f"{word.who}: {SAID[NOT_NODE]}{_because(word.reason)}"
    if word := words.get(RIGHT):
        return Verdict.RIGHT, f"{word.who}: {SAID[RIGHT]}{_because(word.reason)}"
    proved = (each for each in entries if isinstance(each, Proved) and each.result in ("passed", "failed"))
    proofs = [each for each in proved if (each.incident, each.node) == (incident, node)]
    proof = proofs[0] if proofs else None  # who failed once was ill, whatever is passed later
    if proof is None:
        return Verdict.OPEN, ""
    if proof.result == "failed":
        return Verdict.RIGHT, f"failed its proof{_because(proof.said)}"
    if proof.repairs:
        return Verdict.RIGHT, f"passed only after {', '.join(proof.repairs)}"
    return Verdict.WRONG, "passed every test, and nothing had been repaired"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
