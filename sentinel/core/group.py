"""Which incident a fact belongs to: one cause, one incident, however many symptoms."""

from collections.abc import Collection, Iterable, Mapping

from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, JobStage
from sentinel.model.fact import (
    Commanded,
    DeadlinePassed,
    Fact,
    FindingReported,
    JobAdvanced,
    JobAtPace,
    JobSlowed,
    JobStalled,
    NodeProbed,
    NodeReached,
    NodeSilent,
    RankExited,
    RankRaised,
    RankSlow,
)
from sentinel.model.finding import TRAINER, Health, gpu_of
from sentinel.model.ids import IncidentId, Instant, JobId, NodeId
from sentinel.model.incident import Diagnosis, Due, Incident, Stage
from sentinel.model.runbook import Ends, Harm, Runbook, Scope

RAISED_LIMIT = 32
"""Exceptions of one kind and generation that an incident keeps."""
FOUND_LIMIT = 20
"""Findings of one kind on one node that an incident keeps."""
EVIDENCE_LIMIT = 200
"""More than this tells nobody anything new and would slow the fold."""

LEFT_LIMIT = 100
"""Resolved incidents that are kept because something is left for people: the newest."""

HARMLESS = frozenset({FindingReported, NodeReached, NodeProbed, JobAdvanced, JobAtPace, Commanded})
"""What only says how things are: a finding hurts as long as it holds."""

STANDING_BY = 3
"""Of events that decide nothing an incident keeps so many of a kind."""

SILENT_TOGETHER_S = 120.0
"""Nodes that fall silent further apart have no common cause."""

AT_REST = "settled:"
COMMON = "common"
"""The guard that keeps a node which has what many have at once."""

HARMS: Mapping[type, Harm] = {
    RankExited: Harm.EXITED,
    RankRaised: Harm.RAISED,
    JobStalled: Harm.STALLED,
    JobSlowed: Harm.STALLED,
    RankSlow: Harm.SLOW,
}
"""Which facts are harm to a job: a cause has to explain them."""

STEP_OR_HARM = (JobAdvanced, *HARMS)


def job_topic(job: JobId) -> str:
    """Topic of everything that hurts a job."""
    return f"job:{job}"


def node_topic(state: State, node: NodeId) -> str:
    """Topic of what happens on a node: its job's, if it has ranks."""
    job = state.job_on(node)
    return job_topic(job.id) if job else f"node:{node}"


def find(state: State, topic: str) -> Incident | None:
    """Return the open incident of a topic."""
    return next((incident for incident in state.open_incidents() if incident.topic == topic), None)


def mentions(incident: Incident, nodes: Collection[NodeId]) -> bool:
    """Say whether one of these nodes is in evidence, or suspected."""
    if not nodes:
        return False
    suspected = incident.diagnosis is not None and any(
        each.node in nodes for each in incident.diagnosis.suspects
    )
    return suspected or any(getattr(fact, "node", None) in nodes for fact in incident.evidence)


def with_fact(state: State, kind: type) -> Incident | None:
    """Return the open incident with a fact of this kind in evidence."""
    for incident in state.open_incidents():
        if any(isinstance(fact, kind) for fact in incident.evidence):
            return incident
    return None


def find_silence(state: State, rules: Rules) -> Incident | None:
    """Return the open incident that began with another node's silence: one cause may silence many."""
    for incident in state.open_incidents():
        book = rules.book_of(incident)
        if book is not None and book.scope is Scope.NODE:
            continue  # that node is explained
        if has_recovered(state, incident):
            continue  # and so was that
        fell = (fact.at for fact in incident.evidence if isinstance(fact, NodeSilent))
        if max(fell, default=0.0) > state.now - SILENT_TOGETHER_S:
            return incident
    return None


def silent_nodes(incident: Incident) -> set[NodeId]:
    """Nodes whose silence is in evidence."""
    return {fact.node for fact in incident.evidence if isinstance(fact, NodeSilent)}


