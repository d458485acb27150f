"""A job's life: submitted, placed, its workers ready, on its way to a new step, advancing, stopped."""

from msgspec.structs import replace

from sentinel.core import incidents, nodes, reform
from sentinel.core.conclude import conclude, leave_cordoned, resolve
from sentinel.core.crew import WorkerStage
from sentinel.core.evict import refuse_action, refuse_start
from sentinel.core.paces import awaits_pace
from sentinel.core.remedy import on_cordoned, remedy_of
from sentinel.core.rows import Job, JobStage
from sentinel.core.seating import Cannot, Wait, seat
from sentinel.core.state import Rules, State
from sentinel.core.timers import OF_A_JOB, Timer
from sentinel.model.action import Action
from sentinel.model.fact import (
    JobAdvanced,
    JobPaced,
    JobSubmitted,
    JobUnderway,
    NodeSilent,
    RankRaised,
    WorkerReady,
)
from sentinel.model.ids import Cause
from sentinel.model.incident import Incident
from sentinel.model.runbook import Remedy

PLACE_S = 1.0
CONTROL = frozenset({Remedy.FREEZE, Remedy.RESTART_AGENT, Remedy.RESTART_GCS})
"""Remedies of what is not the job's: it is not over because the job steps or is stopped."""
TRIED = frozenset({Cause("loss-nan"), Cause("rank-exception")})
"""Causes whose recovery is an experiment: a new step is its result, not only its end."""


def submitted(state: State, fact: JobSubmitted) -> list[Action]:
    """A job is asked for; asking again changes nothing."""
    if fact.job not in state.jobs:
        job = Job(fact.job, fact.world, fact.min_world, fact.standbys, fact.trainable, wanted=fact.world)
        state.add(replace(job, journal=fact.journal))
        state.set_deadline(Timer.PLACE.of(fact.job), PLACE_S)
        return []
    job = state.jobs[fact.job]
    job = state.change(job, journal=job.journal or fact.journal)
    if job.stage is JobStage.STOPPED and not state.crew.has(job.id):
        _start_over(state, job, fact)
    return []


def _start_over(state: State, job: Job, fact: JobSubmitted) -> None:
    """Submit a job again whose workers have all left; numbers go on, so that nothing old passes for new."""
    state.change(
        job,
        world=fact.world,
        wanted=fact.world,
        min_world=fact.min_world,
        standbys=fact.standbys,
        trainable=fact.trainable,
        stage=JobStage.WAITING,
        pending="",
        high_step=-1,
        avoid=(),
        median_step_s=0.0,
    )
    state.crew.start_over(job.id)
    for name in list(state.deadlines):
        if name.split("/")[:2] in [[each, job.id] for each in OF_A_JOB]:
            state.deadlines.drop(name)
    state.set_deadline(Timer.PLACE.of(job.id), PLACE_S)


def place(state: State, job: Job, rules: Rules) -> list[Action]:
    """Start a new job once there are GPUs for all its ranks."""
    waits = job.stage is JobStage.WAITING and not state.crew.has(job.id)
    if not waits or _gpus(state) < job.world or refuse_start(state):
        return []
    return list(reform.resume(reform.upkeep(job, state), job, state, rules))


def _gpus(state: State) -> int:
    return sum(node.gpus for node in state.nodes.values() if node.usable)


def needs(state: State, job: Job, rules: Rules) -> str:
    """Say what a job that does not train waits for; empty when it trains, forms, or was stopped."""
    if job.stage not in (JobStage.WAITING, JobStage.BROKEN):
        return ""
    if blocked := refuse_start(state) if reform.starts(job, state) else refuse_action(state, rules):
        return f"permission: {blocked}"
    if _gpus(state) < job.world and not state.crew.has(job.id):
        usable = sum(node.usable for node in state.nodes.values())
        return f"{job.world} GPUs: the {usable} usable nodes have {_gpus(state)}"
    match seat(state, job, ()):
        case Cannot(reason=reason):
            return f"a place: {reason}"
        case Wait(lacking=lacking):
            return f"{lacking} workers"
    return ""


