"""What people say of a diagnosis: kept for who shows it, and nothing follows from it."""

from sentinel.core.state import State
from sentinel.model.fact import Commanded
from sentinel.model.ids import IncidentId
from sentinel.model.judgement import Judgement, joined

MOST = 1000
"""Incidents whose judgements are kept, those judged last; the journal and the logbook have all."""


def judge(state: State, fact: Commanded) -> None:
    """Take a person's word on an incident, which may be long forgotten."""
    name, said = IncidentId(fact.target), Judgement(fact.at, fact.command, fact.who, fact.reason)
    state.judgements.put(name, joined(state.judgements.get(name, ()), said))
    if len(state.judgements) > MOST:
        state.judgements.drop(min(state.judgements, key=lambda each: state.judgements[each][-1].at))
