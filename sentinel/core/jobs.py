"""A job's life: submitted, placed, its workers ready, broken by exits, exceptions and stalls, advancing."""

from dataclasses import replace

from sentinel.core import incidents, reform
from sentinel.core.conclude import conclude, leave_cordoned, resolve, stop_timers, waits
from sentinel.core.crew import Crew, Worker, WorkerStage
from sentinel.core.progress import laggards
from sentinel.core.remedy import of, on_cordoned
from sentinel.core.state import Job, JobStage, Rules, State
from sentinel.model.action import Action, CollectStacks, Probe, action_id
from sentinel.model.fact import (
    Fact,
    JobAdvanced,
    JobStalled,
    JobSubmitted,
    JobUnderway,
    NodeProbed,
    RankExited,
    RankRaised,
    RankSlow,
    WorkerReady,
)
from sentinel.model.ids import Cause, NodeId
from sentinel.model.incident import Incident
from sentinel.model.report import STOPPED_ITSELF
from sentinel.model.runbook import Remedy

STACKS_DEADLINE_S = 1.5
"""py-spy needs 0.1 to 0.5 s a process on a busy machine; recovery does not wait longer."""
PLACE_S = 1.0
CONTROL = frozenset({Remedy.FREEZE, Remedy.RESTART_AGENT, Remedy.RESTART_GCS})
"""Remedies of what is not the job's: it is not over because the job steps or is stopped."""
REPLAYED = Cause("loss-nan")
"""The one cause whose recovery is an experiment: a new step is its result, not its end."""
SLOW_MEMORY_S = 86400.0
"""A rank that is slow on two nodes within a day has more work than its peers."""
TERMINATED = frozenset({"signal 15", "exit 143"})
"""How a rank ends that was asked to, for preemption or maintenance."""
ECHOES = frozenset({"collective", "evicted"})
"""Exceptions that only say that some other rank is gone, or that this one had to stop."""


def submitted(state: State, fact: JobSubmitted) -> list[Action]:
    """A job is asked for; asking again changes nothing."""
    if fact.job not in state.jobs:
        state.jobs[fact.job] = Job(
            fact.job, fact.world, fact.min_world, fact.standbys, fact.trainable, wanted=fact.world
        )
        state.set_deadline(f"place/{fact.job}", PLACE_S)
    elif state.jobs[fact.job].stage is JobStage.STOPPED and not state.jobs[fact.job].workers:
        _start_over(state, state.jobs[fact.job], fact)
    return []


def _start_over(state: State, job: Job, fact: JobSubmitted) -> None:
    """Submit a job again whose workers have all left; numbers go on, so that nothing old passes for new."""
    job.stage, job.pending, job.seats, job.high_step, job.avoid = JobStage.WAITING, "", [], -1, []
    job.crew = Crew()
    job.world = job.wanted = fact.world
    job.min_world, job.standbys, job.trainable = fact.min_world, fact.standbys, fact.trainable
    state.deadlines = {name: at for name, at in state.deadlines.items() if name.split("/")[1] != job.id}
    state.set_deadline(f"place/{job.id}", PLACE_S)


def place(state: State, job: Job, rules: Rules) -> list[Action]:
    """Start a new job once there are GPUs for all its ranks; in observe-only mode too: it was asked for."""
    room = sum(node.gpus for node in state.nodes.values() if node.usable)
    waits = job.stage is JobStage.WAITING and not job.workers
    if not waits or room < job.world or state.stopped or state.frozen:
        return []
    return list(reform.resume(reform.upkeep(job, state), job, state, rules))


def worker_ready(state: State, fact: WorkerReady, rules: Rules) -> list[Action]:
    """A worker is warm."""
    job, worker = _worker(state, fact)
    if job is None or worker is None or worker.stage is not WorkerStage.STARTING:
        return []
    worker.stage, worker.pid = WorkerStage.STANDBY, fact.pid
    state.nodes[worker.node].misstarts = 0
    if job.stage is JobStage.STOPPED:
        return reform.retire(reform.upkeep(job, state).id, job, state, [worker])
    job.lacking = max(0, job.lacking - 1)
    return [] if job.lacking else reform.retry(state, job, rules)


