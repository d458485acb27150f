"""What people have said of a diagnosis: the one place that knows how such a word is journalled."""

from collections.abc import Iterable

from sentinel.model.fact import Commanded, Fact
from sentinel.model.ids import IncidentId, Span
from sentinel.model.noun import Noun

RIGHT, NOT_NODE, NOT_CAUSE = "right", "not-node", "not-cause"
VERDICTS = {RIGHT: "right", NOT_NODE: "not this node", NOT_CAUSE: "not this cause"}
"""Commands by which a person judges an incident, and what they say."""


class Judged(Noun, frozen=True):
    """A person has said whether an incident's diagnosis was right."""

    at: Span
    incident: IncidentId
    what: str
    """One of `VERDICTS`."""
    who: str
    reason: str = ""


def judged(fact: Fact) -> list[Judged]:
    """Give a person's verdict, if the fact is one."""
    if isinstance(fact, Commanded) and fact.command in VERDICTS:
        return [Judged(fact.at, IncidentId(fact.target), fact.command, fact.who, fact.reason)]
    return []


def standing(words: Iterable[Judged]) -> list[Judged]:
    """Give what of all that was said of one incident stands: right ends the other two, and they end it."""
    stands: list[Judged] = []
    for new in words:
        kept = (each for each in stands if (each.what == RIGHT) == (new.what == RIGHT))
        stands = [*(each for each in kept if each.what != new.what), new]
    return stands
