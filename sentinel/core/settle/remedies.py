"""What an incident lacks: answers to its questions, the remedy of its diagnosis, its end."""

from collections.abc import Iterator

from sentinel.core.evidence import (
    breaks,
    has_symptom_since,
    holding,
    is_back,
    symptoms,
    vouched,
    waits_together,
)
from sentinel.core.group import COMMON, job_topic, rests
from sentinel.core.recovery import pause_s
from sentinel.core.settle.ends import is_over, is_well
from sentinel.core.settle.guards import (
    No,
    evictions,
    refuse_action,
    refuse_common,
    refuse_eviction,
    shared_with,
)
from sentinel.core.settle.orders import refuse
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, JobStage, Node
from sentinel.core.state.timers import Timer
from sentinel.core.waits import ACTIONS, GCS
from sentinel.model.action import CollectStacks, Probe, RestartAgent, RestartGcs, StopJob, action_id
from sentinel.model.counted import counted
from sentinel.model.decision import Cordoned, Decision, Froze, GivenBack, Kept, Paused, Resolved, Wanted
from sentinel.model.fact import (
    DeadlinePassed,
    GcsBack,
    GcsLost,
    MembersProbed,
    RankExited,
    RankRaised,
)
from sentinel.model.ids import IncidentId, NodeId, Seconds
from sentinel.model.incident import Ask, Diagnosis, Due, Incident, Shared
from sentinel.model.runbook import Remedy


def settle(incident: Incident, state: State, rules: Rules) -> list[Decision]:
    """Give what is missing; after it is recorded there may be more."""
    if incident.is_over:
        return []
    if incident.asks:
        return [_question(incident, ask, rules) for ask in incident.asks]
    decided = incident.diagnosis is not None and incident.due is Due.NOTHING
    decided = decided and not state.awaits_evidence(incident.id)
    found = decided and (_members(incident, state, rules) or _guarded(incident, state, rules))
    if found:
        return found
    return [Resolved(incident.id)] if is_over(incident, state, rules) else []


def _question(incident: Incident, ask: Ask, rules: Rules) -> Decision:
    name = action_id(incident.id, ask.what, ask.target, ask.attempt)
    if ask.what == "probe":
        return Probe(name, incident.id, NodeId(ask.target))
    return CollectStacks(name, incident.id, ask.processes, rules.policy.stacks_s)


def _members(incident: Incident, state: State, rules: Rules) -> list[Decision]:
    """Have nodes measure together what may be behind it, once for each generation that has shown it.

    That costs their network and processors something: no job that is well is disturbed, none of other people,
    and nobody while nothing may be done.
    """
    job = state.job_of(incident)
    checks = rules.asked.get(incident.diagnosis.cause, ()) if incident.diagnosis else ()
    if not checks or job is None or not waits_together(incident):
        return []
    if refuse_action(state, rules) or is_well(incident, state, rules):
        return []
    asked = {action.id for action in incident.actions if isinstance(action, Probe) and action.check}
    if asked - {fact.action for fact in incident.evidence if isinstance(fact, MembersProbed)}:
        return []  # the last probe is under way, or failed
    of = max(getattr(fact, "generation", 0) for fact in symptoms(incident))
    names = {check: action_id(incident.id, "probe", check, of) for check in checks}
    check = next((check for check, name in names.items() if name not in asked), None)
    seated = dict.fromkeys(worker.node for _, worker in state.seated(job))
    idle = (node.id for node in state.nodes.values() if node.usable and not state.workers.sitting(node.id))
    members = tuple(node for node in (*seated, *idle) if not state.is_cut(node))
    if check is None or len(members) < rules.policy.several:
        return []
    return [Probe(names[check], incident.id, NodeId(""), check, members, rules.policy.collective_s)]


def settle_freeze(state: State, rules: Rules) -> list[Decision]:
    """Freeze for the first incident that asks for it, and allow actions again when none does."""
    asking = (each for each in state.open_incidents() if _asks_to_freeze(each, state, rules))
    first = next(asking, None)
    if first is None or first.diagnosis is None:
        name = IncidentId(state.frozen.rpartition(" (")[2].removesuffix(")"))
        return [Froze(name, "")] if name in state.incidents else []  # frozen, but not by an incident
    return [] if state.frozen else [Froze(first.id, first.named)]