def _worker(state: State, fact: WorkerReady | RankExited | RankRaised) -> tuple[Job | None, Worker | None]:
    job = state.jobs.get(fact.job)
    return job, job.workers.get(fact.worker) if job else None


def exited(state: State, fact: RankExited, rules: Rules) -> list[Action]:
    """A worker's process ended; of one that was told to stop it is no news."""
    job, worker = _worker(state, fact)
    if job is None or worker is None or worker.stage is WorkerStage.GONE:
        return []
    was_rank = worker.stage is WorkerStage.RANK
    job.crew.dismiss(worker, state.now)
    if job.stage is JobStage.STOPPED:
        return []
    if not was_rank:
        return reform.refill(job, state, rules) + reform.retry(state, job, rules)
    reform.break_off(job, state)
    _part(state, job, {worker.node})
    job.pending = ""
    fact = replace(
        fact, rank=worker.rank, generation=job.generation
    )  # its own record may be a generation old
    _count_failure(state, job, fact, worker.node)
    incident = _hurt(state, job, fact, worker.node, rules)
    state.set_deadline(f"gather/{incident.id}", rules.policy.gather_s)
    return []


def _count_failure(state: State, job: Job, fact: RankExited | JobStalled, node: NodeId) -> None:
    """Count a node's crash or hang once per generation, however many of its ranks it was.

    A scheduler that ends a rank (SIGTERM), or one that ends itself for its peers' sake, accuses no node.
    """
    if isinstance(fact, RankExited) and (fact.how in TERMINATED or fact.how in STOPPED_ITSELF):
        return
    known = incidents.find(state, incidents.job_topic(job.id))
    same = (f for f in known.evidence if isinstance(f, RankExited)) if known else ()
    if not any(f.node == node and f.generation == fact.generation for f in same):
        kept = state.nodes[node].failures[-RECENT_FAILURES:]
        state.nodes[node].failures = [*kept, fact.at]


RECENT_FAILURES = 20


def _part(state: State, job: Job, nodes: set[NodeId]) -> None:
    """Leave an incident that was never acted on to itself: it explains no later harm on other nodes."""
    known = incidents.find(state, incidents.job_topic(job.id))
    if known is None or known.diagnosis is None or known.attempts or job.pending == known.id:
        return
    accused = {suspect.node for suspect in known.diagnosis.suspects if suspect.node}
    if accused and nodes and not accused & nodes and not any(map(_harms, known.evidence)):
        stop_timers(known, state)
        known.topic = f"{known.diagnosis.cause}:{','.join(sorted(accused))}"


def _harms(fact: Fact) -> bool:
    return isinstance(fact, RankExited | JobStalled) or (
        isinstance(fact, RankRaised) and fact.kind not in ECHOES
    )


def _hurt(state: State, job: Job, fact: Fact, node: NodeId, rules: Rules) -> Incident:
    """Join the job's incident with what the node's checks said shortly before."""
    incident = incidents.join(state, incidents.job_topic(job.id), fact, job)
    incidents.recall(state, rules, incident, node, fact)
    return incident


def raised(state: State, fact: RankRaised, rules: Rules) -> list[Action]:
    """A rank's training raised; echoes of another rank's end wait for the culprit."""
    job, worker = _worker(state, fact)
    if job is None or worker is None or worker.rank < 0 or job.stage is JobStage.STOPPED:
        return []
    known = incidents.find(state, incidents.job_topic(job.id))
    if fact.generation != job.generation or (known and _told(known, fact)):
        return []
    reform.break_off(job, state)
    if fact.kind not in ECHOES:
        _part(state, job, {worker.node})
    incident = _hurt(state, job, fact, worker.node, rules)
    if fact.kind in ECHOES:
        if f"gather/{incident.id}" not in state.deadlines:
            state.deadlines.setdefault(f"broken/{incident.id}", state.now + rules.policy.broken_s)
        return []
    if not waits(incident, state) or f"broken/{incident.id}" in state.deadlines:
        state.set_deadline(f"gather/{incident.id}", rules.policy.gather_s)
    return _probe(incident, worker.node, fact)


