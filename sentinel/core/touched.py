"""What a fold has changed so far, and so what is to be settled: its cost is that of the change."""

from collections.abc import Collection, Sequence

from msgspec import Struct

from sentinel.core import proofs
from sentinel.core.evidence import mentions, silent_nodes
from sentinel.core.group import has_recovered
from sentinel.core.page.left import left_for_people
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job
from sentinel.model.ids import IncidentId, JobId, NodeId
from sentinel.model.incident import Incident


class Touched(Struct, frozen=True):
    """Objects to settle, in the order in which they are."""

    incidents: Sequence[IncidentId]
    nodes: Collection[NodeId]
    jobs: Sequence[JobId]

    @property
    def anything(self) -> bool:
        """Whether there is an object to settle."""
        return bool(self.incidents or self.nodes or self.jobs)

    @classmethod
    def everything(cls, state: State) -> "Touched":
        """Take all there is."""
        return cls(tuple(state.incidents), tuple(state.nodes), state.in_turn())

    @classmethod
    def of(cls, state: State, rules: Rules) -> "Touched":
        """Collect what the fold under way has changed, and who depends on it.

        Whether actions are allowed concerns all, and which nodes can be used concerns all incidents and jobs.
        """
        if (state.frozen, state.stopped) != state.was_allowed():
            return cls(tuple(state.incidents), _waiting_nodes(state), state.in_turn())
        nodes, places, found = _touched_nodes(state)
        jobs, turned = _touched_jobs(state)
        turning = (now for _, before, now in state.incidents.changes() if now and _turns(before, now))
        jobs |= {each.job for each in turning if each.job}
        waits = {part for name, _, _ in state.deadlines.changes() for part in name.split("/")[1:]}
        nodes |= state.in_preflight()  # whatever happens, their nodes may be needed by now
        if waits:
            nodes |= {NodeId(name) for name in waits if name in state.nodes}
            jobs |= {JobId(name) for name in waits}
        if any(isinstance(before, proofs.LEAVING) for _, before, _ in state.unfinished.changes()):
            nodes |= {node.id for node in state.cordoned()}  # they may be empty now
        if places or turned or state.workers.is_touched() or state.refused.is_touched:
            jobs = {*state.jobs}  # one job's GPUs may be what another job waits for
        incidents: set[IncidentId] = set()
        if state.incidents:
            incidents = _touched_incidents(state, nodes, waits)
            incidents |= _concerned(state, nodes, jobs, anyhow=places or found)
            incidents |= {name for (name, _), _, _ in state.refused.changes() if name in state.incidents}
            done = (before.incident for _, before, _ in state.unfinished.changes() if before is not None)
            incidents |= {name for name in done if name in state.incidents}
            if places or turned or state.workers.moves_spares() or (nodes and state.refused):
                incidents |= _left(state, rules)
        order = tuple(name for name in state.incidents if name in incidents) if incidents else ()
        lacking = [name for name in nodes if state.nodes[name].may_lack] if nodes else ()
        return cls(order, lacking, tuple(name for name in state.in_turn() if name in jobs) if jobs else ())


class Touches:
    """Says what is touched by now; collected anew only if something has changed."""

    def __init__(self, state: State, rules: Rules) -> None:
        self._state, self._rules = state, rules
        self._version, self._known = state.version, Touched.of(state, rules)

    def __call__(self) -> Touched:
        """Give it."""
        if self._state.version != self._version:
            self._version, self._known = self._state.version, Touched.of(self._state, self._rules)
        return self._known


def _left(state: State, rules: Rules) -> set[IncidentId]:
    """Give incidents whose page says something else of what is left for people than is so now."""
    unfinished = [each for each in state.incidents.values() if each.left]
    return {each.id for each in unfinished if left_for_people(each, state, rules) != each.left}


def _says_of_itself(job: Job) -> tuple[object, ...]:
    return job.stage, job.world, job.wanted, job.shrunk, job.lacking > 0


def _touched_jobs(state: State) -> tuple[set[JobId], bool]:
    """Give the changed jobs, and whether one does something else by now, or is of another size.

    Who waits for workers no more does something else, too.
    """
    names, turned = set(), False
    for name, before, now in state.jobs.changes():
        names.add(name)
        if before is None or now is None or _says_of_itself(before) != _says_of_itself(now):
            turned = True
    return names, turned


def _touched_nodes(state: State) -> tuple[set[NodeId], bool, bool]:
    """Give the changed nodes, whether what others depend on has, and whether one may be one of many alike."""
    changed = state.nodes.changes()
    found = any(before and now and before.recent is not now.recent for _, before, now in changed)
    return state.workers.touched_nodes().union(name for name, _, _ in changed), state.moves > 0, found


def _touched_incidents(state: State, nodes: set[NodeId], waits: set[str]) -> set[IncidentId]:
    """Give the changed incidents; to `nodes` come those of whose silent state something else is said now."""
    incidents = {IncidentId(name) for name in waits if name in state.incidents}
    for name, before, now in state.incidents.changes():
        incidents.add(name)
        if now is not None and (before is None or _says(before) != _says(now)):
            nodes |= {node for node in silent_nodes(now) if state.is_unheard(node)}
    for each in state.open_incidents() if state.unheard_count() else ():
        if has_recovered(state, each):
            nodes |= {node for node in silent_nodes(each) if state.is_unheard(node)}
    return incidents


def _concerned(state: State, nodes: set[NodeId], jobs: set[JobId], *, anyhow: bool) -> set[IncidentId]:
    """Give the open incidents that these are in, or that accuse a node on which one of the jobs is."""
    return {
        each.id
        for each in state.open_incidents()
        if anyhow or each.job in jobs or mentions(each, nodes) or _accuses_host(state, each, jobs)
    }


def _accuses_host(state: State, incident: Incident, jobs: set[JobId]) -> bool:
    accused = incident.diagnosis.nodes if incident.diagnosis and jobs else ()
    return any(state.workers.is_hosted(job, node) for node in accused for job in jobs)


def _turns(before: Incident | None, now: Incident) -> bool:
    return before is None or before.stage is not now.stage


def _says(incident: Incident) -> tuple[object, ...]:
    """What an incident says of the silent nodes that belong to it."""
    found = incident.diagnosis
    return (incident.stage, found.cause, found.suspects) if found else (incident.stage,)


def _waiting_nodes(state: State) -> set[NodeId]:
    """Nodes that may lack something: those that are cordoned, or silent, or given back."""
    return state.unusable() | state.in_preflight() | {name for name, _, _ in state.nodes.changes()}
