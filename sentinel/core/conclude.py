"""From evidence to its end: diagnose, act, page; resolve; and catch up when actions are allowed again."""

from dataclasses import replace

from sentinel.core import incidents, notify, reform, remedy
from sentinel.core.diagnose import UNKNOWN, diagnose
from sentinel.core.evict import refuse_action
from sentinel.core.predicates.crashes import UNEXPLAINED
from sentinel.core.rows import JobStage
from sentinel.core.state import Rules, State
from sentinel.core.timers import EVIDENCE, Timer
from sentinel.model.action import Action, Evict
from sentinel.model.fact import Commanded, FindingReported, JobStalled, RankExited
from sentinel.model.ids import NodeId
from sentinel.model.incident import Diagnosis, Incident, Stage
from sentinel.model.runbook import Remedy


def conclude(incident: Incident, state: State, rules: Rules, *, certain: bool = False) -> list[Action]:
    """Diagnose, act and page. `certain`: keep quiet rather than say unknown, more evidence may come."""
    incident = state.fresh(incident)
    if incident.stage is Stage.RESOLVED:
        return []
    found, before = diagnose(incident, state, rules), incident.diagnosis
    if found.cause == UNKNOWN and (certain or before is not None):
        return [] if certain else relapse(incident, state, rules)
    found = _with_ranks(found, before)
    changed = before is None or (before.cause, before.suspects) != (found.cause, found.suspects)
    incident = incidents.stamp(state, state.change(incident, diagnosis=found), "diagnosed", state.now)
    stop_timers(incident, state)
    if found.cause not in UNEXPLAINED:
        _count_no_longer(incident, state)
    thawed = thaw(state, rules)
    actions = remedy.apply(incident, state, rules)
    if any(isinstance(action, Evict) for action in actions):
        actions += leave_cordoned(state, rules)  # another job may have ranks there
    pages = notify.page(incident, state, rules, actions) if changed or actions else ()
    return [*thawed, *actions, *pages]


def _count_no_longer(incident: Incident, state: State) -> None:
    """Take failures out of a node's and a rank's account: their cause is known, or they passed."""
    job = state.job_of(incident)
    if job is None:
        return
    broke = {fact.generation for fact in incident.evidence if isinstance(fact, RankExited | JobStalled)}
    for at, _, name, generation in job.failed:
        node = state.nodes[name]
        if generation in broke and at in node.failures:
            place = node.failures.index(at)
            state.change(node, failures=(*node.failures[:place], *node.failures[place + 1 :]))
    state.change(job, failed=tuple(each for each in job.failed if each[3] not in broke))


def stop_timers(incident: Incident, state: State) -> None:
    """Wait no longer for evidence."""
    for timer in EVIDENCE:
        state.deadlines.drop(timer.of(incident.id))


def waits(incident: Incident, state: State) -> bool:
    """Say whether the incident still waits for evidence."""
    return any(timer.of(incident.id) in state.deadlines for timer in EVIDENCE)


def _with_ranks(found: Diagnosis, before: Diagnosis | None) -> Diagnosis:
    """Keep the rank of a suspected GPU: once it is evicted nobody sits there any more."""
    known = {(s.node, s.gpu): s.rank for s in before.suspects} if before else {}
    suspects = (replace(s, rank=known.get((s.node, s.gpu))) if s.rank is None else s for s in found.suspects)
    return replace(found, suspects=tuple(suspects))


def relapse(incident: Incident, state: State, rules: Rules) -> list[Action]:
    """The job broke again and nothing new is known: another attempt under the same diagnosis.

    The last one takes new processes only: a survivor may be what keeps the others from stepping.
    """
    job = state.job_of(incident)
    stop_timers(incident, state)
    if job is None or not remedy.broken(job) or incident.diagnosis is None:
        return []
    if blocked := refuse_action(state, rules):
        state.change(incident, remedied="")
        actions: list[Action] = [reform.refuse(incident, state, f"resume {job.id}", blocked)]
    else:
        last = incident.attempts == rules.policy.resume_attempts - 1
        ranks = [(worker.node, rank, worker.pid) for rank, worker in state.seated(job)] if last else []
        stacks = [reform.take_stacks(incident.id, job, ranks, "-all")] if ranks else []
        anew = [rank for _, rank, _ in ranks]
        actions = [*stacks, *reform.resume(incident, job, state, rules, replace=anew)]
    return [*actions, *notify.page(incident, state, rules, actions)]


