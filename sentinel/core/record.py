"""What was decided becomes part of the state: the only place that says what a decision changes."""

from collections.abc import Collection
from typing import TypeVar, assert_never

from msgspec.structs import replace

from sentinel.core import evidence, group, preflights, proofs, recovery, waits
from sentinel.core.learn.breaking import break_off
from sentinel.core.learn.nodes import fall
from sentinel.core.page.left import left_for_people, refused_evictions
from sentinel.core.page.severity import worst
from sentinel.core.page.words import digest
from sentinel.core.settle.guards import evictions, refuse_action
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import UNPROVED, Cordon, Eviction, Job, JobStage, Node, Want
from sentinel.core.state.timers import Timer
from sentinel.core.state.workers import Worker
from sentinel.model.action import (
    Action,
    CallOff,
    CollectStacks,
    CordonNode,
    Deed,
    Evict,
    Page,
    Ping,
    Probe,
    Prove,
    Readmit,
    Refusal,
    Repair,
    RestartAgent,
    RestartGcs,
    RestartJob,
    Resume,
    StartWorker,
    StopJob,
    StopWorker,
)
from sentinel.model.collective import PREPARE_S
from sentinel.model.decision import (
    Awaited,
    Cordoned,
    Decision,
    Deferred,
    Diagnosed,
    Froze,
    GivenBack,
    Kept,
    Opened,
    Paused,
    Resolved,
    Wanted,
)
from sentinel.model.fact import JobStalled, RankExited
from sentinel.model.ids import HOUR_S, Cause, IncidentId, Seconds
from sentinel.model.incident import Diagnosis, Due, Incident, PagedDiagnosis, Stage
from sentinel.model.policy import Rung
from sentinel.model.runbook import Remedy, Scope
from sentinel.model.severity import Severity

ACTIONS_LIMIT = 200
"""Deeds that an incident keeps: the first half, and the newest."""
DIAGNOSES_LIMIT = 8
"""Diagnoses that were told and that an incident keeps: the first, and the newest."""

T = TypeVar("T")

EARLIER_LIMIT = 20
"""Diagnoses of earlier breaks that an incident keeps."""


def record(state: State, decision: Decision, rules: Rules) -> None:  # one line per decision
    """Apply one decision."""
    match decision:
        case Refusal(incident=name, wanted=wanted, guard=guard):
            _refused(state, name, wanted, guard)
        case Deed():
            _ordered(state, decision, rules)
        case Diagnosed():
            _diagnosed(state, decision, rules)
        case Opened(node=name):
            if (fell := state.nodes[name].fell) is not None:
                fall(state, state.nodes[name], replace(fell, at=state.now), rules)
        case Resolved(incident=name):
            _resolved(state, state.incidents[name], rules)
        case Froze(reason=reason):
            _froze(state, reason)
        case Cordoned():
            _cordoned(state, decision, rules)
        case GivenBack(nodes=nodes):
            given = {node.cordon.at for name in nodes if (node := state.nodes[name]).cordon}
            state.evictions = tuple(at for at in state.evictions if at not in given)
            for node in map(state.nodes.__getitem__, nodes):
                state.change(node, history=tuple(each for each in node.history if each.at not in given))
        case Wanted():
            _wanted(state, decision, rules)
        case Paused(job=job, seconds=seconds):
            state.change(state.jobs[job], paused=state.jobs[job].generation)
            state.set_deadline(Timer.PAUSE.of(job), seconds)
        case Awaited(job=job, workers=workers, more=more):
            state.change(state.jobs[job], lacking=workers)
            # A worker that it waits for may end.
            state.set_deadline(Timer.REFILL.of(job), 0.0 if more else rules.policy.retry_s)
        case Kept(incident=by, job=name):
            _kept(state, state.jobs[name])
            state.refused.drop((by, f"resume {name}"))
        case Deferred():
            pass
        case _:
            assert_never(decision)
    _keep(state, decision)


