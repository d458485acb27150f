"""Which incident a fact belongs to: one cause, one incident, however many symptoms."""

from collections.abc import Iterator

from sentinel.core import evidence
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, JobStage
from sentinel.model.action import StopJob
from sentinel.model.fact import (
    DeadlinePassed,
    Fact,
    FindingReported,
    JobAdvanced,
    JobSlowed,
    MembersProbed,
    NodePinged,
    NodeSilent,
    RankSlow,
)
from sentinel.model.finding import Health
from sentinel.model.ids import IncidentId, Instant, JobId, NodeId
from sentinel.model.incident import Diagnosis, Due, Incident, Stage
from sentinel.model.runbook import Ends, Runbook, Scope

LEFT_LIMIT = 100
"""Resolved incidents that are kept because something is left for people: the newest."""

AT_REST = "settled:"

COMMON = "common"
"""The guard that keeps a node which has what many have at once."""


def job_topic(job: JobId) -> str:
    """Topic of all of a job's symptoms."""
    return f"job:{job}"


def pace_topic(job: JobId) -> str:
    """Topic of what makes a job slow and did not break it."""
    return f"pace:{job}"


def node_topic(state: State, node: NodeId) -> str:
    """Topic of what happens on a node: its job's, if it has ranks."""
    return _topic(state.job_on(node), node)


def _topic(job: Job | None, node: NodeId) -> str:
    return job_topic(job.id) if job else f"node:{node}"


def job_hit(state: State, fact: FindingReported) -> Job | None:
    """Return the job that a finding is about: the one whose rank it names, else one with a rank there."""
    named = state.jobs.get(JobId(evidence.job_named(fact.finding)))
    is_here = named is not None and state.workers.is_hosted(named.id, fact.node)
    return named if is_here else state.job_on(fact.node)


def topic_hit(state: State, fact: FindingReported) -> str:
    """Topic of what a finding is about."""
    return _topic(job_hit(state, fact), fact.node)


def find(state: State, topic: str) -> Incident | None:
    """Return the open incident of a topic."""
    return next((incident for incident in state.open_incidents() if incident.topic == topic), None)


def of_job(state: State, job: Job) -> Incident | None:
    """Return the open incident of a job's symptoms."""
    return find(state, job_topic(job.id))


def with_fact(state: State, kind: type) -> Incident | None:
    """Return the open incident with a fact of this kind in evidence."""
    for incident in state.open_incidents():
        if any(isinstance(fact, kind) for fact in incident.evidence):
            return incident
    return None


def with_finding(state: State, fact: FindingReported) -> Incident | None:
    """Return the open incident in whose evidence this state of the node is, and holds: it is the same."""
    key = fact.finding.key
    for incident in () if fact.finding.event else state.open_incidents():
        if any(held.node == fact.node and held.finding.key == key for held in evidence.holding(incident)):
            return incident
    return None


def find_silent(state: State, rules: Rules) -> Incident | None:
    """Return the open incident that began with another silent node: one cause may make many silent."""
    for incident in state.open_incidents():
        book = rules.book_of(incident)
        if book is not None and book.scope is Scope.NODE:
            continue  # that node is explained
        if has_recovered(state, incident):
            continue  # and so was that
        fell = (fact.at for fact in incident.evidence if isinstance(fact, NodeSilent))
        if max(fell, default=0.0) > state.now - rules.policy.common_s:
            return incident
    return None


def waits_for_a_node(state: State, incident: Incident) -> bool:
    """Say whether nobody knows yet why a node in evidence is silent."""
    if incident.diagnosis is not None:
        return False
    nodes = (getattr(fact, "node", None) for fact in incident.evidence)
    return any(node is not None and state.is_unheard(node) for node in nodes)


def took_nodes(state: State, incident: Incident) -> bool:
    """Say whether a node is out of service for its sake."""
    return any(node.cordon and node.cordon.by == incident.id for node in state.cordoned())


def stopped(state: State, job: Job) -> Incident | None:
    """Return the open incident for whose sake a job was stopped last; none if a human has stopped it."""
    if job.stage is not JobStage.STOPPED or job.halted:
        return None
    about = [each for each in state.incidents_of(job) if not rests(each)]
    stops = [(at, place) for place, each in enumerate(about) for at in _stops(each)]
    return about[max(stops)[1]] if stops else None


def _stops(incident: Incident) -> Iterator[Instant]:
    """Say when its job was stopped for its sake, since a human had it tried again last."""
    for at, action in incident.deeds:
        if isinstance(action, StopJob) and (at is None or at > incident.retried):
            yield at or 0.0


