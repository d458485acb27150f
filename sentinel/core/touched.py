"""What a fold has changed, and so what is still to be settled: its cost is that of the change."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from sentinel.core import proofs
from sentinel.core.evidence import mentions, silent_nodes
from sentinel.core.group import has_recovered
from sentinel.core.page.left import left_for_people
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, Node
from sentinel.core.state.workers import Worker
from sentinel.model.action import Action, Page
from sentinel.model.ids import IncidentId, JobId, NodeId
from sentinel.model.incident import Incident


class Touched:
    """The objects to settle: more come with each change, and one that lacks nothing is taken off."""

    def __init__(self, state: State, rules: Rules) -> None:
        self._state, self._rules = state, rules
        self._seen = self._moves = 0
        self._allowed = state.was_allowed()
        self._incidents: set[IncidentId] = set()
        self._nodes: set[NodeId] = set()
        self._jobs: set[JobId] = set()
        self._told: set[IncidentId] = set()

    @classmethod
    def everything(cls, state: State, rules: Rules) -> "Touched":
        """Take all there is."""
        touched = cls(state, rules)
        touched._touch({*state.incidents}, set(), {*state.jobs})
        touched._nodes = {*state.nodes}
        return touched

    @property
    def incidents(self) -> Sequence[IncidentId]:
        """Incidents to settle, oldest first."""
        return self._oldest_first(self._incidents)

    @property
    def nodes(self) -> Sequence[NodeId]:
        """Nodes to settle, by name."""
        return sorted(self._nodes)

    @property
    def jobs(self) -> Sequence[JobId]:
        """Jobs to settle, in their turn."""
        return [name for name in self._state.in_turn() if name in self._jobs] if self._jobs else ()

    @property
    def told(self) -> Sequence[IncidentId]:
        """Incidents of which people may have to be told something else, oldest first."""
        return self._oldest_first(self._told)

    def _oldest_first(self, names: Collection[IncidentId]) -> Sequence[IncidentId]:
        return [name for name in self._state.incidents if name in names] if names else ()

    def settled(
        self, *, incident: IncidentId | None = None, node: NodeId | None = None, job: JobId | None = None
    ) -> None:
        """Nothing is missing there any more, whatever was decided for it."""
        self.look()
        self._incidents -= {incident}
        self._nodes -= {node}
        self._jobs -= {job}

    def look(self) -> bool:
        """See what has changed since the last look, and who depends on it; true if anything is to settle.

        Whether actions are allowed concerns all, and which nodes can be used concerns all incidents and jobs.
        """
        state, changes = self._state, self._state.changes
        if (allowed := (state.frozen, state.stopped)) != self._allowed:
            self._allowed, self._seen, self._moves = allowed, len(changes), state.moves
            self._touch({*state.incidents}, _waiting_nodes(state), {*state.jobs})
        elif len(changes) > self._seen:
            new = _Changes(state)
            for each in changes[self._seen :]:
                if (sees := SEES.get(each.table.kind)) is not None:
                    sees(new, each.key, each.before, each.table.get(each.key))
            self._seen, places, self._moves = len(changes), state.moves > self._moves, state.moves
            if new.any:
                self._touch(*new.followed(self._rules, places=places))
        return bool(self._incidents or self._nodes or self._jobs)

    def _touch(self, incidents: set[IncidentId], nodes: set[NodeId], jobs: set[JobId]) -> None:
        self._incidents |= incidents
        self._told |= incidents
        self._jobs |= jobs
        self._nodes |= self._state.lacking(nodes)


class _Changes:
    """What some changes were about, as their tables show."""

    any = False
    """Whether any of them may concern somebody."""
    _found = False
    """Something was found that may be on many nodes."""
    _turned = False
    """A job does something else, or a worker or a refusal is another: that may concern each job."""
    _moves = False
    """The same but for workers that only wait: that may concern each incident of a job."""
    _tasks = False
    """What is left for people may be something else: other nodes are without a rank, a job does something
    else, or a node that is out is, say, to be proved."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._incidents: set[IncidentId] = set()
        self._nodes: set[NodeId] = set()
        self._jobs: set[JobId] = set()
        self._looked: set[JobId] = set()
        """Jobs that were looked at."""
        self._quiet: set[NodeId] = set()
        """Nodes of which only workers changed that wait."""
        self._waits: set[str] = set()
        """Names in deadlines."""

    def node(self, name: NodeId, before: Node | None, now: Node | None) -> None:
        self.any = True
        self._nodes.add(name)
        if before is not None and now is not None and before.recent is not now.recent:
            self._found = True
        if now is not None and now.cordon is not None:
            self._tasks = True

    def job(self, name: JobId, before: Job | None, now: Job | None) -> None:
        """Who waits for workers no more does something else, too; of many changes the first says all."""
        if name in self._looked:
            return
        self._looked.add(name)
        self.any = True
        self._jobs.add(name)
        if before is None or now is None or _says_of_itself(before) != _says_of_itself(now):
            self._turned = self._tasks = self._moves = True

    def worker(self, _: object, before: Worker | None, now: Worker | None) -> None:
        """Of one that only waits for a seat no incident says anything."""
        if (known := now or before) is None:
            return
        self.any = self._turned = True
        if (before is None or before.waits) and (now is None or now.waits):
            self._quiet.add(known.node)
        else:
            self._moves = True
            self._nodes.add(known.node)

    def spare(self, *_: object) -> None:
        self.any = self._tasks = True

    def incident(self, name: IncidentId, before: Incident | None, now: Incident | None) -> None:
        """Of its silent nodes something else may be said now."""
        self.any = True
        self._incidents.add(name)
        if now is None:
            return
        if now.job is not None and (before is None or before.stage is not now.stage):
            self._jobs.add(now.job)
        if self._state.unheard_count() and (before is None or _says(before) != _says(now)):
            self._nodes |= {node for node in silent_nodes(now) if self._state.is_unheard(node)}

    def deadline(self, name: str, *_: object) -> None:
        self.any = True
        self._waits.update(name.split("/")[1:])

    def unfinished(self, _: str, before: Action | None, __: object) -> None:
        """Nobody waits for a page to have been sent."""
        if before is None or isinstance(before, Page):
            return
        self.any = True
        self._incidents.add(before.incident)
        if isinstance(before, proofs.LEAVING):
            self._nodes |= {node.id for node in self._state.cordoned()}  # they may be empty now

    def refused(self, key: tuple[IncidentId, str], *_: object) -> None:
        self.any = self._turned = self._moves = True
        self._incidents.add(key[0])

    def followed(self, rules: Rules, *, places: bool) -> tuple[set[IncidentId], set[NodeId], set[JobId]]:
        """Give what was changed and all that depends on it; `places`: whether other nodes can be used now."""
        state, incidents, nodes, jobs = self._state, self._incidents, self._nodes, self._jobs
        nodes |= state.in_preflight()  # whatever happens, they may be needed by now
        for name in self._waits:
            incidents.add(IncidentId(name))
            jobs.add(JobId(name))
            if name in state.nodes:
                nodes.add(NodeId(name))
        concern = {*state.jobs} if self._moves else jobs
        if places or self._turned:
            jobs = {*state.jobs}  # one job's GPUs may be what another job waits for
        going = state.open_incidents()
        for each in going if state.unheard_count() else ():
            if has_recovered(state, each):
                nodes |= {node for node in silent_nodes(each) if state.is_unheard(node)}
        if places or self._found:
            incidents.update(each.id for each in going)
        elif going:
            incidents.update(_concerned(state, going, nodes, concern))
        if places or self._tasks or (nodes and state.refused):
            incidents |= _left(state, rules)
        known = incidents.intersection(state.incidents) if incidents else incidents
        return known, nodes | self._quiet, jobs


