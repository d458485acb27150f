"""From a diagnosis to actions: what the runbook asks for, if the guards allow it."""

from collections.abc import Iterable

from sentinel.core.evict import refuse_action, refuse_common, refuse_eviction
from sentinel.core.incidents import OWN_TOPIC, job_topic, vouched
from sentinel.core.predicates import Case, laggard
from sentinel.core.reform import leave, refuse, resume
from sentinel.core.rows import Cordon, Job, JobStage
from sentinel.core.state import Rules, State
from sentinel.core.timers import Timer
from sentinel.model.action import Action, Refusal, RestartAgent, RestartGcs, StopJob, action_id
from sentinel.model.fact import RankExited, RankRaised
from sentinel.model.ids import Cause, NodeId
from sentinel.model.incident import Diagnosis, Incident, Stage
from sentinel.model.runbook import Remedy


def remedy_of(diagnosis: Diagnosis | None, rules: Rules) -> Remedy | None:
    """Return what the diagnosis' runbook asks for; None while there is no diagnosis."""
    if diagnosis is None:
        return None
    book = rules.runbooks.get(diagnosis.cause)
    return book.remedy if book else Remedy.RESTART


def broken(job: Job | None) -> bool:
    """Say whether the job needs a generation and nothing is on its way to one."""
    return job is not None and job.stage is JobStage.BROKEN and not job.pending


def apply(incident: Incident, state: State, rules: Rules) -> list[Action]:
    """Give the actions of the diagnosis; it is acted on again only if the job broke again."""
    incident = state.fresh(incident)
    diagnosis, remedy, job = incident.diagnosis, remedy_of(incident.diagnosis, rules), state.job_of(incident)
    assert diagnosis is not None
    assert remedy is not None
    mark = f"{diagnosis.cause} {[(s.node, s.rank) for s in diagnosis.suspects]}"
    if incident.remedied == mark and (remedy is Remedy.FREEZE or not broken(job)):
        return []  # frozen actions that a human has resumed since stay resumed
    blocked = "" if remedy in (Remedy.FREEZE, Remedy.NONE) else refuse_action(state, rules)
    told, refused = incident.refused, f"{mark} {blocked}" if blocked else ""
    incident = state.change(incident, refused=refused, remedied="" if blocked else mark)
    if blocked:
        wanted = f"{remedy.value} for {diagnosis.cause}"
        return [] if told == refused else [refuse(incident, state, wanted, blocked)]
    topic = _topic(remedy, diagnosis, incident)
    incident = state.change(incident, stage=Stage.MITIGATING, topic=topic)
    return list(_actions(remedy, incident, diagnosis, job, state, rules))


def _topic(remedy: Remedy, diagnosis: Diagnosis, incident: Incident) -> str:
    if incident.topic.startswith(f"{diagnosis.cause}:"):
        return incident.topic  # a shared volume is full on every node: one incident
    if remedy in OWN_TOPIC:
        nodes = ",".join(sorted(suspect.node or "" for suspect in diagnosis.suspects))
        return f"{diagnosis.cause}:{nodes}"
    return job_topic(incident.job) if incident.job else incident.topic


def _actions(
    remedy: Remedy, incident: Incident, diagnosis: Diagnosis, job: Job | None, state: State, rules: Rules
) -> Iterable[Action]:
    nodes = sorted({suspect.node for suspect in diagnosis.suspects if suspect.node})
    ranks = [suspect.rank for suspect in diagnosis.suspects if suspect.rank is not None]
    match remedy:
        case Remedy.NONE:
            if (
                job
                and broken(job)
                and not any(isinstance(f, RankExited | RankRaised) for f in incident.evidence)
            ):
                # It only stands still, and nothing was taken from it.
                state.change(job, stage=JobStage.RUNNING)
        case Remedy.FREEZE:
            state.frozen = state.frozen or f"{diagnosis.cause} ({incident.id})"
        case Remedy.RESTART_AGENT | Remedy.RESTART_GCS:
            yield from _restart(remedy, incident, nodes, state, rules)
            if job and broken(job):  # a rank ended together with its agent
                yield from resume(incident, job, state, rules, replace=_stuck(incident, state, rules))
        case Remedy.STOP:
            yield from stop(incident, job, state, diagnosis.why)
        case Remedy.EVICT | Remedy.DRAIN:
            yield from _evict(remedy, incident, diagnosis, nodes, job, state, rules)
        case Remedy.REPLACE | Remedy.MOVE:
            if job and (job.stage is JobStage.BROKEN or _first(incident, job)):
                moved = remedy is Remedy.MOVE
                yield from resume(incident, job, state, rules, replace=ranks, elsewhere=moved)
        case Remedy.RESTART | Remedy.REPLAY | Remedy.SKIP_BATCH:
            if job and job.stage is JobStage.BROKEN:
                if remedy is Remedy.SKIP_BATCH:
                    bad = {f.step for f in _nans(incident)} - set(job.skip)
                    job = state.change(job, skip=(*job.skip, *sorted(bad)))
                yield from resume(incident, job, state, rules, replay=remedy is Remedy.REPLAY)


