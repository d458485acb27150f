"""From an incident's evidence to its cause: every runbook is asked, symptoms give way to causes."""

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

from sentinel.core import common
from sentinel.core.detect.laggards import laggards
from sentinel.core.diagnose.predicates import PREDICATES, Case, Match, laggard, since_step
from sentinel.core.diagnose.predicates.case import suspect_of, who_raised
from sentinel.core.diagnose.predicates.starts import at_start, starts_nowhere
from sentinel.core.evidence import found as findings
from sentinel.core.evidence import vouched
from sentinel.core.state import Rules, State
from sentinel.model.decision import Diagnosed
from sentinel.model.fact import FindingReported, JobStalled, NodePinged, NodeSilent, RankRaised
from sentinel.model.finding import TRAINER, Finding, Health, gpu_of
from sentinel.model.ids import Cause, NodeId, WorkerId
from sentinel.model.incident import UNKNOWN, Blame, Diagnosis, Due, Incident, Shared, Suspect
from sentinel.model.policy import Policy
from sentinel.model.runbook import Match as Looks
from sentinel.model.runbook import Remedy, Runbook, Scope

HANG_BESIDE = frozenset({Remedy.EVICT, Remedy.DRAIN, Remedy.RESTART_AGENT, Remedy.RESTART_GCS})
"""Remedies that name no rank, and after which the gang forms again."""
BAD = frozenset({Health.CRITICAL, Health.WARNING})


def decide(incident: Incident, state: State, rules: Rules) -> Diagnosed | None:
    """Diagnose an incident that is due; None where the last diagnosis stays, or more evidence may come."""
    before = incident.diagnosis
    if incident.is_over:
        return None
    found = diagnose(incident, state, rules)
    if not found.is_known and (incident.due is Due.CERTAIN or before is not None):
        return None
    if before is not None and _is_agents(found, rules) and _is_jobs(before, rules):
        found = before  # the job's own cause stands: an agent's trouble breaks no job
    found = _with_ranks(_with_shared(found, before), before)
    aside = _silent_by_themselves(incident, state, rules) if _is_jobs(found, rules) else ()
    return Diagnosed(incident.id, found, _to_replace(found, incident, state, rules), aside)


def _is_agents(found: Diagnosis, rules: Rules) -> bool:
    """Say whether it is an agent's trouble, which breaks no job."""
    book = rules.runbooks.get(found.cause)
    return book is not None and book.remedy is Remedy.RESTART_AGENT


def _is_jobs(found: Diagnosis, rules: Rules) -> bool:
    """Say whether it is known, and a cause of a job's trouble."""
    book = rules.runbooks.get(found.cause)
    return found.is_known and book is not None and book.scope is Scope.JOB


def _silent_by_themselves(incident: Incident, state: State, rules: Rules) -> tuple[NodeId, ...]:
    """Give nodes of an incident that are silent for their agents' sake alone, whatever it is about."""
    if not any(isinstance(fact, NodePinged) for fact in incident.evidence):
        return ()
    case = Case(incident, state, rules)
    books = (book for book in rules.by_evidence if book.remedy is Remedy.RESTART_AGENT)
    named = [each.node for book in books if (found := ask(book, case)) for each in found.suspects]
    return tuple(name for name in dict.fromkeys(named) if name and state.nodes[name].about == incident.id)


def _with_ranks(found: Diagnosis, before: Diagnosis | None) -> Diagnosis:
    """Keep the rank of a suspected GPU: once it is evicted nobody sits there any more."""
    known = {(s.node, s.gpu): s.rank for s in before.suspects} if before else {}
    suspects = (replace(s, rank=known.get((s.node, s.gpu))) if s.rank is None else s for s in found.suspects)
    return replace(found, suspects=tuple(suspects))


def _with_shared(found: Diagnosis, before: Diagnosis | None) -> Diagnosis:
    """Keep what was shared: that some have it no more does not make it the others' own."""
    same = before is not None and before.cause == found.cause
    return replace(found, shared=before.shared) if before and same and found.shared is None else found


