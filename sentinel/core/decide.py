"""The fold: one fact changes the state and gives the actions that follow from it."""

from typing import assert_never

from sentinel.core import incidents, notify, operate, remedy
from sentinel.core.diagnose import diagnose
from sentinel.core.evict import refuse_action
from sentinel.core.progress import laggards
from sentinel.core.state import Job, JobStage, Node, Rules, State, WorkerStage
from sentinel.model.action import Action, CollectStacks, Probe, Reach, Refusal, action_id
from sentinel.model.fact import (
    Commanded,
    ControllerStarted,
    DeadlinePassed,
    Fact,
    FindingReported,
    GcsBack,
    GcsLost,
    JobAdvanced,
    JobStalled,
    JobSubmitted,
    JournalFailed,
    NodeHeard,
    NodeJoined,
    NodeLeft,
    NodeProbed,
    NodeReached,
    NodeSilent,
    Outcome,
    RankExited,
    RankRaised,
    RankSlow,
    WorkerReady,
)
from sentinel.model.finding import Health
from sentinel.model.ids import Cause, IncidentId, NodeId
from sentinel.model.incident import Incident, Stage
from sentinel.model.runbook import Remedy

RECENT_FINDINGS = 10
STACKS_DEADLINE_S = 1.5
"""py-spy needs 0.1 to 0.5 s a process on a busy machine; recovery does not wait longer."""
REPLAYED = Cause("loss-nan")
"""The one cause whose recovery is an experiment: a new step is its result, not its end."""
APP_XID = Cause("gpu-app-xid")


def decide(state: State, fact: Fact, rules: Rules) -> tuple[Action, ...]:
    """Fold one fact. `state` is changed; the same facts always give the same actions."""
    state.now = max(state.now, fact.at)
    actions = _react(state, fact, rules)
    for action in actions:
        if not isinstance(action, Refusal):
            state.unfinished[action.id] = action
        incident = state.incidents.get(action.incident)
        if incident is not None:
            incident.actions.append(action)
    return tuple(actions)


def _react(state: State, fact: Fact, rules: Rules) -> list[Action]:
    match fact:
        case NodeJoined():
            return _node_joined(state, fact, rules)
        case NodeSilent():
            return _node_silent(state, fact, rules)
        case NodeLeft():
            return _node_left(state, fact)
        case NodeHeard():
            return _node_heard(state, fact.node, fact, rules)
        case NodeReached():
            return _node_reached(state, fact, rules)
        case FindingReported():
            return _finding(state, fact, rules)
        case NodeProbed():
            return _node_probed(state, fact, rules)
        case WorkerReady():
            return _worker_ready(state, fact, rules)
        case RankExited():
            return _rank_exited(state, fact, rules)
        case RankRaised():
            return _rank_raised(state, fact, rules)
        case JobStalled():
            return _job_stalled(state, fact, rules)
        case JobAdvanced():
            return _job_advanced(state, fact, rules)
        case RankSlow():
            job = state.jobs[fact.job]
            if fact.generation != job.generation or job.stage is not JobStage.RUNNING:
                return []
            return _conclude(incidents.join(state, incidents.job_topic(job.id), fact, job), state, rules)
        case GcsLost():
            return _conclude(incidents.join(state, "gcs", fact), state, rules)
        case GcsBack():
            return _resolve_topic(state, rules, "gcs-dead:")
        case JobSubmitted():
            return _job_submitted(state, fact)
        case Commanded():
            return operate.command(state, fact, rules)
        case Outcome():
            return _outcome(state, fact, rules)
        case DeadlinePassed():
            state.deadlines.pop(fact.deadline, None)
            return _deadline(state, fact, rules)
        case ControllerStarted():
            return _controller_started(state)
        case JournalFailed():
            state.frozen = f"the journal fails: {fact.detail}"
            return _conclude(incidents.join(state, "journal", fact), state, rules)
        case _:
            assert_never(fact)


# --- nodes ---------------------------------------------------------------------------------------------


def _node_joined(state: State, fact: NodeJoined, rules: Rules) -> list[Action]:
    node = state.nodes.setdefault(fact.node, Node(fact.node))
    node.address, node.port, node.gpus, node.boot = fact.address, fact.port, fact.gpus, fact.boot
    node.left = False
    for job in state.jobs.values():
        if job.stage is JobStage.WAITING and not job.workers:
            state.set_deadline(f"place/{job.id}", 1.0)  # nodes join one by one: place ranks on all of them
    return _node_heard(state, fact.node, fact, rules)


