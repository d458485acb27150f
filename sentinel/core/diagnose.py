"""From an incident's evidence to its cause: every runbook is asked, symptoms give way to causes."""

import re
from collections.abc import Iterable

from sentinel.core.incidents import holding, vouched
from sentinel.core.predicates import PREDICATES, Case, Match, gpu_of
from sentinel.core.state import Rules, State
from sentinel.model.fact import FindingReported, NodeSilent, RankRaised
from sentinel.model.finding import TRAINER, Finding, Health
from sentinel.model.ids import Cause
from sentinel.model.incident import Diagnosis, Incident, Suspect
from sentinel.model.runbook import Match as Looks
from sentinel.model.runbook import Runbook

UNKNOWN = Cause("unknown")
BAD = frozenset({Health.CRITICAL, Health.WARNING})


def diagnose(incident: Incident, state: State, rules: Rules) -> Diagnosis:
    """Name the cause, or `unknown`: a cause that another matching cause explains is only its symptom."""
    case = Case(incident, state, rules)
    matched = {book.cause: (book, found) for book in rules.runbooks.values() if (found := ask(book, case))}
    causes = [pair for pair in matched.values() if not _is_symptom(pair, matched.values())]
    causes = [pair for pair in causes if not _is_dealt_with(pair[1], incident, state)] or causes
    if not causes:
        return Diagnosis(UNKNOWN, (), 0.0, _unexplained(incident, state))
    book, found = max(causes, key=lambda pair: (pair[0].confidence * pair[1].sure, pair[0].cause))
    sure = round(book.confidence * found.sure, 3)
    others = ", ".join(other.cause for other, _ in causes if other.cause != book.cause)
    why = f"{found.why}; also matching: {others}" if others else found.why
    suspects = tuple(Suspect(s.node, s.rank, s.gpu, sure) for s in found.suspects)
    return Diagnosis(book.cause, suspects, sure, why)


def _unexplained(incident: Incident, state: State) -> str:
    silent = {fact.node for fact in incident.evidence if isinstance(fact, NodeSilent)}
    names = ", ".join(sorted(name for name in silent if state.nodes[name].silent))
    return "no runbook matches the evidence" + (f"; silent and not understood: {names}" if names else "")


def _is_symptom(pair: tuple[Runbook, Match], others: Iterable[tuple[Runbook, Match]]) -> bool:
    """Say whether another match explains this one; one node explains nothing on a healthy other."""
    nodes = {suspect.node for suspect in pair[1].suspects if suspect.node}
    for book, found in others:
        reach = {suspect.node for suspect in found.suspects if suspect.node}
        if pair[0].cause in book.explains and (not nodes or not reach or nodes & reach):
            return True
    return False


def _is_dealt_with(found: Match, incident: Incident, state: State) -> bool:
    """Say whether this incident evicted all its suspects' nodes: then a new failure has a new cause."""
    known = (state.nodes.get(suspect.node) for suspect in found.suspects if suspect.node)
    nodes = [node for node in known if node is not None]
    back = vouched(incident.evidence)
    return bool(nodes) and all((n.cordon and n.cordon.by == incident.id) or n.id in back for n in nodes)


def ask(book: Runbook, case: Case) -> Match | None:
    """Return the first of the runbook's alternatives that holds."""
    for looks in book.matches:
        if found := _holds(looks, case):
            return found
    return None


def _holds(looks: Looks, case: Case) -> Match | None:
    if looks.predicate:
        return PREDICATES[looks.predicate](case)
    if looks.log:
        return _in_log(re.compile(looks.log), case)
    codes = {looks.finding} if looks.finding else {f"xid-{number}" for number in looks.xid}
    if not any(f.finding.code in codes for f in case.all(FindingReported)):
        return None
    held = reversed(holding(case.incident))
    facts = [f for f in held if f.finding.code in codes and f.finding.health in BAD]
    if not facts:
        return None
    suspects = {(f.node, gpu_of(f.finding.component)): f for f in facts}
    told = "; ".join(f"{f.node} {f.finding.component}: {f.finding.summary}" for f in suspects.values())
    places = (place for place, fact in suspects.items() if fact.finding.check != TRAINER)
    return Match(tuple(_blamed(case, node, gpu) for node, gpu in places), told)


def _blamed(case: Case, node: str, gpu: int | None) -> Suspect:
    """Return the suspect for a GPU or node with the rank that sat there, if one did."""
    known = case.state.nodes.get(node)  # type: ignore[call-overload]
    for worker in case.state.crew.sitting(known.id) if known else ():
        if gpu is not None and worker.gpu == gpu:
            return Suspect(worker.node, worker.rank, gpu)
    return Suspect(known.id if known else None, None, gpu)


def _in_log(pattern: re.Pattern[str], case: Case) -> Match | None:
    for fact in case.incident.evidence:
        if isinstance(fact, RankRaised) and pattern.search(f"{fact.error}\n{fact.traceback}"):
            suspect = Suspect(fact.node, fact.rank, fact.gpu)
            return Match((suspect,), f"rank {fact.rank} on {fact.node}: {fact.error}")
        if isinstance(fact, FindingReported) and pattern.search(_text(fact.finding)):
            return Match((Suspect(fact.node),), f"{fact.node}: {fact.finding.summary}")
    return None


def _text(finding: Finding) -> str:
    return finding.summary + "\n" + "\n".join(str(value) for value in finding.evidence.values())