def _asks_to_freeze(incident: Incident, state: State, rules: Rules) -> bool:
    diagnosis = incident.diagnosis
    if diagnosis is None or rules.remedy_of(incident) is not Remedy.FREEZE:
        return False
    return diagnosis.mark != incident.overruled and not is_well(incident, state, rules)


def empties_nodes(incident: Incident, rules: Rules) -> bool:
    """Say whether its remedy takes nodes away: that comes first, so that nobody is seated on them."""
    return rules.remedy_of(incident) in (Remedy.EVICT, Remedy.DRAIN)


def _guarded(incident: Incident, state: State, rules: Rules) -> list[Decision]:
    """Give what the remedy still lacks, or that it is not allowed."""
    assert incident.diagnosis is not None
    remedy = rules.remedy_of(incident)
    assert remedy is not None
    missing = list(_missing(remedy, incident, incident.diagnosis, state, rules))
    reason = refuse_action(state, rules)
    if not (missing and reason) or remedy is Remedy.NONE:
        return missing
    wanted = f"{remedy.value} for {incident.diagnosis.cause}"
    return list(refuse(state, incident.id, wanted, No(ACTIONS, reason)))


def _missing(
    remedy: Remedy, incident: Incident, diagnosis: Diagnosis, state: State, rules: Rules
) -> Iterator[Decision]:
    job = state.job_of(incident)
    match remedy:
        case Remedy.FREEZE:
            pass  # `settle_freeze` freezes once for all incidents
        case Remedy.NONE:
            if job and _only_stands_still(incident, job, state):
                yield Kept(incident.id, job.id)
        case Remedy.RESTART_AGENT | Remedy.RESTART_GCS:
            yield from _restart(remedy, incident, diagnosis, state, rules)
            yield from _resume(incident, job, state, rules)  # a rank ended together with its agent
        case Remedy.STOP:
            if job and not (job.is_over or job.watched) and _has_broken_since(incident):
                before = sum(isinstance(action, StopJob) for action in incident.actions)
                name = action_id(incident.id, "stop-job", job.id, before + 1)
                yield StopJob(name, incident.id, job.id, diagnosis.why)
            elif job and not job.is_over:
                yield from _resume(incident, job, state, rules)  # an operator's retry, and no symptom since
        case Remedy.EVICT | Remedy.DRAIN:
            yield from _evict(remedy, incident, diagnosis, state, rules)
        case Remedy.MOVE:
            yield from _resume(incident, job, state, rules, elsewhere=True, healthy=True)
        case Remedy.REPLACE:
            yield from _resume(incident, job, state, rules, healthy=True)
        case Remedy.RESTART | Remedy.REPLAY:
            yield from _resume(incident, job, state, rules, replay=remedy is Remedy.REPLAY)
        case Remedy.SKIP_BATCH:
            yield from _resume(incident, job, state, rules, skip=_bad_batches(incident))


def _has_broken_since(incident: Incident) -> bool:
    """Say whether anything went wrong since a human said that it is to be tried again, if one did."""
    return not rests(incident) and (not incident.retried or has_symptom_since(incident, incident.retried))


def _only_stands_still(incident: Incident, job: Job, state: State) -> bool:
    """Say whether nothing was taken from the job: it goes on by itself when what it waits for is there."""
    broke = any(isinstance(fact, RankExited | RankRaised) for fact in incident.evidence)
    broke = broke or any(
        worker.rank >= 0 for worker in [*state.workers.gone(job.id), *state.workers.spent(job.id)]
    )
    others = (each for each in state.open_incidents() if each.id != incident.id)
    lost = broke or any(_broke(each, job) for each in others) or state.workers.done(job.id)
    return job.stage is JobStage.BROKEN and job.want is None and not lost