def _node_left(state: State, fact: NodeLeft) -> list[Action]:
    node = state.nodes[fact.node]
    node.left, node.silent, node.reached = True, False, None
    node.findings.clear()
    for job in state.jobs.values():
        job.workers = {name: worker for name, worker in job.workers.items() if worker.node != fact.node}
    return []


def _node_silent(state: State, fact: NodeSilent, rules: Rules) -> list[Action]:
    node = state.nodes[fact.node]
    node.silent = True
    if node.cordon is not None:
        return []
    known = incidents.find_silence(state)
    job = state.job_on(fact.node)
    topic = known.topic if known else incidents.node_topic(state, fact.node)
    incident = incidents.join(state, topic, fact, job)
    attempt = sum(isinstance(action, Reach) for action in incident.actions) + 1
    return [Reach(action_id(incident.id, "reach", fact.node, attempt), incident.id, fact.node)]


def _node_heard(state: State, name: NodeId, fact: Fact, rules: Rules) -> list[Action]:
    state.nodes[name].silent = False
    state.nodes[name].reached = None
    if any(node.silent for node in state.nodes.values()):
        return []
    actions: list[Action] = []
    if state.frozen.startswith("control-cut"):
        state.frozen = ""
    for incident in list(state.open_incidents()):
        cause = incident.diagnosis.cause if incident.diagnosis else ""
        began = bool(incident.evidence) and isinstance(incident.evidence[0], NodeSilent)
        blip = not cause and began and all(isinstance(f, NodeSilent | NodeReached) for f in incident.evidence)
        if cause in ("control-cut", "agent-dead") or blip:
            actions += _resolve(incident, state, rules)
    return actions + [action for job in state.jobs.values() for action in remedy.refill(job, state)]


def _node_reached(state: State, fact: NodeReached, rules: Rules) -> list[Action]:
    if fact.node not in state.nodes:
        return []
    state.nodes[fact.node].reached = fact
    incident = state.incidents.get(fact.incident) if fact.incident else None
    if incident is None or incident.stage is Stage.RESOLVED:
        return []
    incidents.add(incident, fact)
    if not state.nodes[fact.node].silent:
        return []
    actions = _conclude(incident, state, rules, certain=True)
    if incident.diagnosis is None:  # the node looks alive and the job unhurt: look again
        state.set_deadline(f"reach/{incident.id}/{fact.node}", 1.0)
    return actions


def _finding(state: State, fact: FindingReported, rules: Rules) -> list[Action]:
    node = state.nodes.setdefault(fact.node, Node(fact.node))
    finding = fact.finding
    key = "|".join(finding.key)
    if finding.health in (Health.OK, Health.SKIPPED):
        node.findings.pop(key, None)
        if any(f.code == finding.code for n in state.nodes.values() for f in n.findings.values()):
            return []
        causes = {book.cause for book in incidents.finding_books(rules, finding) if book.remedy is Remedy.NONE}
        return [a for cause in sorted(causes) for a in _resolve_topic(state, rules, f"{cause}:")]
    if not finding.event:
        node.findings[key] = finding
    node.recent = [*node.recent[1 - RECENT_FINDINGS :], fact]
    books = incidents.finding_books(rules, finding)
    if any(book.cause == APP_XID for book in books):
        node.app_xids = [*node.app_xids[-RECENT_FINDINGS:], (fact.at, finding.component)]
    return _weigh(state, fact, rules, {book.remedy for book in books})


def _weigh(state: State, fact: FindingReported, rules: Rules, remedies: set[Remedy]) -> list[Action]:
    """A critical finding with a runbook acts at once; a warning is evidence for whoever asks."""
    if not remedies or fact.finding.health is Health.UNKNOWN:
        return []
    job = state.job_on(fact.node)
    if remedies <= incidents.OWN_TOPIC:
        return _conclude(incidents.join(state, f"{fact.finding.code}:", fact), state, rules)
    topic = incidents.node_topic(state, fact.node)
    if incidents.find(state, topic) is None and fact.finding.health is Health.CRITICAL:
        incidents.reopen(state, rules, fact)
    known = incidents.find(state, topic)
    if known is None and fact.finding.health is not Health.CRITICAL:
        return []
    cordon = state.nodes[fact.node].cordon
    if known is None and cordon is not None:
        return []
    incident = incidents.join(state, topic, fact, job)
    if fact.finding.health is Health.CRITICAL or incident.diagnosis is not None:
        return _conclude(incident, state, rules, certain=True)
    return []