def acted_on(state: State, incident: Incident) -> bool:
    """Say whether anything was done about it, or has to be: a node was taken away, the job re-forms."""
    return bool(took_nodes(state, incident) or incident.formed or forms(state, incident))


def forms(state: State, incident: Incident) -> bool:
    """Say whether its job has to step anew first."""
    job = state.job_of(incident)
    return job is not None and job.stage in (JobStage.BROKEN, JobStage.FORMING)


def has_stepped(state: State, incident: Incident, job: Job) -> bool:
    """Say whether the job has made a step after its last symptom, and nothing more is on its way."""
    wants = job.want is not None and job.want.incident == incident.id
    if job.stage is not JobStage.RUNNING or wants:
        return False
    for fact in reversed(incident.evidence):
        if isinstance(fact, JobAdvanced):
            return True
        # What an earlier generation met, and is only heard of now, the newest has stepped after.
        late = getattr(fact, "generation", job.generation) < job.generation
        if not late and _lasts(state, incident, fact):
            return False
    return False


def has_recovered(state: State, incident: Incident) -> bool:
    """Say whether the cause is known, and its job trains again: only how long is still to be seen."""
    job = state.job_of(incident)
    recovered = incident.diagnosis is not None and "new_step" in incident.times
    return recovered and job is not None and has_stepped(state, incident, job)


def _lasts(state: State, incident: Incident, fact: Fact) -> bool:
    """Say whether a fact is a symptom that a later step has to follow.

    What is over is none, nor is an event, unless something was refused for its sake.
    """
    match fact:
        case FindingReported(finding=found) if found.health is Health.CRITICAL:
            refused = any(name == incident.id for name, _ in state.refused)
            return (refused or not found.event) and fact in evidence.holding(incident)
        case NodeSilent(node=node):
            return state.is_unheard(node)
        case RankSlow() | JobSlowed():
            return not evidence.is_back(incident, type(fact))
    return isinstance(fact, (*evidence.SYMPTOMS, DeadlinePassed))


def since_step(state: State, incident: Incident) -> tuple[Fact, ...]:
    """Give the evidence of what its job broke of last, if it had recovered from what came before.

    Of that there is only what still is so: states that a check found, nodes that are silent, and what nodes
    measured together.
    """
    if not evidence.broke_again(incident):
        return incident.evidence
    facts = incident.evidence
    steps = [place for place, fact in enumerate(facts) if isinstance(fact, JobAdvanced)]
    held = [fact for fact in evidence.holding(incident) if not fact.finding.event]
    before = (fact for fact in facts[: steps[-1]] if fact in held or _says_what_is(state, fact))
    return (*before, *facts[steps[-1] :])


def _says_what_is(state: State, fact: Fact) -> bool:
    silent = isinstance(fact, NodeSilent | NodePinged) and state.is_unheard(fact.node)
    return silent or isinstance(fact, MembersProbed)


def rest(state: State, incident: Incident) -> None:
    """Its job has stayed well for long enough: whatever breaks it next is another incident."""
    state.change(incident, topic=f"{AT_REST}{incident.id}")


def rests(incident: Incident) -> bool:
    """Say whether an incident waits only for what is still missing: ranks, a pace, an end for many."""
    return incident.topic.startswith(AT_REST)


def is_shared(state: State, incident: Incident) -> bool:
    """Say whether it is what many have at once, and is found on one of them still: that is for people."""
    refused = ((name, wanted) for (name, wanted), guard in state.refused.items() if guard == COMMON)
    stay = {wanted.removeprefix("evict ") for name, wanted in refused if name == incident.id}
    if not stay:
        return False
    silent = (node for node in evidence.silent_nodes(incident) if state.is_unheard(node))
    found = (f.node for f in evidence.holding(incident) if state.nodes[f.node].vouched < f.at)
    return not stay.isdisjoint([*found, *silent])


def of_many(state: State, rules: Rules, node: NodeId, symptom: Fact) -> Incident | None:
    """Return the open incident of what a node has in common with others, if that explains the symptom."""
    for (name, wanted), guard in state.refused.items():
        incident = state.incidents.get(name)
        if guard == COMMON and wanted == f"evict {node}" and incident is not None:
            held = [fact for fact in evidence.holding(incident) if fact.node == node]
            if any(evidence.explains(state, fact, [symptom], rules) for fact in held):
                return incident
    return None


def ends_by_step(incident: Incident, rules: Rules) -> bool:
    """Say whether a new step of its job is its end; of a slow pace it is only if that was re-formed."""
    book = rules.book_of(incident)
    waits_for_pace = evidence.is_about_pace(incident) and not incident.formed
    return (book is None or book.ends is Ends.STEP) and not waits_for_pace


