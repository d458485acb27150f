"""What an incident holds in evidence: what is kept of it, what holds still, and what explains what."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, Node
from sentinel.model.action import Resume, kind_of
from sentinel.model.fact import (
    Commanded,
    ControllerStarted,
    Fact,
    FindingReported,
    GcsBack,
    GcsLost,
    JobAdvanced,
    JobAtPace,
    JobSlowed,
    JobStalled,
    JournalBack,
    JournalFailed,
    LinkBack,
    LinkLost,
    MembersProbed,
    NodePinged,
    NodeProbed,
    NodeSilent,
    Outcome,
    RankAtPace,
    RankExited,
    RankRaised,
    RankSlow,
)
from sentinel.model.finding import TRAINER, Finding, Health, gpu_of
from sentinel.model.ids import Instant, NodeId
from sentinel.model.incident import Incident
from sentinel.model.report import AT_START, MISCOMPUTED, STOPPED_ITSELF
from sentinel.model.runbook import Symptom

RAISED_LIMIT = 32
"""Exceptions of one kind and generation that an incident keeps."""

FOUND_LIMIT = 20
"""Findings of one kind on one node that an incident keeps."""

EVIDENCE_LIMIT = 200
"""More than this tells nobody anything new and would slow the fold."""

NEUTRAL = frozenset(
    {FindingReported, NodePinged, NodeProbed, MembersProbed, JobAdvanced, JobAtPace, RankAtPace, Commanded}
)
"""What only says how things are: a finding counts as long as it holds."""

STANDING_BY = 3
"""Of events that decide nothing an incident keeps so many of a kind."""

SYMPTOMS: Mapping[type, Symptom] = {
    RankExited: Symptom.EXITED,
    RankRaised: Symptom.RAISED,
    JobStalled: Symptom.STALLED,
    JobSlowed: Symptom.STALLED,
    RankSlow: Symptom.SLOW,
}
"""Which facts are symptoms of a job: a cause has to explain them."""

STEP_OR_SYMPTOM = (JobAdvanced, *SYMPTOMS)

BACK: Mapping[type, tuple[type, ...]] = {
    GcsLost: (GcsBack,),
    LinkLost: (LinkBack,),
    JournalFailed: (JournalBack, ControllerStarted),
    JobSlowed: (JobAtPace,),
    RankSlow: (RankAtPace, JobAdvanced),
}
"""What is lost, and by what it is known to be back.

The first step of another generation ends a rank's slowness: if it lasts it is told of that one, too.
"""


def mentions(incident: Incident, nodes: Collection[NodeId]) -> bool:
    """Say whether one of these nodes is in evidence, or suspected."""
    if not nodes:
        return False
    suspected = incident.diagnosis is not None and any(
        each.node in nodes for each in incident.diagnosis.suspects
    )
    return suspected or any(getattr(fact, "node", None) in nodes for fact in incident.evidence)


def silent_nodes(incident: Incident) -> set[NodeId]:
    """Nodes that are in evidence as silent."""
    return {fact.node for fact in incident.evidence if isinstance(fact, NodeSilent)}


def is_about_cordons(incident: Incident) -> bool:
    """Say whether it began with a cordon of which the scheduler could not be told."""
    return bool(_told_of_cordons(incident))


def unreported(incident: Incident) -> set[NodeId]:
    """Nodes of whose cordon, or of its end, the scheduler could not be told, by what is in evidence last."""
    return {node for node, ok in _told_of_cordons(incident).items() if not ok}


def _told_of_cordons(incident: Incident) -> dict[NodeId, bool]:
    each = (fact for fact in incident.evidence if isinstance(fact, Outcome))
    each = (fact for fact in each if kind_of(fact.action) in ("cordon", "readmit"))
    return {NodeId(fact.action.split("/")[2]): fact.ok for fact in each}


def broke_again(incident: Incident) -> bool:
    """Say whether its job had made a new step before its last symptom."""
    kinds = [isinstance(fact, JobAdvanced) for fact in incident.evidence if isinstance(fact, STEP_OR_SYMPTOM)]
    return bool(kinds) and any(kinds) and not kinds[-1]


def recoveries(incident: Incident) -> list[tuple[Instant, Instant]]:
    """Give each time that its job stood still and stepped again: since when, and its first new step.

    Of a rank that moves at a step boundary nobody waits.
    """
    steps = [fact.at for fact in incident.evidence if isinstance(fact, JobAdvanced)]
    if not steps:
        return []
    resumes = ((at, action) for at, action in incident.deeds if isinstance(action, Resume))
    forms = ((at, at) for at, action in resumes if at is not None and not action.pause)
    broke = [*((fact.at, fact.happened) for fact in breaks(incident)), *forms]
    spans, before = list[tuple[Instant, Instant]](), float("-inf")
    for step in steps:
        if since := [happened for at, happened in broke if before < at <= step]:
            spans.append((max(before, min(since)), step))
        before = step
    return spans


def breaks(incident: Incident) -> Iterator[RankExited | RankRaised | JobStalled]:
    """Give what broke its job, as it was told."""
    return (fact for fact in incident.evidence if isinstance(fact, RankExited | RankRaised | JobStalled))


def symptoms(incident: Incident) -> Iterator[Fact]:
    """Give its job's symptoms."""
    return (fact for fact in incident.evidence if type(fact) in SYMPTOMS)