def _node_probed(state: State, fact: NodeProbed, rules: Rules) -> list[Action]:
    for incident in list(state.open_incidents()):
        asked = {
            f.node
            for f in incident.evidence
            if isinstance(f, RankExited | RankRaised) and (isinstance(f, RankExited) or f.kind != "collective")
        }
        if fact.node not in asked:
            continue
        incidents.add(incident, fact)
        probed = {f.node for f in incident.evidence if isinstance(f, NodeProbed)}
        if asked <= probed and f"gather/{incident.id}" in state.deadlines:
            del state.deadlines[f"gather/{incident.id}"]
            return _conclude(incident, state, rules)
    return []


# --- jobs ----------------------------------------------------------------------------------------------


def _job_submitted(state: State, fact: JobSubmitted) -> list[Action]:
    if fact.job not in state.jobs:
        state.jobs[fact.job] = Job(
            fact.job, fact.world, fact.min_world, fact.standbys, fact.trainable, wanted=fact.world
        )
        state.set_deadline(f"place/{fact.job}", 1.0)
    elif state.jobs[fact.job].stage is JobStage.STOPPED and not state.jobs[fact.job].workers:
        _start_over(state, state.jobs[fact.job], fact)
    return []


def _start_over(state: State, job: Job, fact: JobSubmitted) -> None:
    """Submit a job again whose workers have all left; numbers go on, so that nothing old is mistaken for new."""
    job.stage, job.pending, job.seats, job.high_step, job.avoid = JobStage.WAITING, "", [], -1, []
    job.world = job.wanted = fact.world
    job.min_world, job.standbys, job.trainable = fact.min_world, fact.standbys, fact.trainable
    state.deadlines = {name: at for name, at in state.deadlines.items() if f"/{job.id}" not in name}
    state.set_deadline(f"place/{job.id}", 1.0)


def _place(state: State, job: Job, rules: Rules) -> list[Action]:
    """Start a new job once there are GPUs for all its ranks."""
    room = sum(node.gpus for node in state.nodes.values() if node.usable)
    if job.stage is not JobStage.WAITING or job.workers or room < job.world:
        return []
    upkeep = Incident(IncidentId(f"upkeep-{job.id}"), state.now)
    return list(remedy.resume(upkeep, job, state, rules))


def _worker_ready(state: State, fact: WorkerReady, rules: Rules) -> list[Action]:
    job = state.jobs.get(fact.job)
    worker = job.workers.get(fact.worker) if job else None
    if job is None or worker is None or worker.stage is not WorkerStage.STARTING:
        return []
    worker.stage, worker.pid = WorkerStage.STANDBY, fact.pid
    if job.stage is JobStage.STOPPED:
        return remedy.retire(IncidentId(f"upkeep-{job.id}"), job, [worker])
    return _retry_pending(state, job, rules)


def _retry_pending(state: State, job: Job, rules: Rules) -> list[Action]:
    """Resume a job that waited for workers or for permission."""
    if not job.pending or refuse_action(state, rules):
        return []
    waiting = state.incidents.get(IncidentId(job.pending)) or Incident(IncidentId(job.pending), state.now)
    return list(remedy.resume(waiting, job, state, rules))


def _rank_exited(state: State, fact: RankExited, rules: Rules) -> list[Action]:
    job = state.jobs.get(fact.job)
    worker = job.workers.get(fact.worker) if job else None
    if job is None or worker is None or worker.stage is WorkerStage.GONE:
        return []
    was_rank = worker.stage is WorkerStage.RANK
    worker.stage = WorkerStage.GONE
    if job.stage is JobStage.STOPPED:
        return []
    if not was_rank:
        return remedy.refill(job, state) + _retry_pending(state, job, rules)
    job.stage = JobStage.BROKEN
    state.nodes[fact.node].failures.append(fact.at)
    incident = _hurt(state, job, fact, fact.node, rules)
    state.set_deadline(f"gather/{incident.id}", rules.policy.gather_s)
    return []


def _hurt(state: State, job: Job, fact: Fact, node: NodeId, rules: Rules) -> Incident:
    """Join the job's incident with what the node's checks said shortly before."""
    incident = incidents.join(state, incidents.job_topic(job.id), fact, job)
    incidents.recall(state, rules, incident, node, state.nodes[node].recent)
    return incident