def _told(incident: Incident, fact: RankRaised) -> bool:
    raised = (f for f in incident.evidence if isinstance(f, RankRaised))
    return any((f.worker, f.generation) == (fact.worker, fact.generation) for f in raised)


def _probe(incident: Incident, node: NodeId, fact: RankRaised) -> list[Action]:
    """Ask the node's checks now; a loss that is not finite is every rank's, one rank's node is asked."""
    asked = [action.node for action in incident.actions if isinstance(action, Probe)]
    mine = fact.values[fact.rank] if fact.kind == "nan" and fact.rank < len(fact.values) else float("nan")
    finite = mine == mine and abs(mine) != float("inf")
    if finite:
        return []
    return [Probe(action_id(incident.id, "probe", node, len(asked) + 1), incident.id, node)]


def probed(state: State, fact: NodeProbed, rules: Rules) -> list[Action]:
    """A node's immediate probe is complete: when all that were asked are, nothing more need be waited for."""
    for incident in list(state.open_incidents()):
        asked = {action.node for action in incident.actions if isinstance(action, Probe)}
        asked |= {f.node for f in incident.evidence if isinstance(f, RankExited)}
        if fact.node not in asked:
            continue
        incidents.add(incident, fact)
        done = {f.node for f in incident.evidence if isinstance(f, NodeProbed) and f.at >= _hurt_at(incident)}
        fresh = {
            f.node for f in incident.evidence if isinstance(f, RankExited) and f.at >= _hurt_at(incident)
        }
        if f"gather/{incident.id}" in state.deadlines and fresh <= done:
            return conclude(incident, state, rules)
    return []


def _hurt_at(incident: Incident) -> float:
    """Return when the newest generation that this incident hurt first lost a rank."""
    hurt = [f for f in incident.evidence if isinstance(f, RankExited | RankRaised)]
    newest = max((f.generation for f in hurt), default=0)
    return min((f.at for f in hurt if f.generation == newest), default=0.0)


def stalled(state: State, fact: JobStalled, rules: Rules) -> list[Action]:
    """No rank steps: stacks first, or wait for a silent node, whose silence says more than a stack."""
    job = state.jobs.get(fact.job)
    going = job is not None and job.stage in (JobStage.RUNNING, JobStage.FORMING)
    if job is None or fact.generation != job.generation or not going:
        return []
    reform.break_off(job, state)
    where = dict(zip((beat.rank for beat in fact.beats), fact.nodes, strict=True))
    behind = {where[rank]: rank for rank in laggards(fact.beats, job.world).ranks if rank in where}
    _part(state, job, set(behind))
    incident = incidents.join(state, incidents.job_topic(job.id), fact, job)
    for node in behind:
        _count_failure(state, job, fact, node)
        incidents.recall(state, rules, incident, node, fact)
    if len(fact.beats) < job.world:
        state.deadlines.setdefault(f"broken/{incident.id}", state.now + rules.policy.broken_s)
        return conclude(incident, state, rules, certain=True)
    state.set_deadline(f"stacks/{incident.id}", STACKS_DEADLINE_S)
    processes = tuple((n, beat.rank, beat.pid) for beat, n in zip(fact.beats, fact.nodes, strict=True))
    name = action_id(incident.id, "stacks", job.id, job.generation)
    return [CollectStacks(name, incident.id, processes, STACKS_DEADLINE_S)]


def waited(incident: Incident, timer: str, state: State, rules: Rules) -> list[Action]:
    """The time to wait for evidence is over, unless a rank's node has fallen silent meanwhile."""
    job = state.job_of(incident)
    if timer != "broken" and job is not None and _silent_seat(job, state):
        state.deadlines.setdefault(f"broken/{incident.id}", state.now + rules.policy.broken_s)
        return conclude(incident, state, rules, certain=True)
    return conclude(incident, state, rules)


def _silent_seat(job: Job, state: State) -> bool:
    return any(n.silent and n.cordon is None and n.seats(job.id) for n in state.nodes.values())