def _broke(incident: Incident, job: Job) -> bool:
    """Say whether it is about why a job broke, whatever it is called by now."""
    mine = (fact.generation == job.generation for fact in breaks(incident) if fact.job == job.id)
    return incident.topic == job_topic(job.id) or any(mine)


def _bad_batches(incident: Incident) -> tuple[int, ...]:
    raised = (fact for fact in incident.evidence if isinstance(fact, RankRaised) and fact.kind == "nan")
    return tuple(sorted({fact.step for fact in raised}))


def _resume(
    incident: Incident,
    job: Job | None,
    state: State,
    rules: Rules,
    *,
    elsewhere: bool = False,
    replay: bool = False,
    skip: tuple[int, ...] = (),
    healthy: bool = False,
    gently: bool = False,
    at_once: bool = False,
) -> Iterator[Decision]:
    """Want another generation of a broken job. A finding may name a rank of a `healthy` gang, too, once.

    The last attempt takes new processes only, if nothing says what is wrong: a survivor may be it.
    """
    if job is None or (rests(incident) and job.stage is JobStage.BROKEN):
        return  # another incident broke the job again
    if not (at_once or gently or _needs_one(incident, job, healthy=healthy)):
        return
    if job.watched and job.stage is JobStage.RUNNING and not (at_once and job.restarts):
        gently = True  # what trains is not given up where only people can start it again
    if job.want is not None and job.want.gently <= gently:
        return
    limit = rules.policy.resume_attempts
    if incident.attempts >= limit:
        tried = No("attempts", f"{counted(incident.attempts, 'attempt')} brought no new step")
        yield from refuse(state, incident.id, f"resume {job.id}", tried)
        return
    if pause := _pause_s(incident, job, state, rules):
        if job.paused != job.generation:
            yield Paused(incident.id, job.id, pause)
        return
    replace = incident.replace
    if incident.lapsed and incident.attempts == limit - 1:
        seated = list(state.seated(job))
        replace = tuple(worker.id for _, worker in seated)
        processes = tuple((worker.node, rank, worker.pid) for rank, worker in seated)
        name = action_id(incident.id, "stacks", f"{job.id}-all", job.generation)
        yield CollectStacks(name, incident.id, processes, rules.policy.stacks_s)
    fresh = tuple(step for step in skip if step not in job.skip)
    yield Wanted(incident.id, job.id, replace, elsewhere, replay, gently, fresh)


def _pause_s(incident: Incident, job: Job, state: State, rules: Rules) -> Seconds:
    """How long the job is to wait before it forms, or waits already; 0 when it may form."""
    book = rules.book_of(incident)
    if book is None or not book.pauses:
        return 0.0
    waited = job.paused == job.generation and Timer.PAUSE.of(job.id) not in state.deadlines
    return 0.0 if waited else pause_s(state, job, rules)


def _needs_one(incident: Incident, job: Job, *, healthy: bool) -> bool:
    if job.stage is JobStage.BROKEN:
        return True
    broke = incident.formed or any(breaks(incident))
    return healthy and job.stage is JobStage.RUNNING and not broke


def _restart(
    remedy: Remedy, incident: Incident, diagnosis: Diagnosis, state: State, rules: Rules
) -> Iterator[Decision]:
    """Restart agents that are not heard, or the GCS, a few times each."""
    kind = remedy.value
    if remedy is Remedy.RESTART_GCS:
        targets: list[str] = [] if is_back(incident, GcsLost) else [GCS]
    else:
        targets = [name for name in diagnosis.nodes if state.is_unheard(name)]
    for target in targets:
        if Timer.AGAIN.of(incident.id, target) in state.deadlines:
            continue
        name = f"{incident.id}/{kind}/{target}/"
        tried = sum(action.id.startswith(name) for action in incident.actions)
        if (vain := _in_vain(incident, target, name)) >= rules.policy.resume_attempts:
            no = No("attempts", f"{vain} did not help")
            found = refuse(state, incident.id, f"restart {target} again", no)
            yield from found
            if found:
                return
        elif remedy is Remedy.RESTART_GCS:
            yield RestartGcs(action_id(incident.id, kind, target, tried + 1), incident.id)
        else:
            name = action_id(incident.id, kind, target, tried + 1)
            yield RestartAgent(name, incident.id, NodeId(target))