def _rank_raised(state: State, fact: RankRaised, rules: Rules) -> list[Action]:
    job = state.jobs.get(fact.job)
    if job is None or fact.generation != job.generation or job.stage is JobStage.STOPPED:
        return []
    job.stage = JobStage.BROKEN
    incident = _hurt(state, job, fact, fact.node, rules)
    if fact.kind == "collective":
        if f"gather/{incident.id}" not in state.deadlines:
            state.deadlines.setdefault(f"broken/{incident.id}", state.now + rules.policy.broken_s)
        return []
    state.set_deadline(f"gather/{incident.id}", rules.policy.gather_s)
    attempt = sum(isinstance(action, Probe) for action in incident.actions) + 1
    return [Probe(action_id(incident.id, "probe", fact.node, attempt), incident.id, fact.node)]


def _job_stalled(state: State, fact: JobStalled, rules: Rules) -> list[Action]:
    job = state.jobs.get(fact.job)
    if job is None or fact.generation != job.generation or job.stage is not JobStage.RUNNING:
        return []
    job.stage = JobStage.BROKEN
    incident = incidents.join(state, incidents.job_topic(job.id), fact, job)
    behind = laggards(fact.beats, job.world)
    where = dict(zip((beat.rank for beat in fact.beats), fact.nodes, strict=True))
    for rank in behind.ranks:
        if rank in where:
            state.nodes[where[rank]].failures.append(fact.at)
            incidents.recall(state, rules, incident, where[rank], state.nodes[where[rank]].recent)
    if len(fact.beats) < job.world:  # a silent node: its silence will say more than a stack
        state.deadlines.setdefault(f"broken/{incident.id}", state.now + rules.policy.broken_s)
        return []
    state.set_deadline(f"stacks/{incident.id}", STACKS_DEADLINE_S)
    processes = tuple((n, beat.rank, beat.pid) for beat, n in zip(fact.beats, fact.nodes, strict=True))
    name = action_id(incident.id, "stacks", job.id, job.generation)
    return [CollectStacks(name, incident.id, processes, STACKS_DEADLINE_S)]


def _job_advanced(state: State, fact: JobAdvanced, rules: Rules) -> list[Action]:
    job = state.jobs.get(fact.job)
    if job is None or fact.generation != job.generation:
        return []
    state.deadlines.pop(f"resume/{job.id}/{job.generation}", None)
    job.stage, job.high_step = JobStage.RUNNING, max(job.high_step, fact.step)
    actions: list[Action] = []
    for incident in [i for i in state.open_incidents() if i.job == job.id]:
        if incident.topic != incidents.job_topic(job.id) and not incident.topic.startswith("storage-stall:"):
            continue
        incidents.add(incident, fact)
        if incident.diagnosis is not None and incident.diagnosis.cause == REPLAYED:
            actions += _conclude(incident, state, rules)
            continue
        incident.times.setdefault("new_step", fact.at)
        actions += _resolve(incident, state, rules)
    return actions + remedy.refill(job, state)


# --- conclusions ---------------------------------------------------------------------------------------


def _conclude(incident: Incident, state: State, rules: Rules, *, certain: bool = False) -> list[Action]:
    """Diagnose, act and page. `certain`: keep quiet rather than say unknown, more evidence may come."""
    found = diagnose(incident, state, rules)
    before = incident.diagnosis
    if found.cause == "unknown" and (certain or before is not None):
        if before is None or not _relapsed(incident, state):
            return []
    changed = before is None or (before.cause, before.suspects) != (found.cause, found.suspects)
    incident.diagnosis = found
    incident.times.setdefault("diagnosed", state.now)
    for name in ("gather", "broken", "stacks"):
        state.deadlines.pop(f"{name}/{incident.id}", None)
    actions = remedy.apply(incident, state, rules)
    if not changed and not actions:
        return []
    shown = [*incident.actions, *actions]
    kept, incident.actions = incident.actions, shown
    pages = notify.page(incident, state, rules)
    incident.actions = kept
    return [*actions, *pages]


def _relapsed(incident: Incident, state: State) -> bool:
    job = state.jobs.get(incident.job) if incident.job else None
    return job is not None and job.stage is JobStage.BROKEN


def _resolve(incident: Incident, state: State, rules: Rules) -> list[Action]:
    incident.stage = Stage.RESOLVED
    incident.times["resolved"] = state.now
    for name in ("gather", "broken", "stacks", "agent"):
        state.deadlines.pop(f"{name}/{incident.id}", None)
    incidents.forget(state, rules)
    return list(notify.page(incident, state, rules)) if incident.revision else []


def _resolve_topic(state: State, rules: Rules, prefix: str) -> list[Action]:
    found = [incident for incident in state.open_incidents() if incident.topic.startswith(prefix)]
    return [action for incident in found for action in _resolve(incident, state, rules)]


