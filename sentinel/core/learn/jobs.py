"""A job's life: submitted, its workers ready, on its way to a new step, advancing."""

from msgspec.structs import replace

from sentinel.core import evidence, group, recovery
from sentinel.core.learn import watching
from sentinel.core.learn.ending import drop_deadlines
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import ANEW, STARTS, Job, JobStage
from sentinel.core.state.timers import Timer
from sentinel.core.state.workers import WorkerStage
from sentinel.model.fact import (
    DeadlinePassed,
    JobAdvanced,
    JobPaced,
    JobSubmitted,
    JobUnderway,
    RankRaised,
    WorkerReady,
)
from sentinel.model.ids import Instant, JobId
from sentinel.model.incident import Due, Incident


def submitted(state: State, fact: JobSubmitted, rules: Rules) -> None:
    """A job is asked for; asking again changes nothing."""
    if fact.watched:
        watching.submitted(state, fact)
        return
    if fact.job not in state.jobs:
        job = Job(fact.job, fact.world, fact.min_world, fact.standbys, fact.trainable, wanted=fact.world)
        state.add(replace(job, journal=fact.journal, priority=fact.priority))
        _waits(state, fact.job, rules)
        return
    job = state.jobs[fact.job]
    job = state.change(job, journal=job.journal or fact.journal)
    if job.stage is JobStage.FINISHED or (job.stage is JobStage.STOPPED and not state.workers.has(job.id)):
        start_over(state, job, fact, rules)


def start_over(state: State, job: Job, fact: JobSubmitted, rules: Rules) -> None:
    """Submit a job again whose workers have all left; numbers go on, so that nothing old passes for new.

    What had ended it was known to who starts it again: whatever breaks it from now on is another incident.
    """
    if job.is_over:
        for incident in state.open_incidents():
            if incident.topic == group.job_topic(job.id):
                group.rest(state, incident)
    _forget_gone(state, job, state.now)
    state.change(
        job,
        world=fact.world,
        wanted=fact.world,
        min_world=fact.min_world,
        standbys=fact.standbys,
        trainable=fact.trainable,
        priority=fact.priority,
        stage=JobStage.WAITING,
        want=None,
        lacking=0,
        **ANEW,
    )
    state.workers.start_over(job.id)
    for node in state.nodes:
        state.workers.look_again_at(job.id, node)
    drop_deadlines(state, job)
    _waits(state, job.id, rules)


def _waits(state: State, job: JobId, rules: Rules) -> None:
    state.set_deadline(Timer.PLACE.of(job), rules.policy.place_s)
    state.set_deadline(Timer.ROOM.of(job), rules.policy.room_s)


def lacks_room(state: State, job: Job, fact: DeadlinePassed) -> None:
    """A job has waited for so long: if nobody has its GPUs, only people can bring them."""
    if job.stage is JobStage.WAITING and state.usable_gpus() < job.world:
        group.ask_for(state, group.join_job(state, job, fact), Due.ANY)


def worker_ready(state: State, fact: WorkerReady) -> None:
    """A worker is warm."""
    job, worker = state.worker(fact.job, fact.worker)
    if job is None or worker is None:
        return
    if worker.stage is WorkerStage.GONE and not worker.pid:  # it was told to stop before it was there
        state.change(worker, pid=fact.pid, may_run=True)
    elif worker.stage is WorkerStage.STARTING:
        late = job.is_over
        state.change(worker, stage=WorkerStage.STANDBY, pid=fact.pid, unwanted=late)
        if state.nodes[worker.node].misstarts or state.nodes[worker.node].start_error:
            state.change(state.nodes[worker.node], **STARTS)
        if not late:
            state.change(job, lacking=max(0, job.lacking - 1), warms_s=fact.at - worker.since)