def fell(incident: Incident, node: NodeId) -> bool:
    """Say whether this node's silence is in evidence."""
    return any(isinstance(fact, NodeSilent) and fact.node == node for fact in incident.evidence)


def waits_for_a_node(state: State, incident: Incident) -> bool:
    """Say whether nobody knows yet why a node in evidence is silent."""
    if incident.diagnosis is not None:
        return False
    nodes = (getattr(fact, "node", None) for fact in incident.evidence)
    return any(node is not None and state.is_unheard(node) for node in nodes)


def took_nodes(state: State, incident: Incident) -> bool:
    """Say whether a node is out of service for its sake."""
    return any(node.cordon and node.cordon.by == incident.id for node in state.cordoned())


def acted_on(state: State, incident: Incident) -> bool:
    """Say whether anything was done about it, or has to be: a node was taken away, the job re-forms."""
    job = state.job_of(incident)
    forms = job is not None and job.stage in (JobStage.BROKEN, JobStage.FORMING)
    return bool(took_nodes(state, incident) or incident.formed or forms)


def has_stepped(state: State, incident: Incident, job: Job) -> bool:
    """Say whether the job has made a step after all its harm, and nothing more is on its way."""
    wants = job.want is not None and job.want.incident == incident.id
    if job.stage is not JobStage.RUNNING or wants:
        return False
    for fact in reversed(incident.evidence):
        if isinstance(fact, JobAdvanced):
            return True
        if _lasts(state, incident, fact):
            return False
    return False


def has_recovered(state: State, incident: Incident) -> bool:
    """Say whether the cause is known, and its job trains again: only how long is still to be seen."""
    job = state.job_of(incident)
    told = incident.diagnosis is not None and "new_step" in incident.times
    return told and job is not None and has_stepped(state, incident, job)


def _lasts(state: State, incident: Incident, fact: Fact) -> bool:
    """Say whether a fact is harm that a later step has to follow.

    A silence that is over is none, nor is an event, unless something was refused for its sake.
    """
    match fact:
        case FindingReported(finding=found) if found.health is Health.CRITICAL:
            return any(name == incident.id for name, _ in state.refused) or (
                not found.event and fact in holding(incident)
            )
        case NodeSilent(node=node):
            return state.is_unheard(node)
    return isinstance(fact, (*HARMS, DeadlinePassed))


def broke_again(incident: Incident) -> bool:
    """Say whether its job had made a new step before it was hurt last."""
    kinds = [isinstance(fact, JobAdvanced) for fact in incident.evidence if isinstance(fact, STEP_OR_HARM)]
    return bool(kinds) and any(kinds) and not kinds[-1]


def since_step(state: State, incident: Incident) -> tuple[Fact, ...]:
    """Give the evidence of what its job broke of last, if it had recovered from what came before.

    Of that there is only what still is so: states that a check found, and nodes that are silent.
    """
    if not broke_again(incident):
        return incident.evidence
    evidence = incident.evidence
    steps = [place for place, fact in enumerate(evidence) if isinstance(fact, JobAdvanced)]
    held = [fact for fact in holding(incident) if not fact.finding.event]
    before = (fact for fact in evidence[: steps[-1]] if fact in held or _is_of_the_unheard(state, fact))
    return (*before, *evidence[steps[-1] :])


def _is_of_the_unheard(state: State, fact: Fact) -> bool:
    return isinstance(fact, NodeSilent | NodeReached) and state.is_unheard(fact.node)


def rest(state: State, incident: Incident) -> None:
    """Its job has stayed well for long enough: whatever breaks it next is another incident."""
    state.change(incident, topic=f"{AT_REST}{incident.id}")


def rests(incident: Incident) -> bool:
    """Say whether an incident waits only for what is still missing: ranks, a pace, an end for many."""
    return incident.topic.startswith(AT_REST)


