"""What became of actions, and which are tried again."""

from sentinel.core import incidents, notify, reform
from sentinel.core.conclude import conclude, relapse, resolve, waits
from sentinel.core.crew import WorkerStage
from sentinel.core.evict import refuse_action
from sentinel.core.remedy import remedy_of, restarts
from sentinel.core.rows import Job, JobStage
from sentinel.core.seating import START_ATTEMPTS
from sentinel.core.state import Rules, State
from sentinel.core.timers import Timer
from sentinel.model.action import Action, Evict, action_id
from sentinel.model.fact import DeadlinePassed, Fact, Outcome
from sentinel.model.ids import IncidentId, JobId, NodeId, WorkerId
from sentinel.model.incident import Incident, Stage
from sentinel.model.journal import incident_of
from sentinel.model.runbook import Remedy

TOLD = frozenset({"evict", "resume", "stacks", "restart-agent", "restart-gcs"})
"""Kinds whose outcome is evidence."""
RETRY_S = 2.0
TRUST_S = 60.0
"""A node where workers do not start gets one more try this often: its raylet may be back by then."""


def outcome(state: State, fact: Outcome, rules: Rules) -> list[Action]:
    """Fold what became of an action."""
    action = state.unfinished.get(fact.action)
    state.unfinished.drop(fact.action)
    if fact.action.count("/") < 3:
        return []
    name, kind, target, _ = fact.action.split("/", 3)
    if kind == "start-worker":
        return [] if fact.ok else _start_failed(state, fact, WorkerId(target), rules, action)
    if kind == "resume":
        return _resumed(state, fact, JobId(target), rules)
    if kind == "stop-job":  # its GPUs may be what another job waits for
        return [action for job in state.jobs.values() for action in reform.retry(state, job, rules)]
    incident = state.incidents.get(IncidentId(name))
    if incident is None:
        return []
    if kind in TOLD:
        incident = incidents.add(state, incident, fact)
    match kind:
        case "page" if fact.ok:
            incidents.stamp(state, incident, "paged", fact.at)
        case "evict":
            return _evicted(state, fact, incident, NodeId(target), rules)
        case "stacks" if Timer.STACKS.of(incident.id) in state.deadlines:
            return conclude(incident, state, rules)
        case "restart-agent" | "restart-gcs" if not fact.ok:
            return list(notify.page(incident, state, rules))
    return []


def _evicted(state: State, fact: Outcome, incident: Incident, node: NodeId, rules: Rules) -> list[Action]:
    if not fact.ok:
        state.set_deadline(Timer.EVICT.of(incident.id, node), RETRY_S)
        return list(notify.page(incident, state, rules))
    incident = incidents.stamp(state, incident, "evicted", fact.at)
    job = state.job_of(incident)
    more = any(isinstance(a, Evict) and a.incident == incident.id for a in state.unfinished.values())
    unhurt = job is None or job.stage in (JobStage.RUNNING, JobStage.STOPPED)
    done = unhurt and not more and incident.stage is Stage.MITIGATING
    return resolve(incident, state, rules) if done else []


def evict_again(state: State, name: IncidentId, node: NodeId, rules: Rules) -> list[Action]:
    """An eviction failed: the node is cordoned, and still not empty."""
    incident, known = state.incidents.get(name), state.nodes.get(node)
    if incident is None or known is None or known.cordon is None or known.cordon.by != name:
        return []
    if refuse_action(state, rules):
        state.set_deadline(Timer.EVICT.of(name, node), RETRY_S)
        return []
    tried = sum(isinstance(action, Evict) and action.node == node for action in incident.actions)
    if tried >= rules.policy.resume_attempts:
        return []
    number = action_id(name, "evict", node, tried + 1)
    return [Evict(number, name, node, known.cordon.reason)]


