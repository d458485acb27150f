"""What a fold has changed so far, and so what is to be settled: its cost is that of the change."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sentinel.core.group import has_recovered, mentions, silent_nodes
from sentinel.core.state import State, standing
from sentinel.model.ids import IncidentId, JobId, NodeId
from sentinel.model.incident import Incident, Stage


@dataclass(frozen=True, slots=True)
class Touched:
    """Objects to settle, in the order in which they are."""

    incidents: Sequence[IncidentId]
    nodes: Collection[NodeId]
    jobs: Sequence[JobId]

    @classmethod
    def everything(cls, state: State) -> "Touched":
        """Take all there is."""
        return cls(tuple(state.incidents), tuple(state.nodes), tuple(state.jobs))

    @classmethod
    def of(cls, state: State) -> "Touched":
        """Collect what the fold under way has changed, and who depends on it.

        Whether actions are allowed concerns all, and which nodes can be used concerns all incidents and jobs.
        """
        if (state.frozen, state.stopped) != state.was_allowed():
            return cls(tuple(state.incidents), _waiting_nodes(state), tuple(state.jobs))
        waits = {part for name, _, _ in state.deadlines.changes() for part in name.split("/")[1:]}
        changed = list(state.nodes.changes())
        nodes = {name for name, _, _ in changed} | state.crew.touched_nodes()
        nodes |= {NodeId(name) for name in waits if name in state.nodes}
        places = any(
            before is None or now is None or standing(before) != standing(now) for _, before, now in changed
        )
        found = any(
            before is not None and now is not None and before.recent is not now.recent
            for _, before, now in changed
        )  # it may be one of many that have the same
        jobs = {name for name, _, _ in state.jobs.changes()} | {JobId(name) for name in waits}
        if places or state.crew.is_touched():  # one's GPUs may be what another waits for
            jobs = {*state.jobs}
        met = list(state.incidents.changes())
        incidents = {name for name, _, _ in met} | {IncidentId(name) for name in waits}
        told = [now for _, was, now in met if now and (was is None or _says(was) != _says(now))]
        if state.unheard_count():
            told += [each for each in state.open_incidents() if has_recovered(state, each)]
        for each in told:
            nodes |= {node for node in silent_nodes(each) if state.is_unheard(node)}
        concerned = tuple(
            incident.id
            for incident in state.incidents.values()
            if incident.id in incidents
            or (
                incident.stage is not Stage.RESOLVED
                and (places or found or incident.job in jobs or mentions(incident, nodes))
            )
        )
        return cls(concerned, nodes, tuple(name for name in state.jobs if name in jobs))


def _says(incident: Incident) -> tuple[object, ...]:
    """What an incident says of the nodes whose silence belongs to it."""
    return incident.stage, incident.diagnosis


def _waiting_nodes(state: State) -> set[NodeId]:
    """Nodes that may lack something: those that are cordoned, or silent, or given back."""
    changed = {name for name, _, _ in state.nodes.changes()}
    return state.unusable() | changed