def has_symptom_since(incident: Incident, at: Instant) -> bool:
    """Say whether its job had another symptom after that."""
    return any(fact.at > at for fact in symptoms(incident))


def waits_together(incident: Incident) -> bool:
    """Say whether the last symptom is that its job's ranks wait for each other."""
    newest = (symptom for fact in reversed(incident.evidence) if (symptom := symptom_of(fact)))
    return next(newest, None) is Symptom.STALLED


def symptom_of(fact: Fact) -> Symptom | None:
    """Say what a fact is a symptom of: a rank that ends itself for want of its peers has stood still."""
    return Symptom.STALLED if gave_up(fact) else SYMPTOMS.get(type(fact))


def misstarts(incident: Incident) -> list[str]:
    """Say of each node on which workers do not start why the last one did not, since it was tried again.

    Nothing once its job steps.
    """
    said: dict[str, str] = {}
    for fact in (each for each in incident.evidence if each.at > incident.retried):
        match fact:
            case JobAdvanced():
                said.clear()
            case RankRaised(kind=kind) if kind == AT_START:
                said[fact.node] = fact.error
            case Outcome(ok=False) if kind_of(fact.action) == "start-worker":
                node, _, why = fact.detail.removeprefix("on ").partition(": ")
                said.setdefault(node, why)
    return [f"no worker starts on {node}: {why}" for node, why in sorted(said.items())]


def gave_up(fact: Fact) -> bool:
    """Say whether a rank has ended itself, for what it waited for can't come."""
    return isinstance(fact, RankExited) and fact.how in STOPPED_ITSELF


def is_about_pace(incident: Incident) -> bool:
    """Say whether it is about a job's pace and has no other symptom."""
    return kinds(incident) & SYMPTOMS.keys() == {JobSlowed}


def kinds(incident: Incident) -> set[type]:
    """Kinds of facts in evidence."""
    return set(map(type, incident.evidence))