def worker_ready(state: State, fact: WorkerReady, rules: Rules) -> list[Action]:
    """A worker is warm."""
    job, worker = state.worker(fact.job, fact.worker)
    if job is None or worker is None:
        return []
    if worker.stage is WorkerStage.GONE and not worker.pid:
        worker = state.change(worker, pid=fact.pid)  # it was told to stop before it was there
        return [reform.end(job, state, worker)]
    if worker.stage is not WorkerStage.STARTING:
        return []
    worker = state.change(worker, stage=WorkerStage.STANDBY, pid=fact.pid)
    if state.nodes[worker.node].misstarts:
        state.change(state.nodes[worker.node], misstarts=0)
    if job.stage is JobStage.STOPPED:
        return reform.retire(reform.upkeep(job, state).id, job, state, [worker])
    job = state.change(job, lacking=max(0, job.lacking - 1))
    return [] if job.lacking else reform.retry(state, job, rules)


def advanced(state: State, fact: JobAdvanced, rules: Rules) -> list[Action]:
    """A new step: the end of what hurt the job, and the time to refill and to leave cordoned nodes."""
    job = state.jobs.get(fact.job)
    if job is None or fact.generation != job.generation or job.stage is JobStage.STOPPED:
        return []
    job = state.change(job, high_step=max(job.high_step, fact.step))
    if any(worker.rank >= 0 for worker in state.crew.gone(job.id)) or _raised_here(job, state):
        return []  # completed before a rank was lost, and only heard of after it
    state.deadlines.drop(job.deadline())
    job = state.change(job, stage=JobStage.RUNNING, advanced=fact.at)
    actions: list[Action] = []
    for incident in [i for i in state.open_incidents() if i.job == job.id]:
        actions += _after_step(incidents.add(state, incident, fact), job, fact, state, rules)
    reform.forget_gone(job, state, rules)
    job = state.fresh(job)
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
        state.deadlines.put(job.deadline(), max(ends, state.now + rules.policy.resume_timeout_s))
    return []


def paced(state: State, fact: JobPaced) -> list[Action]:
    """Remember how long a step takes, for a controller that has seen none yet."""
    if (job := state.jobs.get(fact.job)) is not None:
        state.change(job, median_step_s=fact.median_step_s)
    return []


def stopped_by_hand(job: Job, state: State, rules: Rules) -> list[Action]:
    """Nobody wants the job any more: what hurt it and nothing else is over."""
    hurt = [i for i in state.open_incidents() if i.job == job.id and not _waits_for_a_node(i, state)]
    jobs_own = [incident for incident in hurt if remedy_of(incident.diagnosis, rules) not in CONTROL]
    return [action for incident in jobs_own for action in resolve(incident, state, rules)]


def _raised_here(job: Job, state: State) -> bool:
    """Say whether a rank's training raised in this generation: it is not in the gang any more."""
    known = incidents.find(state, incidents.job_topic(job.id))
    raised = (f for f in known.evidence if isinstance(f, RankRaised)) if known else ()
    return any(fact.generation == job.generation for fact in raised)


def _after_step(incident: Incident, job: Job, fact: JobAdvanced, state: State, rules: Rules) -> list[Action]:
    """End an incident by a new step, unless the step is only its experiment or tells who is cut off."""
    if _waits_for_a_node(incident, state):
        return conclude(incident, state, rules, certain=True)
    if remedy_of(incident.diagnosis, rules) in CONTROL or awaits_pace(incident, job):
        return []
    actions: list[Action] = []
    if incident.diagnosis is not None and incident.diagnosis.cause in TRIED:
        actions = conclude(incident, state, rules)
        if state.fresh(job).stage is not JobStage.RUNNING:
            return actions
    incident = incidents.stamp(state, incident, "new_step", fact.at)
    return [*actions, *resolve(incident, state, rules), *_still_silent(incident, fact, state)]


def _still_silent(incident: Incident, fact: JobAdvanced, state: State) -> list[Action]:
    """The job does without them, and still nobody knows why they are silent: an incident of their own."""
    actions: list[Action] = []
    accused = {suspect.node for suspect in incident.diagnosis.suspects} if incident.diagnosis else set()
    for silence in [each for each in incident.evidence if isinstance(each, NodeSilent)]:
        node = state.nodes[silence.node]
        if node.silent and node.cordon is None and node.id not in accused:
            state.change(node, silent=False)
            actions += nodes.silent(state, replace(silence, at=fact.at))
    return actions


def _waits_for_a_node(incident: Incident, state: State) -> bool:
    nodes = {getattr(fact, "node", None) for fact in incident.evidence}
    silent = (n for n in state.nodes.values() if n.silent and n.cordon is None)
    return incident.diagnosis is None and any(node.id in nodes for node in silent)