def _in_vain(incident: Incident, target: str, name: str) -> int:
    """Count the tries since it was back last, or a human said to try again, if either ever was."""
    late = Timer.AGAIN.of(incident.id, GCS)
    facts = (f for f in incident.evidence if target == GCS and f.at > incident.retried)
    tries = [
        f for f in facts if isinstance(f, GcsBack) or (isinstance(f, DeadlinePassed) and f.deadline == late)
    ]
    back = [place for place, fact in enumerate(tries) if isinstance(fact, GcsBack)]
    since = (action for at, action in incident.deeds if at is None or at >= incident.retried)
    return len(tries) - 1 - back[-1] if back else sum(action.id.startswith(name) for action in since)


def _evict(
    remedy: Remedy, incident: Incident, diagnosis: Diagnosis, state: State, rules: Rules
) -> Iterator[Decision]:
    """Cordon the suspects one after the other, as far as the guards allow, and move the job off them."""
    nodes = [state.nodes[name] for name in diagnosis.nodes]
    job = state.job_of(incident) or next(filter(None, (state.job_on(node.id) for node in nodes)), None)
    gently = remedy is Remedy.DRAIN and job is not None and job.stage is JobStage.RUNNING
    for node in nodes:
        if _is_to_go(incident, node, state, rules):
            found = list(_take(incident, diagnosis, node.id, state, rules, gently=gently))
            if found:
                yield from found
                return  # the next one is judged by what is left
    ours = [node for node in nodes if node.cordon and node.cordon.by == incident.id]
    here = [node.cordon for node in ours if job and node.cordon and state.workers.is_hosted(job.id, node.id)]
    if job is None or job.is_over:
        return
    if job.stage is JobStage.BROKEN or (here and not all(cordon.gently for cordon in here)):
        yield from _resume(incident, job, state, rules, at_once=True)
    elif here and job.stage is JobStage.RUNNING:
        yield from _resume(incident, job, state, rules, gently=True)


def _take(
    incident: Incident, diagnosis: Diagnosis, node: NodeId, state: State, rules: Rules, *, gently: bool
) -> Iterator[Decision]:
    shared = shared_with(state, rules, incident, node, diagnosis.cause)
    if shared and (first := _first_of_many(state, diagnosis, shared, rules)):
        yield GivenBack(incident.id, first)
    elif no := (
        refuse_common(node, shared, diagnosis.cause)
        if shared
        else refuse_eviction(state, rules, node, diagnosis)
    ):
        yield from refuse(state, incident.id, f"evict {node}", no)
    else:
        yield Cordoned(incident.id, node, diagnosis.cause, gently)


def _is_to_go(incident: Incident, node: Node, state: State, rules: Rules) -> bool:
    """Say whether a suspected node is here, nobody vouches for it, and it is wanted out still.

    What was refused is so if a state stands, or an event is of just now.
    """
    if node.cordon or node.maintained or node.left or vouched(node, incident):
        return False
    refused = state.refused.get((incident.id, f"evict {node.id}"))
    if refused in (None, COMMON):
        return refused is None  # what many nodes had at once accuses none of them, however long ago
    here = [fact for fact in incident.evidence if getattr(fact, "node", None) == node.id]
    stands = any(fact.node == node.id and not fact.finding.event for fact in holding(incident))
    return stands or any(fact.at > state.now - rules.policy.correlate_s for fact in here)


def _first_of_many(state: State, diagnosis: Diagnosis, shared: Shared, rules: Rules) -> tuple[NodeId, ...]:
    """Nodes that were evicted before it showed that they are many, and still count against the breaker."""
    since = state.now - rules.policy.common_s
    counted = set(evictions(state))
    cordoned = ((name, cordon) for name in shared.nodes if (cordon := state.nodes[name].cordon))
    lately = ((name, cordon) for name, cordon in cordoned if cordon.at >= since and cordon.at in counted)
    return tuple(name for name, cordon in lately if cordon.reason == diagnosis.cause)