def is_shared(state: State, incident: Incident) -> bool:
    """Say whether it is what many have at once, and is found on one of them still: that is for people."""
    return any(state.refused.get((incident.id, f"evict {f.node}")) == COMMON for f in holding(incident))


def of_many(state: State, rules: Rules, node: NodeId, harm: Fact) -> Incident | None:
    """Return the open incident of what a node has in common with others, if that explains the harm."""
    for (name, wanted), guard in state.refused.items():
        incident = state.incidents.get(name)
        if guard == COMMON and wanted == f"evict {node}" and incident is not None:
            held = [fact for fact in holding(incident) if fact.node == node]
            if any(explains(state, fact, [harm], rules) for fact in held):
                return incident
    return None


def ends_by_step(incident: Incident, rules: Rules) -> bool:
    """Say whether a new step of its job is its end; of a slow pace it is only if that was re-formed."""
    book = rules.book_of(incident)
    waits_for_pace = is_about_pace(incident) and not incident.formed
    return (book is None or book.ends is Ends.STEP) and not waits_for_pace


def is_about_pace(incident: Incident) -> bool:
    """Say whether it is about a job's pace and no other harm."""
    return kinds(incident) & HARMS.keys() == {JobSlowed}


def kinds(incident: Incident) -> set[type]:
    """Kinds of facts in evidence."""
    return set(map(type, incident.evidence))


def is_about_silence(incident: Incident, rules: Rules) -> bool:
    """Say whether it began with silence, and ends with it: nothing else was seen, or nothing else counts."""
    book, diagnosis = rules.book_of(incident), incident.diagnosis
    if book is not None and book.ends is Ends.SIGN:
        return bool(silent_nodes(incident))
    is_known = diagnosis is not None and diagnosis.is_known
    acted = is_known and incident.formed > 0
    return not acted and kinds(incident) <= {NodeSilent, NodeReached}


def reopen(state: State, rules: Rules, fact: FindingReported) -> Incident | None:
    """Return a just resolved incident of this node that the finding explains, open again."""
    explains = {cause for book in rules.by_code.get(fact.finding.code, ()) for cause in book.explains}
    since = state.now - rules.policy.correlate_s
    for incident in reversed(list(state.incidents.values())):
        diagnosis = incident.diagnosis
        if incident.stage is not Stage.RESOLVED or incident.times["resolved"] < since or not diagnosis:
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
    return node in accused or (not accused and job is not None and state.crew.is_hosted(job.id, node))


def join(state: State, topic: str, fact: Fact, job: Job | None = None) -> Incident:
    """Add evidence to the topic's open incident, or open one."""
    incident = find(state, topic)
    if incident is None:
        state.opened += 1
        name = IncidentId(f"I-{state.opened:04d}")
        incident = state.add(Incident(name, state.now, topic, times={"detected": state.now}))
    if incident.job is None and job is not None:
        incident = state.change(incident, job=job.id)
    return add(state, incident, fact)


def join_cause(state: State, book: Runbook, fact: Fact) -> Incident:
    """Join the open incident of a cause that all have together, whatever nodes it has come to name."""
    topic = f"{book.cause}:"
    known = next((each for each in state.open_incidents() if each.topic.startswith(topic)), None)
    return add(state, known, fact) if known else join(state, topic, fact)


def ask_for(state: State, incident: Incident, due: Due) -> Incident:
    """Let an incident be diagnosed, by what is in evidence now."""
    incident = state.fresh(incident)
    return state.change(incident, due=due) if incident.due is not Due.ANY else incident