SEES: Mapping[str, Callable[[_Changes, Any, Any, Any], None]] = {
    "nodes": _Changes.node,
    "jobs": _Changes.job,
    "workers": _Changes.worker,
    "spare": _Changes.spare,
    "incidents": _Changes.incident,
    "deadlines": _Changes.deadline,
    "unfinished": _Changes.unfinished,
    "refused": _Changes.refused,
}
"""What a change of a table's row means, by the table; of others nothing follows."""


def _left(state: State, rules: Rules) -> set[IncidentId]:
    """Give incidents whose page says something else of what is left for people than is so now."""
    unfinished = [each for each in state.incidents.values() if each.left]
    return {each.id for each in unfinished if left_for_people(each, state, rules) != each.left}


def _says_of_itself(job: Job) -> tuple[object, ...]:
    return job.stage, job.world, job.wanted, job.shrunk, job.lacking > 0


def _concerned(
    state: State, going: Sequence[Incident], nodes: set[NodeId], jobs: set[JobId]
) -> Iterator[IncidentId]:
    """Give the open incidents that these are in, or that accuse a node on which one of the jobs is."""
    for each in going:
        if each.job in jobs or mentions(each, nodes) or _accuses_host(state, each, jobs):
            yield each.id


def _accuses_host(state: State, incident: Incident, jobs: set[JobId]) -> bool:
    accused = incident.diagnosis.nodes if incident.diagnosis and jobs else ()
    return any(state.workers.is_hosted(job, node) for node in accused for job in jobs)


def _says(incident: Incident) -> tuple[object, ...]:
    """What an incident says of the silent nodes that belong to it."""
    found = incident.diagnosis
    return (incident.stage, found.cause, found.suspects) if found else (incident.stage,)


def _waiting_nodes(state: State) -> set[NodeId]:
    """Nodes that may lack something: those that are cordoned, silent, given back, or changed just now."""
    changed = {each.key for each in state.changes if each.table is state.nodes}
    return state.unusable() | state.in_preflight() | changed