def advanced(state: State, fact: JobAdvanced, rules: Rules) -> None:
    """A new step: the end of the job's trouble, or the result of an experiment."""
    job = state.jobs.get(fact.job)
    if job is None or fact.generation != job.generation or job.is_over:
        return
    if job.stage is JobStage.RUNNING and fact.step <= job.high_step:
        return  # it is known
    job = state.change(job, high_step=max(job.high_step, fact.step))
    affecting = state.incidents_of(job)
    for incident in affecting:
        state.change(incident, steps_before=incident.steps_lost or 0, again=(-1, -1))
    if any(worker.rank >= 0 for worker in state.workers.gone(job.id)) or _raised_here(job, state):
        return  # completed before a rank was lost, and only heard of after it
    state.deadlines.drop(job.deadline())
    state.deadlines.drop(Timer.REFILL.of(job.id))  # the job steps, so standbys may be started now
    job = state.change(job, stage=JobStage.RUNNING, advanced=fact.at)
    for node in state.unheard():
        if state.workers.is_hosted(job.id, node.id):
            state.change(node, lives=True)  # a step needs all ranks
    for incident in affecting:
        _stepped(state, evidence.add(state, incident, fact), fact, rules)
        if _was_retried(state.fresh(incident), job):
            group.rest(state, incident)
    if affecting:
        recovery.begins(state, job, rules)
    _forget_gone(state, job, state.now - rules.policy.action_timeout_s)


def _was_retried(incident: Incident, job: Job) -> bool:
    """Say whether it was people who had its job tried again, and that has helped."""
    tried = incident.retried and not evidence.has_symptom_since(incident, incident.retried)
    return bool(tried) and incident.topic == group.job_topic(job.id) and "new_step" in incident.times


def _raised_here(job: Job, state: State) -> bool:
    """Say whether a rank's training raised in this generation: it is not in the gang any more."""
    known = group.of_job(state, job)
    raised = (f for f in known.evidence if isinstance(f, RankRaised)) if known else ()
    return any(fact.generation == job.generation for fact in raised)


def _stepped(state: State, incident: Incident, fact: JobAdvanced, rules: Rules) -> None:
    book = rules.book_of(incident)
    if group.waits_for_a_node(state, incident):
        # A step needs all ranks, so it shows that a silent node's ranks live.
        group.ask_for(state, incident, Due.CERTAIN)
    elif group.ends_by_step(incident, rules):
        evidence.stamp(state, state.change(incident, attempts=0), "new_step", fact.at)
        if book is not None and book.trial:
            group.ask_for(state, incident, Due.ANY)


def _forget_gone(state: State, job: Job, since: Instant) -> None:
    """Drop workers that are gone for so long that no action still means them.

    Those of a silent node are kept: nobody saw them go, and they are stopped when it is heard again.
    """
    for worker in state.workers.gone(job.id):
        if worker.since < since and worker.rank < 0 and not state.nodes[worker.node].silent:
            state.workers.forget(worker)


def underway(state: State, fact: JobUnderway, rules: Rules) -> None:
    """Give a generation that is on its way more time, unless forming has failed and its end is near."""
    job = state.jobs.get(fact.job)
    if job is None or fact.generation != job.generation or job.stage is not JobStage.FORMING:
        return
    ends = state.deadlines.get(job.deadline(), 0.0)
    if ends > state.now + rules.policy.broken_s:
        state.deadlines.put(job.deadline(), max(ends, state.now + rules.policy.resume_timeout_s))


def paced(state: State, fact: JobPaced, rules: Rules) -> None:
    """Remember how long a step takes, for a controller that has seen none yet.

    A job that is slower than before it broke has not recovered, until that lasts so long that it is its pace.
    """
    if (job := state.jobs.get(fact.job)) is None:
        return
    was_slow = not recovery.is_at_pace(job, rules.policy)
    job = state.change(job, median_step_s=fact.median_step_s)
    if not recovery.is_at_pace(job, rules.policy):
        state.wait_for(Timer.PACED.of(job.id), rules.policy.new_pace_s)
    elif was_slow:
        pace_is_back(state, job, rules)


def pace_is_back(state: State, job: Job, rules: Rules) -> None:
    """A job is at its pace again, or what it has kept for long is its pace."""
    state.deadlines.drop(Timer.PACED.of(job.id))
    if job.stage is JobStage.RUNNING and state.incidents_of(job):
        recovery.begins(state, job, rules)