def _to_replace(found: Diagnosis, incident: Incident, state: State, rules: Rules) -> tuple[WorkerId, ...]:
    """Workers that the next generation is to do without: those accused, or those that hang beside the cause.

    Seated again they would only hang again.
    """
    job, book = state.job_of(incident), rules.runbooks.get(found.cause)
    remedy = book.remedy if book else Remedy.RESTART
    case, suspects = Case(incident, state, rules), found.suspects
    if remedy not in (Remedy.REPLACE, Remedy.MOVE):
        hung = laggard(case) if remedy in HANG_BESIDE else None
        suspects = hung.suspects if hung else ()
    ranks = sorted({suspect.rank for suspect in suspects if suspect.rank is not None})
    workers = [worker for rank in ranks if (worker := state.workers.at(job.id, rank))] if job else []
    ended = {fact.worker: fact.rank for fact in since_step(case)}
    heirs = {worker.rank for worker in workers if worker.id not in ended and worker.rank in ended.values()}
    if heirs and (hung := laggard(case)):
        heirs -= {suspect.rank for suspect in hung.suspects}
    return tuple(worker.id for worker in workers if worker.rank not in heirs)


def diagnose(incident: Incident, state: State, rules: Rules) -> Diagnosis:
    """Name the cause, or `unknown`: a cause that another matching cause explains is only its symptom."""
    case = Case(incident, state, rules)
    matched = {book.cause: (book, found) for book in _asked(case) if (found := ask(book, case))}
    causes = [pair for pair in matched.values() if not _is_symptom(pair, matched.values())]
    causes = [pair for pair in causes if not _is_dealt_with(pair[1], incident, state)] or causes
    # An agent's trouble breaks no job: the job's cause comes first, the agent's incident after it.
    causes = [pair for pair in causes if pair[0].remedy is not Remedy.RESTART_AGENT] or causes
    if not causes:
        return Diagnosis(UNKNOWN, (), 0.0, _unexplained(incident, state, rules.policy))
    book, found = max(causes, key=lambda pair: (pair[0].confidence * pair[1].sure, pair[0].cause))
    sure = round(book.confidence * found.sure, 3)
    others = ", ".join(other.cause for other, _ in causes if other.cause != book.cause)
    why = f"{found.why}; also matching: {others}" if others else found.why
    accused = found.suspects if book.blames is not Blame.NOBODY else ()
    suspects = tuple(Suspect(s.node, s.rank, s.gpu, sure) for s in accused)
    return Diagnosis(book.cause, suspects, sure, why, _shared(book.cause, suspects, case))


def _shared(cause: Cause, suspects: Iterable[Suspect], case: Case) -> Shared | None:
    """Say what the suspects share with all that have the same in evidence."""
    if not (blamed := {suspect.node for suspect in suspects if suspect.node}):
        return None
    seen = common.in_evidence(case.state, case.incident, cause, case.rules)
    among = sorted(blamed & {node for _, node in seen})
    return common.shared(case.state, among, seen, case.rules.policy)


def _asked(case: Case) -> Iterable[Runbook]:
    """Runbooks that may match: of those that want a finding only where it was found."""
    codes = dict.fromkeys(fact.finding.code for fact in _findings(case))
    found = (book for code in codes for book in case.rules.by_code.get(code, ()))
    return {book.cause: book for book in (*case.rules.by_evidence, *found)}.values()


def _unexplained(incident: Incident, state: State, policy: Policy) -> str:
    silent = {fact.node for fact in incident.evidence if isinstance(fact, NodeSilent)}
    names = ", ".join(sorted(name for name in silent if state.nodes[name].silent))
    why = "no runbook matches the evidence" + (f"; silent and not understood: {names}" if names else "")
    stall = next((fact for fact in reversed(incident.evidence) if isinstance(fact, JobStalled)), None)
    return f"{why}; {laggards(stall.beats, len(stall.beats), policy).why}" if stall else why


def _is_symptom(pair: tuple[Runbook, Match], others: Iterable[tuple[Runbook, Match]]) -> bool:
    """Say whether another match explains this one; one node explains nothing on a healthy other.

    What is between nodes shows on any of them.
    """
    nodes = {suspect.node for suspect in pair[1].suspects if suspect.node}
    for book, found in others:
        reach = {suspect.node for suspect in found.suspects if suspect.node}
        between = not nodes or not reach or nodes & reach or book.asks
        if pair[0].cause in book.explains and between:
            return True
    return False