def add(state: State, incident: Incident, fact: Fact) -> Incident:
    """Add evidence; of repeated looks at a node the newest says all."""
    incident = state.incidents[incident.id]
    evidence = incident.evidence
    if isinstance(fact, NodePinged):
        evidence = tuple(f for f in evidence if not (isinstance(f, NodePinged) and f.node == fact.node))
    if isinstance(fact, RankRaised) and not _tells(incident, fact):
        return incident
    if isinstance(fact, FindingReported):
        evidence = _thinned(evidence, fact)
    if len(evidence) >= EVIDENCE_LIMIT:  # how it began and what is new count most
        evidence = (*evidence[: EVIDENCE_LIMIT // 2], *evidence[EVIDENCE_LIMIT // 2 + 1 :])
    return state.change(incident, evidence=(*evidence, fact))


def _thinned(evidence: tuple[Fact, ...], fact: FindingReported) -> tuple[Fact, ...]:
    """Make room for one more finding of its kind: how that began, and what came last, says all."""
    node, key = fact.node, fact.finding.key
    found = [(at, f) for at, f in enumerate(evidence) if isinstance(f, FindingReported) and f.node == node]
    alike = [place for place, known in found if known.finding.key == key]
    if len(alike) < FOUND_LIMIT:
        return evidence
    place = alike[FOUND_LIMIT // 2]
    return (*evidence[:place], *evidence[place + 1 :])


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
    again = fact.kind == "user" and any(f.kind == "user" and f.rank == fact.rank for f in raised)
    return len(alike) < RAISED_LIMIT or again or fact.rank in whose(fact)


WHOSE: Mapping[str, Callable[[float], bool]] = {
    "nan": lambda loss: not abs(loss) < float("inf"),
    MISCOMPUTED: lambda wrong: wrong > 0,
}
"""Kinds of exceptions that all ranks raise for one's sake: whether a rank's value says that it is it."""


def whose(fact: RankRaised) -> tuple[int, ...]:
    """Say which ranks it is about, if all have raised it."""
    accuses = WHOSE.get(fact.kind)
    return tuple(rank for rank, value in enumerate(fact.values) if accuses and accuses(value))


def vouched(node: Node, incident: Incident) -> bool:
    """Say whether a human took a node back since; what is so at once afterwards is news."""
    return node.vouched > incident.opened


def holding(incident: Incident) -> list[FindingReported]:
    """Findings in evidence that hold still, newest first: no check cleared them, no human vouched since."""
    held, cleared, back = list[FindingReported](), set[tuple[str, tuple[str, str, str]]](), set[NodeId]()
    for fact in reversed(incident.evidence):
        if isinstance(fact, Commanded) and fact.command == "undrain":
            back.add(NodeId(fact.target))
        if not isinstance(fact, FindingReported) or fact.node in back:
            continue
        # A rank speaks for its job, wherever it sits.
        place = "" if fact.finding.check == TRAINER else fact.node, fact.finding.key
        if fact.finding.health is Health.OK:
            cleared.add(place)
        elif place not in cleared:
            held.append(fact)
    return held


def found(incident: Incident) -> list[FindingReported]:
    """Findings that hold still, and those of the newest probe of each collective check, newest first.

    What nodes measured together is no state of one of them: it says what was so then, and clears nothing. It
    is why ranks wait for each other, and why one gives up and ends itself; not why a process ended otherwise
    after it.
    """
    facts = enumerate(incident.evidence)
    ends = [at for at, fact in facts if isinstance(fact, RankExited) and not gave_up(fact)]
    since = incident.evidence[ends[-1] :] if ends else incident.evidence
    newest = {fact.check: fact for fact in since if isinstance(fact, MembersProbed)}
    probed = [
        FindingReported(fact.at, each.node, each.finding)
        for fact in newest.values()
        for each in fact.findings
    ]
    return [*reversed(probed), *holding(incident)]


ECHOES = frozenset({"collective", "evicted"})
"""Exceptions that only say that some other rank is gone, or that this one had to stop."""


def only_echoes(incident: Incident) -> bool:
    """Say whether ranks only lost their peers: no symptom in evidence needs a cause of its own."""
    told = (fact for fact in incident.evidence if type(fact) not in NEUTRAL)
    return all(isinstance(fact, RankRaised) and fact.kind in ECHOES for fact in told)


def broke(fact: Fact, job: Job) -> bool:
    """Say whether this is a symptom of a job's newest generation."""
    return type(fact) in SYMPTOMS and getattr(fact, "generation", None) == job.generation


def still_affects(incident: Incident, rules: Rules) -> bool:
    """Say whether anything in evidence holds still, or broke something; an event of no runbook did not."""
    if not kinds(incident) <= NEUTRAL:
        return True
    return any(not f.finding.event or f.finding.code in rules.by_code for f in holding(incident))


def recall(state: State, rules: Rules, incident: Incident, node: NodeId, symptom: Fact) -> Incident:
    """Add what the node's checks found shortly before a symptom, if it can explain that: causes come first.

    A full disk explains no crash: its remedy would leave the broken job alone. Slowness is told so late that
    what is found still counts, too. An event that an earlier incident ended with explains no second one.
    """
    since = state.now - rules.policy.correlate_s
    spent = [
        fact
        for other in state.incidents.values()
        if other.is_over
        for fact in other.evidence
        if isinstance(fact, FindingReported) and fact.finding.event
    ]
    standing = list(state.nodes[node].findings.values()) if isinstance(symptom, RankSlow) else []
    for fact in state.nodes[node].recent:
        current = fact.happened >= since or fact.finding in standing
        new = fact not in (*incident.evidence, *spent)
        if current and new and explains(state, fact, [symptom], rules):
            incident = add(state, incident, fact)
    return incident


def explains(state: State, fact: FindingReported, symptoms: Iterable[Fact], rules: Rules) -> bool:
    """Say whether a finding can explain a job's symptoms: by its runbooks, if any, and by its place."""
    books = rules.by_code.get(fact.finding.code, ())
    if job := job_named(fact.finding):  # another job's rank is a stranger to this one
        symptoms = [symptom for symptom in symptoms if getattr(symptom, "job", job) == job]
    if fact.finding.evidence.get("owner") == "unknown":  # it can explain why a rank on that node ended
        symptoms = [symptom for symptom in symptoms if _ended_at(fact.node, symptom)]
    only_names = {cause for each in symptoms for cause in rules.naming_only(symptom_of(each))}
    fits = not books or any(only_names & {*book.explains} for book in books)
    return fits and (fact.finding.health is Health.CRITICAL or _strikes_a_rank(state, fact))


def job_named(found: Finding) -> str:
    """Return the job whose rank a finding names; empty where it names none."""
    return str(found.evidence.get("job", ""))


def _ended_at(node: NodeId, symptom: Fact) -> bool:
    """Say whether a rank ended, or raised by itself, on this node."""
    match symptom:
        case RankExited(node=place) | RankRaised(node=place, kind="user"):
            return place == node
    return False


def _strikes_a_rank(state: State, fact: FindingReported) -> bool:
    """Say whether a finding names a rank or is about a GPU on which one sits, if it is about a GPU."""
    gpu = gpu_of(fact.finding.component)
    if gpu is None or "rank" in fact.finding.evidence:
        return True
    return any(worker.gpu == gpu for worker in state.workers.sitting(fact.node))


def is_back(incident: Incident, lost: type) -> bool:
    """Say whether what was lost came back after it was lost last."""
    last = next(fact for fact in reversed(incident.evidence) if isinstance(fact, (lost, *BACK[lost])))
    return isinstance(last, BACK[lost])