def _ordered(state: State, action: Action, rules: Rules) -> None:
    match action:
        case StartWorker(job=job, worker=name, node=node, gpu=gpu):  # thousands at once: they come first
            state.change(state.jobs[job], born=state.jobs[job].born + 1)
            state.add(Worker(name, node, gpu=gpu, since=state.now, job=job))
        case Page(incident=name):
            if (incident := state.incidents.get(name)) is not None:
                _paged(state, incident, action, rules)
        case Resume():
            _formed(state, action, rules)
        case RestartJob():
            _restarted(state, action, rules)
        case StopWorker(job=job, worker=name):
            worker = state.workers.get(job, name)
            if worker is not None and worker.is_living:
                worker = state.workers.dismiss(worker, state.now)
            if worker is not None:
                state.change(worker, may_run=False)
        case StopJob(incident=name, job=job):
            state.deadlines.drop(state.jobs[job].deadline())
            for timer in (Timer.PLACE, Timer.ROOM, Timer.PAUSE):
                state.deadlines.drop(timer.of(job))
            state.change(state.jobs[job], stage=JobStage.STOPPED, want=None, lacking=0, stopped_at=state.now)
            _is_acted_on(state, name, Stage.OPEN)  # who goes on are people
        case Evict(node=name):
            state.change(state.nodes[name], evicts=state.nodes[name].evicts + 1)
        case CordonNode(node=name):
            _tells_scheduler(state, state.nodes[name], state.nodes[name].cordon)
        case Readmit(node=name):
            _tells_scheduler(state, state.nodes[name], state.nodes[name].outside.cordon)
        case Prove(node=name):
            _is_proved(state, state.nodes[name], action)
            state.set_deadline(Timer.PROOF.of(name), _answers_within(action, rules))
        case Repair(node=name, rung=rung):
            _is_repaired(state, state.nodes[name], action.id, rung)
        case Ping(node=name):
            state.change(state.nodes[name], pings=state.nodes[name].pings + 1)
            state.set_deadline(Timer.PING.of(name), rules.policy.action_timeout_s)
        case Probe(node=name, check=check) if check and name:
            preflights.ordered(state, state.nodes[name], action.id)
            state.set_deadline(Timer.PREFLIGHT.of(name), _answers_within(action, rules))
        case CallOff(node=name):
            preflights.put_off(state, state.nodes[name])
        case Probe(incident=name, check=check) if check:
            state.set_deadline(Timer.MEMBERS.of(name), _answers_within(action, rules))
        case Probe(incident=name) | CollectStacks(incident=name):
            _was_asked(state, name, action.id)
        case RestartAgent() | RestartGcs():
            state.set_deadline(waits.heard_by(action), rules.policy.action_timeout_s)
            _is_acted_on(state, action.incident)
        case _:
            pass  # that it is under way is all there is to know


def _tells_scheduler(state: State, node: Node, cordon: Cordon | None) -> None:
    """From now on the scheduler may have this cordon, until it is known to have none."""
    outside = node.outside
    state.change(node, outside=replace(outside, cordon=cordon, orders=outside.orders + 1, is_known=False))


def _paged(state: State, incident: Incident, page: Page, rules: Rules) -> None:
    """Remember what people are told now."""
    left, found, known = left_for_people(incident, state, rules), incident.diagnosis, incident.diagnoses
    if found is not None and not any(each.is_like(found) for each in known):
        known = (*known, PagedDiagnosis(state.now, found))
        known = known if len(known) <= DIAGNOSES_LIMIT else (known[0], *known[2:])
    said = digest(incident, left, page.severity, state, rules)
    state.change(incident, revision=page.revision, paged=said, left=left, diagnoses=known)
    if incident.is_over and not left:
        _forget_refused(state, incident.id)