def resolve(incident: Incident, state: State, rules: Rules) -> list[Action]:
    """End an incident, and with it whatever froze actions for its sake."""
    if incident.diagnosis is None:
        _count_no_longer(incident, state)  # it passed by itself
    times = {**state.fresh(incident).times, "resolved": state.now}
    incident = state.change(incident, stage=Stage.RESOLVED, times=times)
    stop_timers(incident, state)
    state.deadlines.drop(Timer.AGAIN.of(incident.id))
    incidents.forget(state, rules)
    pages = notify.page(incident, state, rules) if incident.revision else ()
    return [*pages, *thaw(state, rules)]


def resolve_topic(state: State, rules: Rules, prefix: str) -> list[Action]:
    """Resolve the open incidents whose topic begins so."""
    found = [incident for incident in state.open_incidents() if incident.topic.startswith(prefix)]
    return [action for incident in found for action in resolve(incident, state, rules)]


def withdraw(fact: FindingReported | Commanded, node: NodeId, state: State, rules: Rules) -> list[Action]:
    """Findings hold no more: an incident that was never acted on, and has nothing else to go by, is over.

    A `Commanded` takes back all of the node's, for a human vouches for it; a finding only what it clears.
    """
    key = fact.finding.key if isinstance(fact, FindingReported) else None
    actions: list[Action] = []
    for incident in list(state.open_incidents()):
        findings = (f for f in incident.evidence if isinstance(f, FindingReported) and f.node == node)
        if any(key in (None, f.finding.key) for f in findings) and not acted_on(incident, state):
            incident = incidents.add(state, incident, fact)
            actions += [] if incidents.still_hurts(incident, rules) else resolve(incident, state, rules)
    return actions


def acted_on(incident: Incident, state: State) -> bool:
    """Say whether anything was done about it, or has to be: a node was taken away, the job re-forms."""
    cordoned = any(node.cordon and node.cordon.by == incident.id for node in state.nodes.values())
    job = state.job_of(incident)
    return bool(cordoned or incident.attempts or (job and job.stage in (JobStage.BROKEN, JobStage.FORMING)))


def thaw(state: State, rules: Rules) -> list[Action]:
    """Allow actions again when no open incident asks for the freeze any more."""
    if not any(f"({name})" in state.frozen for name in state.incidents):
        return []  # not frozen, or by something that is no incident
    reasons = (
        f"{incident.diagnosis.cause} ({incident.id})"
        for incident in state.open_incidents()
        if incident.diagnosis and remedy.remedy_of(incident.diagnosis, rules) is Remedy.FREEZE
    )
    state.frozen = next(reasons, "")
    return [] if state.frozen else catch_up(state, rules)


def catch_up(state: State, rules: Rules) -> list[Action]:
    """Act on what is still true now, never on what was refused then."""
    actions: list[Action] = []
    acts = not refuse_action(state, rules)  # where Sentinel only observes jobs may start, and no more
    opened = sorted(state.open_incidents(), key=lambda known: not _evicts(known, rules)) if acts else ()
    for incident in opened:
        waiting = incident.diagnosis is not None and not waits(incident, state)
        done = remedy.apply(incident, state, rules) if waiting else []
        actions += [*done, *(notify.page(incident, state, rules, done) if done else ())]
    for job in state.jobs.values():
        if job.stage is JobStage.WAITING and not state.crew.has(job.id):
            state.set_deadline(Timer.PLACE.of(job.id), 0.0)  # it was submitted meanwhile
        actions += reform.retry(state, job, rules)
    return [*actions, *leave_cordoned(state, rules)]


def _evicts(incident: Incident, rules: Rules) -> bool:
    """Say whether its remedy empties nodes: that comes first, so that nobody is seated on them."""
    return remedy.remedy_of(incident.diagnosis, rules) in (Remedy.EVICT, Remedy.DRAIN)


def leave_cordoned(state: State, rules: Rules) -> list[Action]:
    """Move running jobs off nodes that somebody cordoned, at a step boundary; standbys go at once."""
    if refuse_action(state, rules):
        return []  # allowed again, `catch_up` comes back to it
    actions: list[Action] = []
    cordoned = {node.id for node in state.nodes.values() if node.cordon is not None}
    for job in state.jobs.values():
        idle = [w for w in state.crew.of(job.id) if w.node in cordoned and w.rank < 0]
        actions += reform.retire(reform.upkeep(job, state).id, job, state, idle)
        if job.stage is JobStage.RUNNING and not job.pending and remedy.on_cordoned(job, state):
            asked = reform.upkeep(job, state)
            actions += reform.resume(asked, job, state, rules, graceful=True)
    return actions
