"""What people have said of a diagnosis: the one place that knows how such a word is journalled."""

from sentinel.model.fact import Commanded, Fact
from sentinel.model.ids import IncidentId, Instant
from sentinel.model.noun import Noun

VERDICTS = {"right": "right", "not-node": "not this node", "not-cause": "not this cause"}
"""Commands by which a person judges an incident, and what they say."""


class Judged(Noun, frozen=True):
    """A person has said whether an incident's diagnosis was right."""

    at: Instant
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
