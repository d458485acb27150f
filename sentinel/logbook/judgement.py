"""What people have said of a diagnosis: the one place that knows how such a word is journalled."""

from collections.abc import Iterable

from sentinel.model.fact import Commanded, Fact
from sentinel.model.ids import IncidentId, Span
from sentinel.model.judgement import JUDGEMENTS, Judgement, joined
from sentinel.model.noun import Noun


class Judged(Noun, frozen=True):
    """A person has said whether an incident's diagnosis was right."""

    at: Span
    incident: IncidentId
    what: str
    """One of `JUDGEMENTS`."""
    who: str
    reason: str = ""


def judged(fact: Fact) -> list[Judged]:
    """Give a person's verdict, if the fact is one."""
    if isinstance(fact, Commanded) and fact.command in JUDGEMENTS:
        return [Judged(fact.at, IncidentId(fact.target), fact.command, fact.who, fact.reason)]
    return []


def standing(words: Iterable[Judged]) -> list[Judged]:
    """Give what stands of all that was said of one incident, in order."""
    said = list(words)
    stands: tuple[Judgement, ...] = ()
    for each in said:
        stands = joined(stands, Judgement(each.at, each.what, each.who, each.reason))
    known = {(each.at, each.what, each.who) for each in stands}
    return [each for each in said if (each.at, each.what, each.who) in known]
