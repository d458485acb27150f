"""The form in which a state is kept: rows by key, and each job with its workers."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from sentinel.core.state.rows import Baseline, Job, Node, Silence
from sentinel.core.state.timers import Timer
from sentinel.core.state.workers import Worker, WorkerTable
from sentinel.model.action import Action
from sentinel.model.fact import NodeSilent
from sentinel.model.ids import ActionId, IncidentId, Instant, JobId, NodeId, WorkerId
from sentinel.model.incident import Incident
from sentinel.model.judgement import Judgement


class StoredJob(Job, frozen=True):
    """A job with its workers."""

    workers: Mapping[WorkerId, Worker] = {}
    seats: tuple[WorkerId, ...] = ()
    """The worker of each rank of its newest generation."""

    @property
    def row(self) -> Job:
        """The job alone."""
        return Job(**{name: getattr(self, name) for name in Job.__struct_fields__})


class StoredState(Struct, frozen=True):
    """A whole state."""

    nodes: dict[NodeId, Node]
    now: Instant = 0.0
    woke: Instant = 0.0
    jobs: dict[JobId, StoredJob] = {}
    incidents: dict[IncidentId, Incident] = {}
    opened: int = 0
    past: str = ""
    frozen: str = ""
    stopped: str = ""
    evictions: tuple[Instant, ...] = ()
    unfinished: dict[ActionId, Action] = {}
    deadlines: dict[str, Instant] = {}
    silences: dict[str, Instant] = {}
    silenced: dict[str, Silence] = {}
    """Of these, those of which is known who asked."""
    judgements: dict[IncidentId, tuple[Judgement, ...]] = {}
    baselines: dict[str, Baseline] = {}
    refusals: int = 0
    refused: tuple[tuple[IncidentId, str, str], ...] = ()

    @classmethod
    def of(cls, jobs: Iterable[Job], table: WorkerTable, **rest: Any) -> "StoredState":
        """Put jobs and their workers together."""
        workers: dict[JobId, dict[WorkerId, Worker]] = {}
        for worker in table.rows.values():
            workers.setdefault(worker.job, {})[worker.id] = worker
        kept = {job.id: _with(job, workers.get(job.id, {}), table) for job in jobs}
        return cls(jobs=kept, **rest)

    def with_silences(self) -> Iterator[Node]:
        """All nodes. An older release kept only with its incident since when one is silent."""
        fell = {
            fact.node: (fact, incident.id)
            for incident in self.incidents.values()
            for fact in incident.evidence
            if isinstance(fact, NodeSilent) and not incident.is_over
        }
        for node in self.nodes.values():
            known = fell.get(node.id) if node.silent and node.fell is None else None
            yield replace(node, fell=known[0], about=known[1]) if known else node

    def lasting_silences(self) -> dict[str, Silence]:
        """Silences that have an end to come; an older release kept those that were over, and no names."""
        lasting = (
            (name, at) for name, at in self.silences.items() if Timer.SILENCE.of(name) in self.deadlines
        )
        return {name: self.silenced.get(name, Silence(at)) for name, at in lasting}

    @property
    def workers(self) -> Iterator[Worker]:
        """All jobs' workers. Those of an older release do not say whose they are."""
        for job in self.jobs.values():
            for worker in job.workers.values():
                yield worker if worker.job else replace(worker, job=job.id)


def _with(job: Job, workers: dict[WorkerId, Worker], table: WorkerTable) -> StoredJob:
    seats = tuple(seat.worker if seat else WorkerId("") for seat in table.seats(job.id))
    return StoredJob(**asdict(job), workers=workers, seats=seats)
