"""When an incident is over."""

from sentinel.core import evidence, group
from sentinel.core.proofs import is_emptied
from sentinel.core.recovery import has_settled
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, JobStage, Node
from sentinel.core.state.timers import Timer
from sentinel.model.action import Evict, Page
from sentinel.model.fact import FindingReported, NodeSilent
from sentinel.model.incident import Incident
from sentinel.model.runbook import Ends, Remedy


def is_over(incident: Incident, state: State, rules: Rules) -> bool:
    """Say whether nothing is left of what an incident is about, and has not been for long enough."""
    return is_well(incident, state, rules) and not _settles(incident, state, rules)


def _settles(incident: Incident, state: State, rules: Rules) -> bool:
    """Say whether it has to be seen yet that all stays well."""
    job = state.job_of(incident)
    if Timer.SETTLED.of(incident.id) in state.deadlines:
        return True
    if job is None or job.halted or job.is_over or state.here_count() == 0:
        return False
    if incident.diagnosis is None:
        return False  # it was over before it was diagnosed
    affected = incident.formed > 0 or any(evidence.symptoms(incident))
    return affected and group.ends_by_step(incident, rules) and not has_settled(state, job, rules)


def is_well(incident: Incident, state: State, rules: Rules) -> bool:
    """Say whether nothing is left of what an incident is about."""
    job = state.job_of(incident)
    if state.here_count() == 0 and _was_seen_on_nodes(incident):
        return not group.took_nodes(state, incident)
    if job is not None and job.stage is JobStage.FINISHED and _is_the_jobs(incident, state, rules):
        return True
    if job is not None and _broke_of_something_else(incident, job, state, rules):
        return True
    if group.is_shared(state, incident):
        return False
    if incident.part_of and not group.acted_on(state, incident):
        return True  # the incident that it is part of carries the page
    by_step = group.ends_by_step(incident, rules) and not group.waits_for_a_node(state, incident)
    if by_step and job is not None and (job.halted or group.has_stepped(state, incident, job)):
        return True
    book = rules.book_of(incident)
    if book is not None and book.ends is Ends.SIGN:
        return _signs_are_over(incident, state, rules)
    return (
        _pace_is_back(incident, state, rules)
        or _nothing_holds(incident, state)
        or _all_heard_again(incident, state, rules)
        or _findings_are_over(incident, state, rules)
        or _evictions_are_over(incident, state, rules)
    )


def _is_the_jobs(incident: Incident, state: State, rules: Rules) -> bool:
    """Say whether it is about how the job does: nobody is to wait for a step or a pace any more."""
    ends = group.ends_by_step(incident, rules) or evidence.is_about_pace(incident)
    return ends and not group.waits_for_a_node(state, incident)


def _broke_of_something_else(incident: Incident, job: Job, state: State, rules: Rules) -> bool:
    """Say whether its job went on for long, or when it was tried again, and is stopped for another."""
    tried = incident.retried and not evidence.has_symptom_since(incident, incident.retried)
    passed = tried or group.rests(incident)
    if not passed or group.took_nodes(state, incident) or not _is_the_jobs(incident, state, rules):
        return False
    return group.stopped(state, job) not in (None, incident)


def _was_seen_on_nodes(incident: Incident) -> bool:
    return not evidence.kinds(incident).isdisjoint((NodeSilent, FindingReported))


def _signs_are_over(incident: Incident, state: State, rules: Rules) -> bool:
    """Say whether each thing that was lost is back, each silent node heard, each sign of it cleared."""
    kinds, book = evidence.kinds(incident), rules.book_of(incident)
    found = [f for f in incident.evidence if isinstance(f, FindingReported)]
    found = [f for f in found if book in rules.by_code.get(f.finding.code, ())]
    lost = not kinds.isdisjoint(evidence.BACK)
    if not (NodeSilent in kinds or found or lost or evidence.is_about_cordons(incident)):
        return False
    holds = any(fact in found for fact in evidence.holding(incident))
    return _all_is_back(incident, state) and not holds


def _all_is_back(incident: Incident, state: State) -> bool:
    """Say whether all that was lost is back; a job that is over has no symptom any more."""
    job = state.job_of(incident)
    lost = evidence.kinds(incident) & evidence.BACK.keys()
    lost -= evidence.SYMPTOMS.keys() if job is None or job.is_over else set()
    back = all(evidence.is_back(incident, each) for each in lost)
    return back and not (_somebody_is_silent(incident, state) or evidence.unreported(incident))


def _nothing_holds(incident: Incident, state: State) -> bool:
    """Say whether nothing in evidence is so any more, whatever it was, and nothing is done about it."""
    job = state.job_of(incident)
    if job is not None and not (job.is_over or job.stage is JobStage.RUNNING):
        return False
    broke = any(evidence.breaks(incident))
    deeds = (action for action in state.unfinished.values() if not isinstance(action, Page))
    busy = any(action.incident == incident.id for action in deeds)
    passed = not (broke or busy or evidence.holding(incident) or group.took_nodes(state, incident))
    return passed and _all_is_back(incident, state)


def _somebody_is_silent(incident: Incident, state: State) -> bool:
    """Say whether a node that is in evidence as silent was not heard since; one that left is not."""
    silent = (fact.node for fact in reversed(incident.evidence) if isinstance(fact, NodeSilent))
    return any(state.is_unheard(node) or state.nodes[node].left for node in silent)


def _pace_is_back(incident: Incident, state: State, rules: Rules) -> bool:
    about = evidence.is_about_pace(incident) and not group.acted_on(state, incident)
    return about and _signs_are_over(incident, state, rules)


def _all_heard_again(incident: Incident, state: State, rules: Rules) -> bool:
    silent = evidence.silent_nodes(incident)
    if not silent or any(map(state.is_unheard, silent)):
        return False
    return group.is_about_silent(incident, rules) and not group.acted_on(state, incident)


def _findings_are_over(incident: Incident, state: State, rules: Rules) -> bool:
    """Say whether it was about findings alone, none of which holds, and nothing was done about them."""
    found = FindingReported in evidence.kinds(incident)
    return found and not (group.acted_on(state, incident) or evidence.still_affects(incident, rules))


def _evictions_are_over(incident: Incident, state: State, rules: Rules) -> bool:
    """Say whether its nodes are empty, but for those that stay, and no job is broken.

    One that people have drained since is theirs.
    """
    job, diagnosis = state.job_of(incident), incident.diagnosis
    if diagnosis is None or rules.remedy_of(incident) not in (Remedy.EVICT, Remedy.DRAIN):
        return False
    unaffected = job is None or job.is_over or job.stage is JobStage.RUNNING
    taken = [node for node in state.cordoned() if _took(incident, node)]
    actions = state.unfinished.values()
    more = any(isinstance(action, Evict) and action.incident == incident.id for action in actions)
    return unaffected and not more and bool(taken) and all(map(is_emptied, taken))


def _took(incident: Incident, node: Node) -> bool:
    mine = node.cordon is not None and node.cordon.by == incident.id
    return mine or any(each.incident == incident.id for each in node.history)
