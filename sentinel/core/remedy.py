"""From a diagnosis to actions: what the runbook asks for, if the guards allow it."""

from collections.abc import Iterable

from sentinel.core.evict import refuse_action, refuse_eviction
from sentinel.core.incidents import OWN_TOPIC
from sentinel.core.seating import Cannot, Seated, Wait, missing_standbys, seat
from sentinel.core.state import Cordon, Job, JobStage, Rules, State, Worker, WorkerStage
from sentinel.model.action import (
    Action,
    Evict,
    Refusal,
    RestartAgent,
    RestartGcs,
    Resume,
    StartWorker,
    StopJob,
    StopWorker,
    action_id,
)
from sentinel.model.fact import RankRaised
from sentinel.model.ids import IncidentId, NodeId, WorkerId
from sentinel.model.incident import Diagnosis, Incident, Stage
from sentinel.model.runbook import Remedy

EVICTS = frozenset({Remedy.EVICT, Remedy.DRAIN})
GRACEFUL = frozenset({Remedy.DRAIN})


def apply(incident: Incident, state: State, rules: Rules) -> list[Action]:
    """Give the actions of the incident's diagnosis; the same diagnosis is not acted on twice."""
    diagnosis = incident.diagnosis
    assert diagnosis is not None
    job = state.jobs.get(incident.job) if incident.job else None
    book = rules.runbooks.get(diagnosis.cause)
    remedy = book.remedy if book else Remedy.RESTART
    mark = f"{diagnosis.cause} {[(s.node, s.rank) for s in diagnosis.suspects]} g{job.generation if job else 0}"
    if incident.remedied == mark:
        return []
    if remedy is Remedy.FREEZE:
        state.frozen = f"{diagnosis.cause} ({incident.id})"
    blocked = "" if remedy in (Remedy.FREEZE, Remedy.NONE) else refuse_action(state, rules)
    if incident.attempts >= rules.policy.resume_attempts and not blocked:
        blocked = f"{incident.attempts} attempts did not help; people decide now"
        incident.remedied = mark
    if blocked:
        return [refuse(incident, f"{remedy.value} for {diagnosis.cause}", blocked)]
    incident.remedied = mark
    incident.attempts += 1
    incident.stage = Stage.MITIGATING
    if remedy in OWN_TOPIC:
        incident.topic = f"{diagnosis.cause}:{','.join(sorted(str(s.node) for s in diagnosis.suspects))}"
    return list(_actions(remedy, incident, diagnosis, job, state, rules))


def refuse(incident: Incident, wanted: str, reason: str) -> Refusal:
    """Record what is not done, and why."""
    number = sum(isinstance(action, Refusal) for action in incident.actions) + 1
    return Refusal(action_id(incident.id, "refusal", "policy", number), incident.id, wanted, reason)


def _actions(
    remedy: Remedy, incident: Incident, diagnosis: Diagnosis, job: Job | None, state: State, rules: Rules
) -> Iterable[Action]:
    nodes = sorted({suspect.node for suspect in diagnosis.suspects if suspect.node})
    ranks = [suspect.rank for suspect in diagnosis.suspects if suspect.rank is not None]
    match remedy:
        case Remedy.NONE | Remedy.FREEZE:
            return
        case Remedy.RESTART_AGENT:
            for node in nodes:
                name = action_id(incident.id, "restart-agent", node, incident.attempts)
                yield RestartAgent(name, incident.id, node)
            state.set_deadline(f"agent/{incident.id}", rules.policy.action_timeout_s)
        case Remedy.RESTART_GCS:
            yield RestartGcs(action_id(incident.id, "restart-gcs", "gcs", incident.attempts), incident.id)
        case Remedy.STOP:
            if job:
                yield from stop(incident, job, diagnosis.why)
        case Remedy.EVICT | Remedy.DRAIN:
            yield from _evict(remedy, incident, diagnosis, nodes, job, state, rules)
        case Remedy.REPLACE | Remedy.MOVE:
            if job:
                yield from resume(
                    incident, job, state, rules, replace=ranks, elsewhere=remedy is Remedy.MOVE
                )
        case Remedy.RESTART | Remedy.REPLAY | Remedy.SKIP_BATCH:
            if job and remedy is Remedy.SKIP_BATCH:
                job.skip += sorted({f.step for f in _nans(incident)} - set(job.skip))
            if job and (job.stage is not JobStage.RUNNING or remedy is not Remedy.RESTART):
                yield from resume(incident, job, state, rules, replay=remedy is Remedy.REPLAY)


def _nans(incident: Incident) -> Iterable[RankRaised]:
    return (fact for fact in incident.evidence if isinstance(fact, RankRaised) and fact.kind == "nan")


def stop(incident: Incident, job: Job, reason: str) -> list[Action]:
    """Stop a job that restarting cannot help."""
    job.stage = JobStage.STOPPED
    return [StopJob(action_id(incident.id, "stop-job", job.id, 1), incident.id, job.id, reason)]