def _outcome(state: State, fact: Outcome, rules: Rules) -> list[Action]:
    state.unfinished.pop(fact.action, None)
    name, kind, target, _ = fact.action.split("/", 3)
    if kind == "start-worker" and not fact.ok:
        return _start_failed(state, target, rules)
    incident = state.incidents.get(IncidentId(name))
    if incident is None:
        if kind == "resume" and not fact.ok and (job := state.jobs.get(target)):  # type: ignore[call-overload]
            return _try_again(state, job, rules)
        return []
    if kind in ("evict", "resume", "stacks", "restart-agent", "restart-gcs"):
        incidents.add(incident, fact)
    if kind == "page" and fact.ok:
        incident.times.setdefault("paged", fact.at)
    if kind == "evict" and fact.ok:
        incident.times.setdefault("evicted", fact.at)
        job = state.jobs.get(incident.job) if incident.job else None
        if job is None or (job.stage is JobStage.RUNNING and incident.stage is Stage.MITIGATING):
            return _resolve(incident, state, rules)
    if kind == "stacks":
        return _conclude(incident, state, rules)
    if kind == "resume":
        return _resumed(state, fact, incident, rules)
    if kind in ("restart-agent", "restart-gcs", "evict") and not fact.ok:
        return list(notify.page(incident, state, rules))
    return []


def _start_failed(state: State, worker: str, rules: Rules) -> list[Action]:
    for job in state.jobs.values():
        if worker in job.workers:
            job.workers[worker].stage = WorkerStage.GONE  # type: ignore[index]
            state.set_deadline(f"refill/{job.id}", 2.0)
    return []


def _resumed(state: State, fact: Outcome, incident: Incident, rules: Rules) -> list[Action]:
    job = state.jobs.get(incident.job) if incident.job else None
    if job is None or not fact.action.endswith(f"/{job.generation}"):
        return []
    if fact.ok:
        lost = next((text for text in fact.data if text.startswith("lost ")), "")
        incident.steps_lost = int(lost.split()[1]) if lost else incident.steps_lost
        return []
    return _try_again(state, job, rules)


def _try_again(state: State, job: Job, rules: Rules) -> list[Action]:
    """A generation did not form: whoever is gone will be reported; then seat again, a few times."""
    if job.stage in (JobStage.STOPPED, JobStage.RUNNING):
        return []
    job.stage = JobStage.BROKEN
    incident = incidents.find(state, incidents.job_topic(job.id))
    if incident is None:
        incident = Incident(IncidentId(f"upkeep-{job.id}"), state.now)
    if incident.attempts >= rules.policy.resume_attempts:
        refusal = remedy.refuse(incident, f"resume {job.id}", f"{incident.attempts} attempts failed")
        return [refusal, *notify.page(incident, state, rules)]
    incident.attempts += 1
    blocked = refuse_action(state, rules)
    if blocked:
        job.pending = incident.id
        return [remedy.refuse(incident, f"resume {job.id}", blocked)]
    return list(remedy.resume(incident, job, state, rules))


def _deadline(state: State, fact: DeadlinePassed, rules: Rules) -> list[Action]:
    kind, _, rest = fact.deadline.partition("/")
    if kind in ("gather", "broken", "stacks"):
        incident = state.incidents.get(IncidentId(rest))
        return _conclude(incident, state, rules) if incident else []
    if kind == "reach":
        name, _, node = rest.partition("/")
        incident = state.incidents.get(IncidentId(name))
        silent = node in state.nodes and state.nodes[node].silent  # type: ignore[index]
        if incident is None or not silent or incident.stage is Stage.RESOLVED:
            return []
        attempt = sum(isinstance(action, Reach) for action in incident.actions) + 1
        return [Reach(action_id(name, "reach", node, attempt), incident.id, NodeId(node))]
    if kind == "agent":
        incident = state.incidents.get(IncidentId(rest))
        if incident is None or incident.stage is Stage.RESOLVED or incident.attempts > rules.policy.resume_attempts:
            return []
        incident.remedied = ""
        return _conclude(incident, state, rules)
    job = state.jobs.get(rest.split("/")[0])  # type: ignore[call-overload]
    if job is None:
        return []
    if kind == "place":
        return _place(state, job, rules)
    if kind == "refill":
        return remedy.refill(job, state) or _retry_pending(state, job, rules)
    if kind == "resume" and rest.endswith(f"/{job.generation}"):
        return _try_again(state, job, rules)
    return []


def _controller_started(state: State) -> list[Action]:
    for node in state.nodes.values():
        node.silent = False
    if state.frozen.startswith("the journal fails"):
        state.frozen = ""
    return []
