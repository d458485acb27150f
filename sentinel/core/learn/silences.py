"""Silences that end, by their time or by a human's word: what is still so may wake people again."""

from sentinel.core.state import State
from sentinel.core.state.timers import Timer


def end(state: State, name: str) -> None:
    """A node or a cause may page again; incidents that it kept quiet are looked at anew."""
    state.silences.drop(name)
    state.deadlines.drop(Timer.SILENCE.of(name))
    for incident in list(state.incidents.values()):
        found = incident.diagnosis
        if found is not None and (found.cause == name or name in found.nodes):
            state.change(incident)