def _start_failed(
    state: State, fact: Outcome, worker: WorkerId, rules: Rules, action: Action | None
) -> list[Action]:
    """A node where workers do not start is left alone after a few; whoever waits is seated elsewhere.

    One that starts all the same, only late, is stopped: nobody expects it any more.
    """
    actions: list[Action] = []
    jobs = [job for job in state.jobs.values() if job.id == getattr(action, "job", job.id)]
    for job in jobs:
        failed = state.crew.get(job.id, worker)
        if failed is None or failed.stage is not WorkerStage.STARTING:
            continue
        actions += reform.retire(incident_of(fact.action), job, state, [failed])
        node = state.nodes[failed.node]
        node = state.change(node, misstarts=node.misstarts + 1)
        if node.misstarts >= START_ATTEMPTS:
            state.set_deadline(Timer.TRUST.of(node.id), TRUST_S)
        state.set_deadline(Timer.REFILL.of(job.id), RETRY_S)
        if node.misstarts == START_ATTEMPTS and job.stage is not JobStage.RUNNING:
            return actions + _tell(state, job, fact, rules)
    return actions


def trust_again(state: State, name: NodeId, rules: Rules) -> list[Action]:
    """Give a node where workers did not start one more try."""
    node = state.nodes.get(name)
    if node is None or node.misstarts < START_ATTEMPTS:
        return []
    state.change(node, misstarts=START_ATTEMPTS - 1)
    return [action for job in state.jobs.values() for action in reform.look_after(state, job, rules)]


def _tell(state: State, job: Job, fact: Fact, rules: Rules) -> list[Action]:
    """Make it somebody's business that a job does not start."""
    incident = incidents.join(state, incidents.job_topic(job.id), fact, job)
    return [] if waits(incident, state) else conclude(incident, state, rules)


def _resumed(state: State, fact: Outcome, name: JobId, rules: Rules) -> list[Action]:
    job = state.jobs.get(name)
    if job is None or not fact.action.endswith(f"/{job.generation}"):
        return []
    incident = incidents.find(state, incidents.job_topic(name))
    if incident is not None:
        incident = incidents.add(state, incident, fact)
        if lost := next((text for text in fact.data if text.startswith("lost ")), ""):
            state.change(incident, steps_lost=int(lost.split()[1]))
    if fact.ok or job.stage is not JobStage.FORMING:
        return []
    overtaken = next((text for text in fact.data if text.startswith("overtaken ")), "")
    if overtaken and job.high_step < 0:
        return _take_over(state, job, int(overtaken.split()[1]), rules)
    state.set_deadline(job.deadline(), rules.policy.broken_s)  # whoever is gone is reported first
    stuck = [worker for worker in state.crew.of(job.id) if f"stuck {worker.id}" in fact.data]
    by = incident_of(fact.action)
    places = [(worker.node, worker.rank, worker.pid) for worker in stuck]
    stacks = [reform.take_stacks(by, job, places, "-stuck")] if stuck else []
    return [*stacks, *reform.retire(by, job, state, stuck)]


def _take_over(state: State, job: Job, newest: int, rules: Rules) -> list[Action]:
    """Go on where another journal, now lost, ended.

    A journal that has seen the job step is never taken for the newer one: it may be a controller that was
    thought dead, and its ranks must not train beside those of its successor.
    """
    reform.break_off(job, state)
    state.change(job, pending=reform.upkeep(job, state).id, generation=max(newest, job.generation))
    return reform.retry(state, job, rules)


def try_again(state: State, job: Job, fact: DeadlinePassed, rules: Rules) -> list[Action]:
    """A generation made no new step in time."""
    if job.stage is not JobStage.FORMING:
        return []
    reform.break_off(job, state)
    incident = incidents.join(state, incidents.job_topic(job.id), fact, job)
    if incident.diagnosis is None:
        return conclude(incident, state, rules)
    return relapse(incident, state, rules)


def remedy_again(state: State, name: IncidentId, fact: DeadlinePassed, rules: Rules) -> list[Action]:
    """An agent or the GCS was restarted and is still not heard: again, a few times, then people."""
    incident = state.incidents.get(name)
    if incident is None or incident.stage is Stage.RESOLVED:
        return []
    if remedy_of(incident.diagnosis, rules) not in (Remedy.RESTART_AGENT, Remedy.RESTART_GCS):
        return []
    incident = incidents.add(state, incident, fact)
    if restarts(incident) >= rules.policy.resume_attempts:
        refused = reform.refuse(incident, state, "restart it again", f"{restarts(incident)} did not help")
        return [refused, *notify.page(incident, state, rules, [refused])]
    incident = state.change(incident, remedied="")
    return conclude(incident, state, rules)