def is_about_silent(incident: Incident, rules: Rules) -> bool:
    """Say whether it ends when its silent nodes are heard: nothing else was seen, or nothing else counts."""
    book, diagnosis = rules.book_of(incident), incident.diagnosis
    if book is not None and book.ends is Ends.SIGN:
        return bool(evidence.silent_nodes(incident))
    is_known = diagnosis is not None and diagnosis.is_known
    acted = is_known and incident.formed > 0
    return not acted and evidence.kinds(incident) <= {NodeSilent, NodePinged}


def reopen(state: State, rules: Rules, fact: FindingReported) -> Incident | None:
    """Return a just resolved incident of this node that the finding explains, open again."""
    explains = {cause for book in rules.by_code.get(fact.finding.code, ()) for cause in book.explains}
    since = state.now - rules.policy.correlate_s
    for incident in reversed(list(state.incidents.values())):
        diagnosis = incident.diagnosis
        if not incident.is_over or incident.times["resolved"] < since or not diagnosis:
            continue
        if diagnosis.cause in explains and _could_be_at(fact.node, incident, diagnosis, state):
            times = {name: at for name, at in incident.times.items() if name not in ("new_step", "resolved")}
            topic = job_topic(incident.job) if incident.job and rests(incident) else incident.topic
            fields = {"topic": topic, "times": times, "attempts": 0, "formed": 0}
            return state.change(incident, stage=Stage.OPEN, **fields)
    return None


def _could_be_at(node: NodeId, incident: Incident, diagnosis: Diagnosis, state: State) -> bool:
    """Say whether a node is among the suspects, or in the job if nobody was."""
    job = state.job_of(incident)
    accused = {suspect.node for suspect in diagnosis.suspects}
    return node in accused or (not accused and job is not None and state.workers.is_hosted(job.id, node))


def join(state: State, topic: str, fact: Fact, job: Job | None = None) -> Incident:
    """Add evidence to the topic's open incident, or open one."""
    incident = find(state, topic)
    if incident is None:
        state.opened += 1
        name = IncidentId(f"I-{state.opened:04d}")
        incident = state.add(Incident(name, state.now, topic, times={"detected": state.now}))
    if incident.job is None and job is not None:
        incident = state.change(incident, job=job.id)
    return evidence.add(state, incident, fact)


def join_job(state: State, job: Job, fact: Fact) -> Incident:
    """Add a symptom of a job to its open incident, or open one."""
    return join(state, job_topic(job.id), fact, job)


def join_cause(state: State, book: Runbook, fact: Fact) -> Incident:
    """Join the open incident of a cause that all have together, whatever nodes it has come to name."""
    topic = f"{book.cause}:"
    known = next((each for each in state.open_incidents() if each.topic.startswith(topic)), None)
    return evidence.add(state, known, fact) if known else join(state, topic, fact)


def part_silent(state: State, incident: Incident, node: NodeId) -> None:
    """Give a silent node an incident of its own: it is no part of what this one is about."""
    known = [f for f in incident.evidence if isinstance(f, NodeSilent | NodePinged) and f.node == node]
    left = (f for f in incident.evidence if not (isinstance(f, NodeSilent) and f.node == node))
    state.change(incident, evidence=tuple(left))
    for fact in known:
        own = join(state, f"silent:{node}", fact)
        state.change(state.nodes[node], about=own.id)
        ask_for(state, own, Due.CERTAIN)


def ask_for(state: State, incident: Incident, due: Due) -> Incident:
    """Let an incident be diagnosed, by what is in evidence now."""
    incident = state.fresh(incident)
    return state.change(incident, due=due) if incident.due is not Due.ANY else incident


def forget(state: State, rules: Rules) -> None:
    """Drop resolved incidents that no later cause can reopen; the journal and the logbook keep them.

    Those whose page says that something is left for people stay, to say so no more when it is done.
    """
    since = state.now - rules.policy.correlate_s
    old = [
        incident
        for incident in state.incidents.values()
        if incident.is_over and incident.times.get("resolved", 0.0) < since
    ]
    kept = [incident.id for incident in old if incident.left][-LEFT_LIMIT:]
    names = {incident.id for incident in old}.difference(kept)
    for name in sorted(names):
        state.incidents.drop(name)
    full = {(node.cordon.by, f"evict {node.id}") for node in state.cordoned() if node.cordon}
    for key in [key for key in state.refused if key[0] in names and key not in full]:
        state.refused.drop(key)