def _evict(
    remedy: Remedy,
    incident: Incident,
    diagnosis: Diagnosis,
    nodes: list[NodeId],
    job: Job | None,
    state: State,
    rules: Rules,
) -> Iterable[Action]:
    evicted = []
    for node in nodes:
        if state.nodes[node].cordon is not None:
            continue
        reason = refuse_eviction(state, rules, node, diagnosis.confidence) or _last_place(node, job, state)
        if reason:
            yield refuse(incident, f"evict {node}", reason)
            continue
        state.nodes[node].cordon = Cordon(incident.id, diagnosis.cause, state.now)
        state.evictions.append(state.now)
        for other in state.jobs.values():
            seated = set(other.seats)
            for worker in other.workers.values():
                if worker.node == node and worker.id not in seated:
                    worker.stage = WorkerStage.GONE
        evicted.append(
            Evict(action_id(incident.id, "evict", node, 1), incident.id, node, f"{diagnosis.cause}: {diagnosis.why}")
        )
    graceful = remedy in GRACEFUL and job is not None and job.stage is JobStage.RUNNING
    yield from () if graceful else evicted
    hurt = job is not None and (
        job.stage is not JobStage.RUNNING or any(w.node in nodes for _, w in job.seated())
    )
    if job is not None and hurt and (evicted or job.stage is not JobStage.RUNNING):
        yield from resume(incident, job, state, rules, graceful=graceful)
    if graceful:
        yield from evicted  # performed in order: the ranks have left the node when it is emptied


def _last_place(node: NodeId, job: Job | None, state: State) -> str:
    """Refuse an eviction that would leave the job with less than its smallest world."""
    if job is None:
        return ""
    room = sum(other.gpus for other in state.nodes.values() if other.usable and other.id != node)
    if room >= job.min_world:
        return ""
    return f"{node} stays: {room} GPUs would be left, the job needs {job.min_world}"


def resume(
    incident: Incident,
    job: Job,
    state: State,
    rules: Rules,
    *,
    replace: Iterable[int] = (),
    elsewhere: bool = False,
    graceful: bool = False,
    replay: bool = False,
) -> Iterable[Action]:
    """Form the next generation, or start what it still needs and wait, or say why it can't be."""
    plan = seat(state, job, frozenset(replace), elsewhere)
    match plan:
        case Cannot(reason=reason):
            job.stage = JobStage.BROKEN
            yield refuse(incident, f"resume {job.id}", reason)
        case Wait(start=start):
            job.stage = JobStage.BROKEN
            job.pending = incident.id
            yield from retire(incident.id, job, [w for r, w in job.seated() if r in set(replace)])
            yield from (start_worker(incident.id, job, state, node) for node in start)
        case Seated(seats=seats):
            gone = [w for _, w in job.seated() if w.id not in {s.worker for s in seats}]
            stops = retire(incident.id, job, [w for w in gone if w.stage is WorkerStage.RANK])
            yield from () if graceful else stops
            running = tuple(job.seats) if graceful else ()
            job.generation += 1
            job.seats = [s.worker for s in seats]
            for s in seats:
                job.workers[s.worker].stage, job.workers[s.worker].gpu = WorkerStage.RANK, s.gpu
            job.stage, job.pending, job.world = JobStage.FORMING, "", len(seats)
            state.set_deadline(f"resume/{job.id}/{job.generation}", rules.policy.resume_timeout_s)
            name = action_id(incident.id, "resume", job.id, job.generation)
            yield Resume(
                name, incident.id, job.id, job.generation, seats, replay, running, tuple(job.skip)
            )
            yield from stops if graceful else ()


def retire(incident: IncidentId, job: Job, workers: Iterable[Worker]) -> list[Action]:
    """Stop worker processes that lost their place; their exit is no news."""
    actions: list[Action] = []
    for worker in workers:
        worker.stage = WorkerStage.GONE
        name = action_id(incident, "stop-worker", worker.id, 1)
        actions.append(StopWorker(name, incident, job.id, worker.id, worker.node, worker.pid))
    return actions


def start_worker(incident: IncidentId, job: Job, state: State, node: NodeId) -> StartWorker:
    """Start one warm standby on a node."""
    job.born += 1
    worker = Worker(WorkerId(f"w{job.born}"), node, since=state.now)
    job.workers[worker.id] = worker
    name = action_id(incident, "start-worker", worker.id, 1)
    return StartWorker(name, incident, job.id, worker.id, node, -1, job.generation)


def refill(job: Job, state: State) -> list[Action]:
    """Start the standbys that a job misses; never while it recovers, so that recovery has the machine."""
    if job.stage is not JobStage.RUNNING:
        return []
    upkeep = IncidentId(f"upkeep-{job.id}")
    return [start_worker(upkeep, job, state, node) for node in list(missing_standbys(state, job))]