def _first(incident: Incident, job: Job) -> bool:
    """A finding that names a rank of a healthy gang acts once; what is re-formed already is only renamed."""
    return job.stage is JobStage.RUNNING and not incident.attempts


def _nans(incident: Incident) -> Iterable[RankRaised]:
    return (fact for fact in incident.evidence if isinstance(fact, RankRaised) and fact.kind == "nan")


def restarts(incident: Incident) -> int:
    """Count the restarts of an agent or of the GCS that this incident ordered."""
    return sum(isinstance(action, RestartAgent | RestartGcs) for action in incident.actions)


def _restart(
    remedy: Remedy, incident: Incident, nodes: list[NodeId], state: State, rules: Rules
) -> Iterable[Action]:
    attempt = restarts(incident) + 1
    state.set_deadline(Timer.AGAIN.of(incident.id), rules.policy.action_timeout_s)
    if remedy is Remedy.RESTART_GCS:
        yield RestartGcs(action_id(incident.id, "restart-gcs", "gcs", attempt), incident.id)
        return
    for node in nodes:
        if state.nodes[node].silent:
            name = action_id(incident.id, "restart-agent", node, attempt)
            yield RestartAgent(name, incident.id, node)


def stop(incident: Incident, job: Job | None, state: State, reason: str) -> Iterable[Action]:
    """Stop a job that restarting cannot help."""
    if job and job.stage is not JobStage.STOPPED:
        name = action_id(incident.id, "stop-job", job.id, 1)
        state.change(job, stage=JobStage.STOPPED, pending="")
        yield StopJob(name, incident.id, job.id, reason)


def _evict(
    remedy: Remedy,
    incident: Incident,
    diagnosis: Diagnosis,
    nodes: list[NodeId],
    job: Job | None,
    state: State,
    rules: Rules,
) -> Iterable[Action]:
    job = job or next(filter(None, map(state.job_on, nodes)), None)  # a rank may have come since
    for node in nodes:
        if state.nodes[node].cordon is None and node not in vouched(incident.evidence):
            if shared := refuse_common(state, rules, node, diagnosis):
                _give_back(state, diagnosis.cause, rules)
            if reason := shared or refuse_eviction(state, rules, node, diagnosis):
                if not _refused(incident, node):
                    yield refuse(incident, state, f"evict {node}", reason)
            else:
                _cordon(state, node, Cordon(incident.id, diagnosis.cause, state.now))
                # Those were made with this node; evictions have limits of their own.
                state.change(incident, attempts=0)
    graceful = remedy is Remedy.DRAIN and job is not None and job.stage is JobStage.RUNNING
    emptied = [] if graceful else list(leave(incident, state))
    yield from emptied
    job = state.fresh(job) if job is not None else None
    if job is not None and (job.stage is JobStage.BROKEN or on_cordoned(job, state)):
        stuck = _stuck(incident, state, rules)
        yield from resume(incident, job, state, rules, replace=stuck, graceful=graceful)
        if graceful and not state.fresh(job).pending:
            yield from leave(incident, state)  # in this order: the ranks have left when it is emptied


def _give_back(state: State, cause: Cause, rules: Rules) -> None:
    """Count no eviction against the breaker that was the first of a common cause."""
    since = state.now - rules.policy.common_s
    cordons = (node.cordon for node in state.nodes.values() if node.cordon and node.cordon.reason == cause)
    first = {cordon.at for cordon in cordons if cordon.at >= since}
    state.evictions = tuple(at for at in state.evictions if at not in first)


def _refused(incident: Incident, node: NodeId) -> bool:
    """Say whether it is on record that this node stays."""
    refusals = (action for action in incident.actions if isinstance(action, Refusal))
    return any(refusal.wanted == f"evict {node}" for refusal in refusals)


def on_cordoned(job: Job, state: State) -> bool:
    """Say whether a live job has ranks on cordoned nodes."""
    live = job.stage in (JobStage.RUNNING, JobStage.FORMING)
    return live and any(
        node.cordon is not None and state.crew.is_hosted(job.id, node.id) for node in state.nodes.values()
    )


def _stuck(incident: Incident, state: State, rules: Rules) -> list[int]:
    """Ranks that hang though another cause is blamed: seated again they would only hang again."""
    found = laggard(Case(incident, state, rules))
    return [s.rank for s in found.suspects if s.rank is not None] if found else []


def _cordon(state: State, node: NodeId, cordon: Cordon) -> None:
    state.change(state.nodes[node], cordon=cordon)
    state.evictions = (*state.evictions, state.now)
    for worker in list(state.crew.workers.values()):
        if worker.node == node and worker.rank < 0:
            state.crew.dismiss(worker, state.now)