def add(state: State, incident: Incident, fact: Fact) -> Incident:
    """Add evidence; of repeated looks at a node the newest says all."""
    incident = state.incidents[incident.id]
    evidence = incident.evidence
    if isinstance(fact, NodeReached):
        evidence = tuple(f for f in evidence if not (isinstance(f, NodeReached) and f.node == fact.node))
    if isinstance(fact, RankRaised) and not _tells(incident, fact):
        return incident
    if isinstance(fact, FindingReported):
        evidence = _thinned(evidence, fact)
    if len(evidence) >= EVIDENCE_LIMIT:  # how it began and what is new count most
        evidence = (*evidence[: EVIDENCE_LIMIT // 2], *evidence[EVIDENCE_LIMIT // 2 + 1 :])
    return state.change(incident, evidence=(*evidence, fact))


def _thinned(evidence: tuple[Fact, ...], fact: FindingReported) -> tuple[Fact, ...]:
    """Make room for one more finding of its kind: how that began, and what came last, says all."""
    alike = [place for place, known in enumerate(evidence) if _is_alike(known, fact)]
    if len(alike) < FOUND_LIMIT:
        return evidence
    place = alike[FOUND_LIMIT // 2]
    return (*evidence[:place], *evidence[place + 1 :])


def _is_alike(one: Fact, other: FindingReported) -> bool:
    return (
        isinstance(one, FindingReported) and one.node == other.node and one.finding.key == other.finding.key
    )


def stamp(state: State, incident: Incident, name: str, at: Instant) -> Incident:
    """Say when something first happened in an incident's life, unless that is known."""
    times = state.fresh(incident).times
    return incident if name in times else state.change(incident, times={**times, name: at})


def stand_by(state: State, incident: Incident, fact: FindingReported) -> None:
    """Keep an event that no runbook asks for beside the evidence, a few of each kind: people may see why."""
    alike = (f for f in incident.evidence if isinstance(f, FindingReported) and f.node == fact.node)
    if fact.finding.event and sum(f.finding.key == fact.finding.key for f in alike) < STANDING_BY:
        add(state, incident, fact)


def renew(state: State, incident: Incident, fact: FindingReported) -> bool:
    """Put a newer telling of an event in the place of the older one; false if there is none."""
    for place, known in enumerate(incident.evidence):
        if isinstance(known, FindingReported) and _same_burst(known, fact):
            evidence = (*incident.evidence[:place], fact, *incident.evidence[place + 1 :])
            state.change(incident, evidence=evidence)
            return True
    return False


def _same_burst(one: FindingReported, other: FindingReported) -> bool:
    return bool(one.finding.burst) and (one.node, one.finding.burst) == (other.node, other.finding.burst)


def _tells(incident: Incident, fact: RankRaised) -> bool:
    """Say whether one more exception is news: of a big job all ranks raise, and most say the same."""
    raised = [f for f in incident.evidence if isinstance(f, RankRaised)]
    alike = [f for f in raised if (f.generation, f.kind) == (fact.generation, fact.kind)]
    own = fact.values[fact.rank] if fact.kind == "nan" and fact.rank < len(fact.values) else 0.0
    again = fact.kind == "user" and any(f.kind == "user" and f.rank == fact.rank for f in raised)
    return len(alike) < RAISED_LIMIT or again or not abs(own) < float("inf")


def _vouched(evidence: Iterable[Fact]) -> set[NodeId]:
    """Nodes that a human took back in the course of an incident: it takes them away no more."""
    commands = (fact for fact in evidence if isinstance(fact, Commanded))
    return {NodeId(fact.target) for fact in commands if fact.command == "undrain"}


def holding(incident: Incident) -> list[FindingReported]:
    """Findings in evidence that hold still, newest first: no check cleared them, no human vouched since."""
    held, cleared, back = list[FindingReported](), set[tuple[str, tuple[str, str, str]]](), set[NodeId]()
    for fact in reversed(incident.evidence):
        back |= _vouched([fact]) if isinstance(fact, Commanded) else set()
        if not isinstance(fact, FindingReported) or fact.node in back:
            continue
        # A rank speaks for its job, wherever it sits.
        place = "" if fact.finding.check == TRAINER else fact.node, fact.finding.key
        if fact.finding.health is Health.OK:
            cleared.add(place)
        elif place not in cleared:
            held.append(fact)
    return held


ECHOES = frozenset({"collective", "evicted"})
"""Exceptions that only say that some other rank is gone, or that this one had to stop."""


def only_echoes(incident: Incident) -> bool:
    """Say whether ranks only lost their peers: no harm in evidence needs a cause of its own."""
    harms = (fact for fact in incident.evidence if type(fact) not in HARMLESS)
    return all(isinstance(fact, RankRaised) and fact.kind in ECHOES for fact in harms)


def broke(fact: Fact, job: Job) -> bool:
    """Say whether this is harm to a job's newest generation."""
    return isinstance(fact, RankExited | RankRaised | JobStalled) and fact.generation == job.generation


def still_hurts(incident: Incident, rules: Rules) -> bool:
    """Say whether anything in evidence holds still, or has done harm; an event without a runbook has not."""
    if not kinds(incident) <= HARMLESS:
        return True
    return any(not f.finding.event or f.finding.code in rules.by_code for f in holding(incident))


def recall(state: State, rules: Rules, incident: Incident, node: NodeId, harm: Fact) -> Incident:
    """Add what the node's checks found shortly before the harm, if it can explain that: causes come first.

    A full disk explains no crash: its remedy would leave the broken job alone. Slowness is told so late that
    what is found still counts, too. An event that an earlier incident ended with explains no second one.
    """
    since = state.now - rules.policy.correlate_s
    spent = [
        fact
        for other in state.incidents.values()
        if other.stage is Stage.RESOLVED
        for fact in other.evidence
        if isinstance(fact, FindingReported) and fact.finding.event
    ]
    standing = list(state.nodes[node].findings.values()) if isinstance(harm, RankSlow) else []
    for fact in state.nodes[node].recent:
        current = fact.happened >= since or fact.finding in standing
        new = fact not in (*incident.evidence, *spent)
        if current and new and explains(state, fact, [harm], rules):
            incident = add(state, incident, fact)
    return incident


def explains(state: State, fact: FindingReported, harms: Iterable[Fact], rules: Rules) -> bool:
    """Say whether a finding can be why a job is harmed: by its runbooks, if it has any, and by its place."""
    books = rules.by_code.get(fact.finding.code, ())
    if fact.finding.evidence.get("owner") == "unknown":  # it may be why a rank died that was there
        harms = [harm for harm in harms if _ended_at(fact.node, harm)]
    symptoms = {cause for each in harms for cause in rules.harm_of(HARMS.get(type(each)))}
    fits = not books or any(symptoms & {*book.explains} for book in books)
    return fits and (fact.finding.health is Health.CRITICAL or _strikes_a_rank(state, fact))


def _ended_at(node: NodeId, harm: Fact) -> bool:
    """Say whether a rank ended, or raised by itself, on this node."""
    match harm:
        case RankExited(node=place) | RankRaised(node=place, kind="user"):
            return place == node
    return False


def _strikes_a_rank(state: State, fact: FindingReported) -> bool:
    """Say whether a finding names a rank or is about a GPU on which one sits, if it is about a GPU."""
    gpu = gpu_of(fact.finding.component)
    if gpu is None or "rank" in fact.finding.evidence:
        return True
    return any(worker.gpu == gpu for worker in state.crew.sitting(fact.node))


def forget(state: State, rules: Rules) -> None:
    """Drop resolved incidents that no later cause can reopen; the journal and the logbook keep them.

    Those whose page says that something is left for people stay, to say so no more when it is done.
    """
    since = state.now - rules.policy.correlate_s
    old = [
        incident
        for incident in state.incidents.values()
        if incident.stage is Stage.RESOLVED and incident.times.get("resolved", 0.0) < since
    ]
    kept = [incident.id for incident in old if incident.left][-LEFT_LIMIT:]
    names = {incident.id for incident in old}.difference(kept)
    for name in sorted(names):
        state.incidents.drop(name)
    for key in [key for key in state.refused if key[0] in names]:
        state.refused.drop(key)
