"""What the fold remembers between facts: nodes, jobs, incidents, deadlines."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from sentinel.core.state.rows import Baseline, Job, JobStage, Node, Silence
from sentinel.core.state.stored import StoredState
from sentinel.core.state.tables import Change, Fold, Marks, Table
from sentinel.core.state.timers import EVIDENCE
from sentinel.core.state.workers import Worker, WorkerTable
from sentinel.model import codec
from sentinel.model.action import Action
from sentinel.model.counted import counted
from sentinel.model.fact import FindingReported
from sentinel.model.ids import ActionId, IncidentId, Instant, JobId, NodeId, Seconds, WorkerId
from sentinel.model.incident import Incident
from sentinel.model.judgement import Judgement

INDEXED = frozenset(
    {
        "cordon",
        "gpus",
        "left",
        "lives",
        "maintained",
        "outside",
        "preflight",
        "shunned",
        "silent",
        "trusted",
    }
)
"""Fields of a node by which it is found, or others decide, and so do critical findings.

Of a change of the rest nobody else is told.
"""


def _is_other(before: Node, now: Node) -> bool:
    """Say whether what others depend on has changed: whether a node may be used, and for how many workers."""
    if before.cordon is not now.cordon or before.silent != now.silent or before.left != now.left:
        return True
    if before.gpus != now.gpus or before.lives != now.lives:
        return True
    if before.shunned != now.shunned or before.trusted != now.trusted:
        return True
    if before.maintained is not now.maintained:
        return True
    return before.findings is not now.findings and before.accused != now.accused


Row = TypeVar("Row", Node, Job, Incident, Worker)


class State:
    """Everything that decisions depend on; changed by a fold alone, all at once or not at all.

    Rows are frozen: `change` puts another in the place of one. Between folds nothing but a fold's commit
    touches what is here, and what was read before it stays as it was.
    """

    def __init__(self, now: Instant = 0.0) -> None:
        self.now = now
        self._fold = Fold()
        self.nodes: Table[NodeId, Node] = Table(self._fold, kind="nodes")
        self._unheard: Marks[NodeId] = Marks(self._fold)
        self._cordoned: Marks[NodeId] = Marks(self._fold)
        self._maintained: Marks[NodeId] = Marks(self._fold)
        self._left: Marks[NodeId] = Marks(self._fold)
        self._aside: Marks[NodeId] = Marks(self._fold)
        self._unfit: Marks[NodeId] = Marks(self._fold)
        self._in_preflight: Marks[NodeId] = Marks(self._fold)
        self._lacking: Marks[NodeId] = Marks(self._fold)
        self.jobs: Table[JobId, Job] = Table(self._fold, kind="jobs")
        self.workers = WorkerTable(self._fold)
        self.incidents: Table[IncidentId, Incident] = Table(self._fold, kind="incidents")
        """Open ones, and the resolved ones that a stronger cause could still reopen."""
        self._open: Marks[IncidentId] = Marks(self._fold)
        self.opened = 0
        """Incidents ever opened; numbers the next one."""
        self.past = ""
        """Whose workers' names these are: empty for the journal's own, or drawn when its end was lost."""
        self.woke: Instant = 0.0
        """When a controller began to look last, after there was none or it stood still."""
        self.frozen = ""
        """Why no action is taken; empty when actions are allowed."""
        self.stopped = ""
        """Who stopped all actions; empty when nobody did."""
        self.evictions: tuple[Instant, ...] = ()
        self.unfinished: Table[ActionId, Action] = Table(self._fold, kind="unfinished")
        """Actions without an outcome: a new controller performs them again, which is harmless."""
        self.deadlines: Table[str, Instant] = Table(self._fold, kind="deadlines")
        self.silences: Table[str, Silence] = Table(self._fold)
        """By the node or cause that pages nobody; its deadline ends it."""
        self.judgements: Table[IncidentId, tuple[Judgement, ...]] = Table(self._fold)
        """What people say of diagnoses, the incident judged last at the end."""
        self.baselines: Table[str, Baseline] = Table(self._fold)
        """By `check|kind|figure`."""
        self.refusals = 0
        """Refusals ever recorded; numbers the next one."""
        self.refused: Table[tuple[IncidentId, str], str] = Table(self._fold, kind="refused")
        """What is on record as not done, for whom, by which guard; until that has allowed it."""
        self.moves = 0
        """How often the fold under way has changed of a node what others depend on."""
        self._before = self._numbers()

    # --- one fold --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """From here on nothing is committed until `commit`."""
        self._before, self.moves = self._numbers(), 0
        self._fold.begin()

    def commit(self) -> None:
        """Make all that was changed the state's own."""
        self._fold.commit()

    def abandon(self) -> None:
        """Forget all that was changed."""
        self._fold.abandon()
        self._restore(self._before)

    def _numbers(self) -> tuple[Any, ...]:
        return self.now, self.opened, self.frozen, self.stopped, self.evictions, self.refusals, self.woke

    def _restore(self, numbers: tuple[Any, ...]) -> None:
        self.now, self.opened, self.frozen, self.stopped, self.evictions, self.refusals, self.woke = numbers

    def change(self, row: Row, **fields: Any) -> Row:
        """Put a row like this one, as it is by now, with other fields in its place; gives it back."""
        match row:
            case Node():
                before = self.nodes[row.id]
                now = replace(before, **fields)
                quiet = INDEXED.isdisjoint(fields) and (
                    "findings" not in fields or now.accused == before.accused
                )
                return self.nodes.put(row.id, now) if quiet else self._put_node(now)
            case Job():
                return self.jobs.put(row.id, replace(self.jobs[row.id], **fields))
            case Worker():
                return self.workers.put(replace(self.workers.rows[row.key], **fields))
            case Incident():
                known = self.incidents.get(row.id)
                if known is None:
                    # A placeholder incident for actions that no incident asked for; it has no row.
                    return replace(row, **fields)
                return self._put_incident(replace(known, **fields))

    def add(self, row: Row) -> Row:
        """Put a new row."""
        match row:
            case Worker():
                return self.workers.put(row)
            case Node():
                return self._put_node(row)
            case Job():
                for node in self.nodes:
                    self.workers.look_again_at(row.id, node)
                return self.jobs.put(row.id, row)
            case Incident():
                return self._put_incident(row)

    def _put_incident(self, incident: Incident) -> Incident:
        self._open.note(incident.id, not incident.is_over)
        return self.incidents.put(incident.id, incident)

    def _put_node(self, node: Node) -> Node:
        """Put a node where it is found by what is the matter with it."""
        before = self.nodes.get(node.id)
        if before is None or _is_other(before, node):
            self.moves += 1
            self._index(node)
            self.workers.opens(node.id, may_sit=node.may_spare)
            for job in self.jobs:
                self.workers.look_again_at(job, node.id)
        self._in_preflight.note(node.id, node.preflight is not None)
        self._lacking.note(node.id, node.may_lack)
        return self.nodes.put(node.id, node)

    def _index(self, node: Node) -> None:
        aside = node.cordon is not None or node.left or node.maintained is not None
        self._unheard.note(node.id, node.silent and not aside)
        self._cordoned.note(node.id, node.cordon is not None)
        self._maintained.note(node.id, node.maintained is not None)
        self._left.note(node.id, node.left)
        self._aside.note(node.id, aside)
        self._unfit.note(node.id, node.is_unfit)

    def fresh(self, row: Row) -> Row:
        """Give a row as it is by now."""
        match row:
            case Node():
                return self.nodes[row.id]
            case Job():
                return self.jobs[row.id]
            case Worker():
                return self.workers.rows[row.key]
            case Incident():
                return self.incidents.get(row.id) or row

    # --- questions -------------------------------------------------------------------------------------

    def open_incidents(self) -> list[Incident]:
        """Incidents that are not resolved, in the order in which they came."""
        return [row for name, row in self.incidents.items() if name in self._open] if self._open else []

    def incidents_of(self, job: Job) -> list[Incident]:
        """Those of them that are about a job."""
        return [incident for incident in self.open_incidents() if incident.job == job.id]

    def open_incident(self, name: str | None) -> Incident | None:
        """Return one of these by its id."""
        incident = self.incidents.get(IncidentId(name)) if name else None
        return incident if incident is not None and not incident.is_over else None

    def job_on(self, node: NodeId) -> Job | None:
        """Return the job with a rank on this node; one that was stopped has none any more."""
        owners = (self.jobs[worker.job] for worker in self.workers.sitting(node))
        return next((job for job in owners if job.stage is not JobStage.STOPPED), None)

    def ranks_named(self, fact: FindingReported) -> list[Worker]:
        """Return the rank that a finding names, if it sits on that node; where no job is named, any job's."""
        named = fact.finding.evidence
        rank, job = named.get("rank"), named.get("job", "")
        sitting = self.workers.sitting(fact.node) if rank is not None else ()
        return [worker for worker in sitting if worker.rank == rank and job in ("", worker.job)]

    def in_turn(self) -> tuple[JobId, ...]:
        """Jobs in the order in which they get what is free: by priority, then by submission."""
        jobs = self.jobs.values()
        return tuple(job.id for job in sorted(jobs, key=lambda each: -each.priority))

    def worker(self, job: JobId, worker: WorkerId) -> tuple[Job | None, Worker | None]:
        """Return a job and one of its workers, as far as they are known."""
        return self.jobs.get(job), self.workers.get(job, worker)

    def seated(self, job: Job) -> Iterator[tuple[int, Worker]]:
        """Ranks of the newest generation with their workers."""
        return self.workers.seated(job.id)

    def ranks(self, job: Job) -> str:
        """Say how many ranks a job has now, of how many: `2 of 3 ranks`."""
        here = len(self.present(job)) if job.is_over else self.workers.seated_count(job.id)
        return f"{here} of {job.wanted} ranks"

    def present(self, job: Job) -> list[tuple[int, Worker]]:
        """Ranks of the newest generation; of a job that is over those whose processes have not ended yet."""
        seated = self.seated(job)
        return [each for each in seated if not job.is_over or each[1].is_living or each[1].may_run]

    def job_of(self, incident: Incident) -> Job | None:
        """Return the job that an incident is about."""
        return self.jobs.get(incident.job) if incident.job else None

    def unheard(self) -> list[Node]:
        """Silent nodes that count, by name: one that is cordoned or in maintenance says nothing by it."""
        return [self.nodes[name] for name in sorted(self._unheard)]

    def is_unheard(self, node: NodeId) -> bool:
        """Say whether a node is one of these."""
        return node in self._unheard

    def unheard_count(self) -> int:
        """How many these are."""
        return len(self._unheard)

    def standing_count(self) -> int:
        """How many nodes are here, and neither cordoned nor in maintenance."""
        return len(self.nodes) - len(self._aside)

    def cordoned(self) -> list[Node]:
        """Nodes on which nothing is placed, by name."""
        return [self.nodes[name] for name in sorted(self._cordoned)]

    def to_leave(self) -> list[Node]:
        """Nodes that workers are to leave, by name: those that are cordoned or in maintenance."""
        return [self.nodes[name] for name in sorted({*self._cordoned, *self._maintained})]

    def maintained(self) -> list[Node]:
        """Nodes in maintenance, by name."""
        return [self.nodes[name] for name in sorted(self._maintained)]

    def here_count(self) -> int:
        """How many nodes Sentinel was not taken off."""
        return len(self.nodes) - len(self._left)

    def in_preflight(self) -> set[NodeId]:
        """Nodes whose pre-flight is due or under way."""
        return {*self._in_preflight}

    def lacking(self, nodes: set[NodeId]) -> set[NodeId]:
        """Give those of some nodes on which anything can be missing."""
        return self._lacking.keys() & nodes

    def unusable(self) -> set[NodeId]:
        """Nodes on which no rank can be placed."""
        return {*self._unheard, *self._aside, *self._unfit}

    def usable_gpus(self) -> int:
        """Count the GPUs on which ranks may be placed."""
        return sum(node.gpus for node in self.nodes.values() if node.usable)

    @property
    def room(self) -> str:
        """Say what ranks may be placed on: `3 GPUs on 2 usable nodes`."""
        usable = sum(node.usable for node in self.nodes.values())
        return f"{counted(self.usable_gpus(), 'GPU')} on {counted(usable, 'usable node')}"

    def is_cut(self, node: NodeId) -> bool:
        """Say whether an unusable node's ranks lose their seats, too: not those that are known to train."""
        aside = node in self._aside or node in self._unfit
        return aside or (node in self._unheard and not self.nodes[node].lives)

    def unfit(self) -> list[Node]:
        """Nodes that a finding accuses as a whole, by name."""
        return [self.nodes[name] for name in sorted(self._unfit)]

    def was_allowed(self) -> tuple[str, str]:
        """Why no action was taken when the fold began: frozen, stopped."""
        return self._before[2], self._before[3]

    @property
    def held(self) -> str:
        """Why nothing is done at the moment; empty where it is."""
        if self.stopped:
            return f"actions are stopped: {self.stopped}"
        return f"actions are frozen: {self.frozen}" if self.frozen else ""

    @property
    def changes(self) -> Sequence[Change]:
        """What the fold under way has changed in the tables, in its order."""
        return self._fold.changes

    @property
    def is_news(self) -> bool:
        """Whether the fold under way has changed anything that somebody could decide by.

        What a node notes of itself concerns open incidents, refusals, and it while it may lack something.
        """
        if self.moves or self.was_allowed() != (self.frozen, self.stopped):
            return True
        if self._open or self.refused:
            return bool(self._fold.changes)
        nodes, lacking = self.nodes, self._lacking
        return any(each.table is not nodes or each.key in lacking for each in self._fold.changes)

    def set_deadline(self, name: str, after: Seconds) -> None:
        """Ask for a `DeadlinePassed` fact."""
        self.deadlines.put(name, self.now + after)

    def wait_for(self, name: str, after: Seconds) -> None:
        """Ask for a `DeadlinePassed` fact, unless one is to come."""
        if name not in self.deadlines:
            self.set_deadline(name, after)

    def awaits_evidence(self, incident: IncidentId) -> bool:
        """Say whether an incident still waits for evidence."""
        return any(timer.of(incident) in self.deadlines for timer in EVIDENCE)

    def await_no_evidence(self, incident: IncidentId) -> None:
        """Wait no longer for evidence."""
        for timer in EVIDENCE:
            self.deadlines.drop(timer.of(incident))

    def next_deadline(self) -> tuple[Instant, str] | None:
        """Return the earliest deadline and its name."""
        return min(((at, name) for name, at in self.deadlines.items()), default=None)

    # --- the form that a snapshot has ------------------------------------------------------------------

    def stored(self) -> StoredState:
        """Give all of it as it is now, which no later fold changes: a thread may write it down."""
        return StoredState.of(
            self.jobs.values(),
            self.workers,
            now=self.now,
            woke=self.woke,
            nodes=self.nodes.copy(),
            incidents=self.incidents.copy(),
            opened=self.opened,
            past=self.past,
            frozen=self.frozen,
            stopped=self.stopped,
            evictions=self.evictions,
            unfinished=self.unfinished.copy(),
            deadlines=self.deadlines.copy(),
            silences={name: quiet.until for name, quiet in self.silences.items()},
            silenced={name: quiet for name, quiet in self.silences.items() if quiet.who},
            judgements=self.judgements.copy(),
            baselines=self.baselines.copy(),
            refusals=self.refusals,
            refused=tuple((*key, guard) for key, guard in self.refused.items()),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and self.stored() == other.stored()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def to_bytes(self) -> bytes:
        """Give the snapshot form."""
        return codec.encode(self.stored())

    def to_plain(self) -> codec.Plain:
        """Give the plain form that a recording holds."""
        return codec.to_plain(self.stored())

    @classmethod
    def from_bytes(cls, body: bytes) -> "State":
        """Build a state from its snapshot form. Raises CodecError."""
        return cls._from(codec.decode(StoredState, body))

    @classmethod
    def from_plain(cls, plain: Any) -> "State":
        """Build a state from the plain form that a recording holds. Raises CodecError."""
        if isinstance(plain, dict) and "nodes" not in plain:
            raise codec.CodecError("no State: it has no nodes")
        return cls._from(codec.from_plain(StoredState, plain))

    @classmethod
    def _from(cls, kept: StoredState) -> "State":
        state = cls(kept.now)
        for incident in kept.incidents.values():
            state.add(incident)
        state.jobs.put_all({job.id: job.row for job in kept.jobs.values()})
        seats = {job.id: job.seats for job in kept.jobs.values()}
        state.workers = WorkerTable(state._fold, kept.workers, seats)
        for node in kept.with_silences():
            state.add(node)
        state.refused.put_all({(name, wanted): guard for name, wanted, guard in kept.refused})
        state.unfinished.put_all(kept.unfinished)
        state.deadlines.put_all(kept.deadlines)
        state.silences.put_all(kept.lasting_silences())
        state.judgements.put_all(kept.judgements)
        state.baselines.put_all(kept.baselines)
        state.opened, state.refusals, state.evictions = kept.opened, kept.refusals, kept.evictions
        state.frozen, state.stopped, state.past = kept.frozen, kept.stopped, kept.past
        state.woke = kept.woke
        return state
