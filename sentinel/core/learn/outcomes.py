"""What became of actions."""

from msgspec.structs import replace

from sentinel.core import evidence, group, waits
from sentinel.core.learn import preflights, proofs, starting
from sentinel.core.learn.breaking import break_off
from sentinel.core.learn.control import is_ordered
from sentinel.core.learn.nodes import look_again
from sentinel.core.learn.ranks import ask_for_stacks
from sentinel.core.recovery import MOST_DOUBLINGS
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, JobStage, Outside, Want
from sentinel.core.state.timers import Timer
from sentinel.model.action import (
    Action,
    CollectStacks,
    CordonNode,
    Evict,
    OfCordon,
    Page,
    Probe,
    Prove,
    Repair,
    RestartAgent,
    RestartGcs,
    RestartJob,
    Resume,
    StartWorker,
    StopJob,
    kind_of,
)
from sentinel.model.fact import DeadlinePassed, Outcome
from sentinel.model.ids import IncidentId, WorkerId
from sentinel.model.incident import Due, Incident

IN_EVIDENCE = (Evict, RestartJob, CollectStacks, RestartAgent, RestartGcs)
"""Orders whose outcome is evidence; how forming went is, if it was the newest generation."""


def outcome(state: State, fact: Outcome, rules: Rules) -> None:
    """Take in what became of an action, once: of one that nobody waits for it is no news."""
    action = state.unfinished.get(fact.action)
    if action is None:
        return
    state.unfinished.drop(fact.action)
    match action:
        case Resume():
            _resumed(state, fact, action, rules)
        case StartWorker() if not fact.ok:
            starting.failed(state, fact, action, rules)
        case StopJob():  # another job may wait for its GPUs
            look_again(state, *state.jobs)
        case Evict():
            _evicted(state, fact, action, rules)
        case Prove():
            proofs.failed(state, fact, action.node, rules)
        case Probe():
            preflights.failed(state, fact, action.node, rules)
        case Repair():
            proofs.repaired(state, fact, action.node, rules)
        case _ if isinstance(action, OfCordon):
            _scheduler_told(state, fact, action, rules)
    if (incident := state.incidents.get(action.incident)) is not None:
        _followed(state, fact, action, incident, rules)


def _followed(state: State, fact: Outcome, action: Action, incident: Incident, rules: Rules) -> None:
    """Tell the incident for whose sake it was done."""
    if isinstance(action, IN_EVIDENCE):
        incident = evidence.add(state, incident, fact)
    match action:
        case RestartAgent() | RestartGcs() if fact.ok and waits.heard_by(action) in state.deadlines:
            # It runs now: from here on it should be heard, however long it took to start it.
            state.set_deadline(waits.heard_by(action), rules.policy.action_timeout_s)
        case RestartJob() if not fact.ok and (job := state.job_of(incident)) is not None:
            break_off(state, job)
        case Page() if fact.ok:
            evidence.stamp(state, incident, "paged", fact.at)
        case Evict() if fact.ok:
            evidence.stamp(state, incident, "evicted", fact.at)
        case Probe() if Timer.MEMBERS.of(incident.id) in state.deadlines:
            state.deadlines.drop(Timer.MEMBERS.of(incident.id))  # the probe failed, so no samples will come
            group.ask_for(state, incident, Due.ANY)
        case CollectStacks() if Timer.STACKS.of(incident.id) in state.deadlines:
            group.ask_for(state, incident, Due.ANY)


def _evicted(state: State, fact: Outcome, action: Evict, rules: Rules) -> None:
    """A node is empty, or it is tried again, also where its incident is over and forgotten."""
    node = state.nodes[action.node]
    if not fact.ok:
        state.set_deadline(Timer.EVICT.of(node.id), rules.policy.retry_s)
    elif node.cordon is not None and node.cordon.by == action.incident:
        state.change(node, is_empty=True)


def _scheduler_told(state: State, fact: Outcome, action: OfCordon, rules: Rules) -> None:
    """The scheduler knows of a cordon or of its end, or is told again; people hear of one that can't be."""
    node, policy, name = state.nodes[action.node], rules.policy, action.node
    outside, known = node.outside, next(filter(evidence.unreported, state.open_incidents()), None)
    if fact.ok:
        cordon = outside.cordon if isinstance(action, CordonNode) else None
        state.change(node, outside=Outside(cordon, outside.orders))
        if known is not None and name in evidence.unreported(known):
            evidence.add(state, known, fact)
        return
    tries, since = outside.tries + 1, outside.since if outside.tries else fact.at
    state.change(node, outside=replace(outside, tries=tries, since=since, why=fact.detail))
    pause = policy.retry_s * 2.0 ** min(tries - 1, MOST_DOUBLINGS)
    state.set_deadline(Timer.OUTSIDE.of(name), min(policy.retry_limit_s, pause))
    if fact.at >= since + policy.untold_s and not (known and name in evidence.unreported(known)):
        topic = f"{kind_of(action.id)}:"
        incident = evidence.add(state, known, fact) if known else group.join(state, topic, fact)
        group.ask_for(state, incident, Due.ANY)