def _is_dealt_with(found: Match, incident: Incident, state: State) -> bool:
    """Say whether this incident evicted all its suspects' nodes: then a new failure has a new cause."""
    known = (state.nodes.get(suspect.node) for suspect in found.suspects if suspect.node)
    nodes = [node for node in known if node is not None]
    ours = ((node.cordon and node.cordon.by == incident.id) or vouched(node, incident) for node in nodes)
    return bool(nodes) and all(ours)


def ask(book: Runbook, case: Case) -> Match | None:
    """Return the first of the runbook's alternatives that holds."""
    for looks in book.matches:
        if found := _holds(looks, case, book):
            return found
    return None


def _holds(looks: Looks, case: Case, book: Runbook) -> Match | None:
    if looks.predicate:
        return PREDICATES[looks.predicate](case)
    if looks.again:
        return _again(Cause(looks.again), case)
    if looks.log:
        return _in_log(re.compile(looks.log), case)
    codes = {looks.finding} if looks.finding else {f"xid-{number}" for number in looks.xid}
    facts = [f for f in reversed(_findings(case)) if f.finding.code in codes and f.finding.health in BAD]
    if not facts:
        return None
    alike = {_named(fact): fact for fact in facts}  # of a storm of lines each place is looked up once
    suspects = {_blamed(case, fact, book): fact for fact in alike.values()}
    why = "; ".join(f"{f.node} {f.finding.component}: {f.finding.summary}" for f in suspects.values())
    return Match(tuple(who for who, fact in suspects.items() if fact.finding.check != TRAINER), why)


def _findings(case: Case) -> list[FindingReported]:
    return case.once("findings", lambda: findings(case.incident))


def _again(cause: Cause, case: Case) -> Match | None:
    """Say whether a cause is met that a second try did not mend, or could not: all ranks have it at once."""
    book, job = case.rules.runbooks.get(cause), case.state.job_of(case.incident)
    found = ask(book, case) if book else None
    if found is None or job is None:
        return None
    at, generation = job.causes.get(cause, (0.0, case.newest))
    if generation < case.newest and at > case.state.now - case.rules.policy.again_s:
        return replace(found, why=f"{found.why}; so did generation {generation}")
    ranks = {fact.rank for fact in case.raised() if fact.kind == "user"}
    if at_start(case) and starts_nowhere(case):
        return replace(found, why=f"{found.why}; no worker starts")
    if len(ranks) == job.world >= case.rules.policy.several:
        return replace(found, why=f"{found.why}; all {job.world} ranks raised")
    return None


def _named(fact: FindingReported) -> tuple[object, ...]:
    """Give whom a finding names: the node, the part, and the rank."""
    said = fact.finding.evidence
    return fact.node, fact.finding.component, said.get("rank"), said.get("job")


def _blamed(case: Case, fact: FindingReported, book: Runbook) -> Suspect:
    """Return the suspect: the rank whose own error it is, or a GPU with the rank on it, or the node."""
    gpu = gpu_of(fact.finding.component)
    named = case.state.ranks_named(fact) if book.blames is Blame.RANK else ()
    sitting = case.state.workers.sitting(fact.node)
    on_gpu = (each for each in sitting if gpu is not None and each.gpu == gpu)
    worker = next(chain(named, on_gpu), None)
    return Suspect(worker.node, worker.rank, worker.gpu) if worker else Suspect(fact.node, None, gpu)


def _in_log(pattern: re.Pattern[str], case: Case) -> Match | None:
    for fact in case.incident.evidence:
        if isinstance(fact, RankRaised) and fact.generation < case.newest:
            continue  # an earlier generation's failure is repaired
        if isinstance(fact, RankRaised) and pattern.search(f"{fact.error}\n{fact.traceback}"):
            return Match((suspect_of(fact),), f"{who_raised(fact)} on {fact.node}: {fact.error}")
        if isinstance(fact, FindingReported) and pattern.search(_text(fact.finding)):
            return Match((Suspect(fact.node),), f"{fact.node}: {fact.finding.summary}")
    return None


def _text(finding: Finding) -> str:
    return finding.summary + "\n" + "\n".join(str(value) for value in finding.evidence.values())