def advanced(state: State, fact: JobAdvanced, rules: Rules) -> list[Action]:
    """A new step: the end of what hurt the job, and the time to refill and to leave cordoned nodes."""
    job = state.jobs.get(fact.job)
    if job is None or fact.generation != job.generation or job.stage is JobStage.STOPPED:
        return []
    job.high_step = max(job.high_step, fact.step)
    if any(worker.rank >= 0 for worker in job.crew.gone.values()) or _left(job, state):
        return []  # completed before a rank was lost, and only heard of after it
    state.deadlines.pop(job.deadline(), None)
    job.stage = JobStage.RUNNING
    actions: list[Action] = []
    for incident in [i for i in state.open_incidents() if i.job == job.id]:
        incidents.add(incident, fact)
        actions += _after_step(incident, job, fact, state, rules)
    reform.forget_gone(job, state, rules)
    if job.stage is JobStage.RUNNING and not job.pending and on_cordoned(job, state):
        actions += leave_cordoned(state, rules)
    return actions + reform.refill(job, state, rules)


def underway(state: State, fact: JobUnderway, rules: Rules) -> list[Action]:
    """Give a generation that is on its way more time, unless forming has failed and its end is near."""
    job = state.jobs.get(fact.job)
    if job is None or fact.generation != job.generation or job.stage is not JobStage.FORMING:
        return []
    ends = state.deadlines.get(job.deadline(), 0.0)
    if ends > state.now + rules.policy.broken_s:
        state.deadlines[job.deadline()] = max(ends, state.now + rules.policy.resume_timeout_s)
    return []


def stopped_by_hand(job: Job, state: State, rules: Rules) -> list[Action]:
    """Nobody wants the job any more: what hurt it and nothing else is over."""
    hurt = [i for i in state.open_incidents() if i.job == job.id and not _waits_for_a_node(i, state)]
    jobs_own = [incident for incident in hurt if of(incident.diagnosis, rules) not in CONTROL]
    return [action for incident in jobs_own for action in resolve(incident, state, rules)]


def _left(job: Job, state: State) -> bool:
    """Say whether a rank's training raised in this generation: it is not in the gang any more."""
    known = incidents.find(state, incidents.job_topic(job.id))
    raised = (f for f in known.evidence if isinstance(f, RankRaised)) if known else ()
    return any(fact.generation == job.generation for fact in raised)


def _after_step(incident: Incident, job: Job, fact: JobAdvanced, state: State, rules: Rules) -> list[Action]:
    """End an incident by a new step, unless the step is only its experiment or tells who is cut off."""
    if _waits_for_a_node(incident, state):
        return conclude(incident, state, rules, certain=True)
    if of(incident.diagnosis, rules) in CONTROL:
        return []
    actions: list[Action] = []
    if incident.diagnosis is not None and incident.diagnosis.cause == REPLAYED:
        actions = conclude(incident, state, rules)
        if job.stage is not JobStage.RUNNING:
            return actions
    incident.times.setdefault("new_step", fact.at)
    return actions + resolve(incident, state, rules)


def _waits_for_a_node(incident: Incident, state: State) -> bool:
    nodes = {getattr(fact, "node", None) for fact in incident.evidence}
    silent = (n for n in state.nodes.values() if n.silent and n.cordon is None)
    return incident.diagnosis is None and any(node.id in nodes for node in silent)


def slow(state: State, fact: RankSlow, rules: Rules) -> list[Action]:
    """One rank holds up a healthy gang."""
    job = state.jobs.get(fact.job)
    if job is None or fact.generation != job.generation or job.stage is not JobStage.RUNNING:
        return []
    since = state.now - SLOW_MEMORY_S
    known = job.slow_places(fact.rank, since)
    job.slow = [*(each for each in job.slow if each[0] > since), (state.now, fact.rank, fact.node)]
    if len(known) > 1:
        return []  # it was told already that this rank is slow wherever it sits
    incident = incidents.join(state, incidents.job_topic(job.id), fact, job)
    incidents.recall(state, rules, incident, fact.node, fact)
    return conclude(incident, state, rules)