def _resumed(state: State, fact: Outcome, action: Resume, rules: Rules) -> None:
    """Take in how forming a generation went; who was called stuck in it is so, whichever is the newest."""
    job = state.jobs.get(action.job)
    if job is None:
        return
    called = (text.removeprefix("stuck ") for text in fact.data if text.startswith("stuck "))
    known = (state.workers.get(job.id, WorkerId(worker)) for worker in called)
    stuck = [worker for worker in known if worker is not None]
    for worker in stuck:
        state.change(worker, unwanted=True, spent=True)
        if worker.rank >= 0 and job.stage is JobStage.FORMING:  # this generation will not form, either
            state.set_deadline(job.deadline(), rules.policy.broken_s)
    incident = group.of_job(state, job)
    if incident is not None:
        incident = _goes_back(state, job, incident, fact)
    if action.generation != job.generation:
        return
    if incident is not None:
        incident = evidence.add(state, incident, fact)
        if stuck:
            places = tuple((worker.node, worker.rank, worker.pid) for worker in stuck)
            ask_for_stacks(state, incident, job, places, "-stuck")
    if fact.ok or job.stage is not JobStage.FORMING:
        return
    overtaken = next((text for text in fact.data if text.startswith("overtaken ")), "")
    if overtaken and job.high_step < 0:
        _take_over(state, job, int(overtaken.split()[1]))
    else:
        # Until then the exits of ended ranks are reported.
        state.set_deadline(job.deadline(), rules.policy.broken_s)


def _goes_back(state: State, job: Job, incident: Incident, fact: Outcome) -> Incident:
    """Count the steps to be made again: from the earliest that is gone back to, up to the newest ever made.

    Each process counts from the step that it was at itself, which the generation before may have gone back
    to: so a further re-forming adds only what lies outside the steps that are being made again already. It is
    told of every generation in which processes went back, also of one that failed or was superseded.
    """
    told = [text.split() for text in fact.data]
    lost = next((int(words[1]) for words in told if words[0] == "lost"), None)
    to = next((int(words[2]) for words in told if words[:2] == ["restored", "step"]), None)
    if lost is None or to is None:
        return incident
    newest = max(to + lost, job.high_step if job.stage is JobStage.FORMING else -1)
    (first, last), before = incident.again, incident.steps_before
    if to >= last:  # those have all been made again
        first, last, before = to, to, before + last - first
    first, last = min(first, to), max(last, newest)
    lost = before + last - first
    return state.change(incident, again=(first, last), steps_before=before, steps_lost=lost)


def _take_over(state: State, job: Job, newest: int) -> None:
    """Go on where another journal, now lost, ended.

    A journal that has seen the job step is never taken for the newer one: it may be a controller that was
    thought dead, and its ranks must not train beside those of its successor.
    """
    job = break_off(state, job)
    state.change(job, want=Want(job.upkeep), lacking=0, generation=max(newest, job.generation))


def lapsed(state: State, job: Job, fact: DeadlinePassed, rules: Rules) -> None:
    """A generation made no new step in time; one that Ray can't be asked for yet has its time still."""
    if job.stage is not JobStage.FORMING:
        return
    if waits.is_ray_away(state) and is_ordered(state, job):
        state.set_deadline(job.deadline(), rules.policy.resume_timeout_s)
        return
    job = break_off(state, job)
    incident = group.join_job(state, job, fact)
    incident = state.change(incident, lapsed=True)
    state.await_no_evidence(incident.id)
    if incident.diagnosis is None:
        group.ask_for(state, incident, Due.ANY)


def not_heard(state: State, name: IncidentId, fact: DeadlinePassed, rules: Rules) -> None:
    """An agent or the GCS was restarted and is still not heard; one whose start is under way has its time."""
    incident, under_way = state.open_incident(name), state.unfinished.values()
    restarts = (each for each in under_way if isinstance(each, RestartAgent | RestartGcs))
    if any(waits.heard_by(each) == fact.deadline for each in restarts):
        state.set_deadline(fact.deadline, rules.policy.action_timeout_s)
        return
    if incident is not None:
        group.ask_for(state, evidence.add(state, incident, fact), Due.ANY)
