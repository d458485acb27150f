"""What the collective stack itself says of who is behind: it seconds what heartbeats show, or doubts it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from sentinel.core.diagnose.predicates.case import Case, Match
from sentinel.model.action import kind_of
from sentinel.model.fact import JobStalled, Outcome
from sentinel.model.flight import Flight, read


def seconded(case: Case, stall: JobStalled, found: Match) -> Match:
    """Hold a match that blames ranks against torch's flight recorder, as far as these ranks have one.

    It names nobody by itself: a group may be of some ranks alone, and a recorder can be switched off.
    """
    groups = case.once("flights", lambda: _groups(case, stall))
    seen = {rank for ranks in groups.values() for rank in ranks}
    behind = {rank: missed for ranks in groups.values() for rank, missed in _behind(ranks).items()}
    accused = {suspect.rank for suspect in found.suspects if suspect.rank is not None} & seen
    if not accused or len(seen) < case.rules.policy.several:
        return found
    if accused <= behind.keys():
        missed = behind[min(accused)]
        said = f"; torch's flight recorder says so, too: it has not entered {missed.what} {missed.number}"
        return replace(found, why=f"{found.why}{said}")
    if accused & behind.keys():
        return found
    others = ", ".join(map(str, sorted(behind)))
    by_it = f"rank {others} is behind" if behind else "it has entered all that others have"
    why = f"{found.why}; but by torch's flight recorder {by_it}"
    return replace(found, why=why, sure=found.sure * case.rules.policy.sure_doubted)


def _groups(case: Case, stall: JobStalled) -> Mapping[str, Mapping[int, Flight]]:
    """Give each group's ranks with the newest collective of each, as told after the stall."""
    groups: dict[str, dict[int, Flight]] = defaultdict(dict)
    for fact in case.all(Outcome):
        if kind_of(fact.action) == "stacks" and fact.at >= stall.at:
            for flight in read(fact.data):
                groups[flight.group][flight.rank] = flight
    return groups


def _behind(ranks: Mapping[int, Flight]) -> Mapping[int, Flight]:
    """Give the ranks that have not entered what others of their group have, and what that is."""
    newest = max(ranks.values(), key=lambda flight: flight.number)
    return {rank: newest for rank, flight in ranks.items() if flight.number < newest.number}