def _keep(state: State, decision: Decision) -> None:
    """Keep what is to be done, and with each incident what was done for its sake."""
    if not isinstance(decision, Deed):
        return
    if not isinstance(decision, Refusal):
        state.unfinished.put(decision.id, decision)
    incident = state.incidents.get(decision.incident)
    if incident is not None and not isinstance(decision, Ping):
        actions, decided = (*incident.actions, decision), (*incident.decided, state.now)
        if len(actions) > ACTIONS_LIMIT:
            place = ACTIONS_LIMIT // 2 + len(decided) - len(actions)  # in `decided`, if it is there
            actions = _without(actions, ACTIONS_LIMIT // 2)
            decided = _without(decided, place) if place >= 0 else decided
        state.change(incident, actions=actions, decided=decided)


def _without(items: tuple[T, ...], place: int) -> tuple[T, ...]:
    return (*items[:place], *items[place + 1 :])


def _diagnosed(state: State, decision: Diagnosed, rules: Rules) -> None:
    incident, found = state.incidents[decision.incident], decision.diagnosis
    job, book = state.job_of(incident), rules.runbooks.get(found.cause)
    is_new = incident.diagnosis is None or incident.diagnosis.mark != found.mark
    if is_new:
        _wants_other(state, incident, found)
    if job is not None and job.want is not None and is_new and job.want.incident == incident.id:
        state.change(job, want=None, lacking=0)  # that was wanted for the earlier diagnosis
    state.await_no_evidence(incident.id)
    if job is not None:
        _remember(state, job, incident, found.cause)
    topic = incident.topic
    if book is not None and book.scope is not Scope.JOB and not topic.startswith(f"{found.cause}:"):
        topic = f"{found.cause}:{','.join(found.nodes)}"
    elif (book is None or book.scope is Scope.JOB) and incident.job and not group.rests(incident):
        topic = group.job_topic(incident.job)
    stage = incident.stage
    if book is not None and book.remedy.is_for_people:
        stage = Stage.OPEN
    elif not refuse_action(state, rules):
        stage = Stage.MITIGATING
    if is_new and incident.acked_by and not _is_covered(incident, found, rules):
        incident = state.change(incident, acked_by="")
    if is_new and incident.diagnosis is not None and "new_step" in incident.times:
        known = [each for each in incident.broke_of if each.mark != incident.diagnosis.mark]
        incident = state.change(incident, broke_of=(*known[1 - EARLIER_LIMIT :], incident.diagnosis))
    incident = evidence.stamp(state, incident, "diagnosed", state.now)
    incident = state.change(
        incident,
        diagnosis=found,
        headline=worst(found, incident.acted, rules),
        topic=topic,
        stage=stage,
        replace=decision.replace,
        lapsed=False,
        due=Due.NOTHING,
    )
    if book is not None and not book.counts:
        _count_no_longer(state, incident)
    for node in decision.aside:
        group.part_silent(state, state.incidents[incident.id], node)


def _is_covered(incident: Incident, found: Diagnosis, rules: Rules) -> bool:
    """Say whether who has acknowledged an incident knew of what is found now, or need not be asked of it.

    What its page has said by then is known, and what that explains; no other cause, and no further node to be
    taken out.
    """
    if rules.severity_of(found) is Severity.INFO:
        return True
    read = [told.diagnosis for told in incident.diagnoses]
    read += [incident.diagnosis] if incident.diagnosis else []
    book = rules.runbooks.get(found.cause)
    takes_nodes = book is not None and book.remedy in (Remedy.EVICT, Remedy.DRAIN)
    named = {node for each in read for node in each.nodes}
    if takes_nodes and not named.issuperset(found.nodes):
        return False
    known = (rules.runbooks.get(each.cause) for each in read if each.is_known)
    explained = {cause for each in known if each is not None for cause in each.explains}
    return found.cause in explained.union(each.cause for each in read)


def _remember(state: State, job: Job, incident: Incident, cause: Cause) -> None:
    """Keep what broke the job last: what is tried once more is not tried a third time."""
    generation = max((fact.generation for fact in evidence.breaks(incident)), default=0)
    if generation > 0:
        state.change(job, causes={**state.fresh(job).causes, cause: (state.now, generation)})


def _wants_other(state: State, incident: Incident, found: Diagnosis) -> None:
    """What was refused of another remedy, and about nodes that are accused no more, is wanted no more.

    A node that is out for its sake is to be emptied whatever it is called.
    """
    waits.allow(state, incident.id)
    for node in incident.diagnosis.nodes if incident.diagnosis else ():
        cordon = state.nodes[node].cordon
        if node not in found.nodes and not (cordon and cordon.by == incident.id):
            state.refused.drop((incident.id, f"evict {node}"))


def _count_no_longer(state: State, incident: Incident) -> None:
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


def _resolved(state: State, incident: Incident, rules: Rules) -> None:
    if incident.diagnosis is None:
        _count_no_longer(state, incident)  # never diagnosed: it passed by itself
    times = {**state.fresh(incident).times, "resolved": state.now}
    incident = state.change(incident, stage=Stage.RESOLVED, times=times, due=Due.NOTHING)
    state.await_no_evidence(incident.id)
    staying = refused_evictions(incident, state)
    _forget_refused(state, incident.id, [wanted for wanted, stays in staying.items() if stays])
    state.deadlines.drop(Timer.SETTLED.of(incident.id))
    prefix = Timer.AGAIN.of(incident.id)
    for name in [name for name in state.deadlines if name.startswith(prefix)]:
        state.deadlines.drop(name)
    group.forget(state, rules)


def _forget_refused(state: State, incident: IncidentId, but: Collection[str] = ()) -> None:
    for key in [key for key in state.refused if key[0] == incident and key[1] not in but]:
        state.refused.drop(key)


def _froze(state: State, reason: str) -> None:
    if not reason:
        waits.allow(state)
    state.frozen = reason


def _cordoned(state: State, decision: Cordoned, rules: Rules) -> None:
    node = state.nodes[decision.node]
    found, measured = proofs.why_out(state.incidents[decision.incident], node.id, rules)
    said = decision.incident, decision.reason, state.now, decision.gently
    cordon = Cordon(*said, found=found, measured=measured)
    node = state.change(node, cordon=cordon, evicts=0, forgiven=0, is_empty=False)
    _begins_anew(state, node, decision, rules)
    state.evictions = (*evictions(state), state.now)
    state.refused.drop((decision.incident, f"evict {node.id}"))
    state.deadlines.drop(Timer.EVICT.of(node.id))
    for job in state.jobs:
        for worker in state.workers.waiting(job, node.id):
            state.workers.dismiss(worker, state.now)  # its eviction ends them
    # Those were made with this node; evictions have limits of their own.
    state.change(state.incidents[decision.incident], attempts=0)
    _is_acted_on(state, decision.incident)


def _begins_anew(state: State, node: Node, decision: Cordoned, rules: Rules) -> None:
    """Nothing is shown yet under a new cordon, and nothing tried; the node's history says one more."""
    known = [each for each in node.history if each.at > state.now - rules.policy.inspect_s]
    known.append(Eviction(state.now, decision.reason, decision.incident))
    history = tuple(known[-rules.policy.inspect_after :])
    state.change(node, history=history, **UNPROVED)


def _answers_within(order: Prove | Probe, rules: Rules) -> Seconds:
    """Say how long an order to measure is waited for; its answer may still be on the way at its deadline."""
    prepares = PREPARE_S if order.check else 0.0
    return prepares + order.deadline + rules.policy.retry_s


def _is_proved(state: State, node: Node, order: Prove) -> None:
    if node.proof is not None:
        state.change(node, proof=replace(node.proof, order=order.id), proves=node.proves + 1)


def _is_repaired(state: State, node: Node, order: str, rung: Rung) -> None:
    state.change(node, repairing=order, rungs=(*node.rungs, rung), repairs=node.repairs + 1)


def _wanted(state: State, decision: Wanted, rules: Rules) -> None:
    job = state.jobs[decision.job]
    incident = state.incidents.get(decision.incident)
    book = rules.book_of(incident) if incident else None
    if incident is not None and book is not None and book.pauses:
        job = state.change(job, flaps=recovery.flaps(state, job, rules) + 1, flapped=state.now)
    if not decision.gently:
        job = break_off(state, job)
    if incident is not None and incident.job is None:
        state.change(incident, job=job.id)  # from here on it is about this job, and ends with its step
    want = Want(decision.incident, decision.replace, decision.elsewhere, decision.replay, decision.gently)
    state.change(job, want=want, lacking=0, skip=(*job.skip, *decision.skip))
    _is_acted_on(state, decision.incident)


def _kept(state: State, job: Job) -> None:
    stage = JobStage.RUNNING if job.stage is JobStage.BROKEN else job.stage
    state.change(job, stage=stage, want=None, lacking=0)


def _formed(state: State, action: Resume, rules: Rules) -> None:
    job = state.jobs[action.job]
    size = len(action.seats)
    shrunk = (*job.shrunk, action.incident) if size < job.world else job.shrunk
    job = state.change(
        job,
        generation=action.generation,
        stage=JobStage.FORMING,
        want=None,
        lacking=0,
        straggler=-1,
        world=size,
        shrunk=tuple(dict.fromkeys(shrunk)) if size < job.wanted else (),
    )
    state.workers.form(job.id, job.generation, action.seats)
    state.deadlines.drop(Timer.FINISH.of(job.id))
    state.deadlines.drop(Timer.ROOM.of(job.id))
    first = job.high_step < 0  # nothing was ever trained: compilation and data set-up may take long
    state.set_deadline(job.deadline(), rules.policy.slow_phase_s if first else rules.policy.resume_timeout_s)
    _was_formed_for(state, action)


def _restarted(state: State, action: RestartJob, rules: Rules) -> None:
    """Nobody has a seat until its ranks beat again: who is left is that command's to end, and no news."""
    job = state.jobs[action.job]
    for _, worker in list(state.seated(job)):
        if worker.is_living:
            state.workers.dismiss(worker, state.now)
    state.workers.form(job.id, job.generation, ())
    job = state.change(job, stage=JobStage.FORMING, want=None, restarted=job.generation)
    state.set_deadline(job.deadline(), rules.policy.slow_phase_s)
    _was_formed_for(state, action)


def _was_formed_for(state: State, action: Resume | RestartJob) -> None:
    """Count one more generation for an incident's sake, which waits for nothing and is refused no more."""
    state.deadlines.drop(Timer.PAUSE.of(action.job))
    state.refused.drop((action.incident, f"resume {action.job}"))
    if (incident := state.incidents.get(action.incident)) is not None:
        state.change(incident, attempts=incident.attempts + 1, formed=incident.formed + 1, lapsed=False)


def _refused(state: State, name: IncidentId, wanted: str, guard: str) -> None:
    state.refusals += 1
    state.refused.put((name, wanted), guard)
    if guard == "breaker":  # it is asked again when an eviction is an hour ago
        oldest = min(evictions(state), default=state.now)
        state.deadlines.put(Timer.EVICT.of(wanted.removeprefix("evict ")), oldest + HOUR_S)


def _was_asked(state: State, name: IncidentId, action: str) -> None:
    _, what, target, attempt = action.split("/", 3)
    if (incident := state.incidents.get(name)) is not None:
        asked = (what, target, attempt)
        left = (ask for ask in incident.asks if (ask.what, ask.target, str(ask.attempt)) != asked)
        state.change(incident, asks=tuple(left))


def _is_acted_on(state: State, name: IncidentId, stage: Stage = Stage.MITIGATING) -> None:
    incident = state.incidents.get(name)
    if incident is None:
        return
    if (found := incident.diagnosis) is not None:
        acted = (*(each for each in incident.acted if each.mark != found.mark), found)
        acted = acted if len(acted) <= EARLIER_LIMIT else (acted[0], *acted[2:])
        incident = state.change(incident, acted=acted)
    if not incident.is_over:
        state.change(incident, stage=stage)
