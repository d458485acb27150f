"""Silent nodes: lost, cut off, without an agent, or it is the controller that is cut off."""

from collections.abc import Sequence
from itertools import islice

from sentinel.core.diagnose.predicates.case import Case, Match
from sentinel.core.evidence import gave_up
from sentinel.core.state.rows import JobStage
from sentinel.model.fact import JobAdvanced, JobStalled, NodePinged, NodeSilent, RankExited, RankRaised
from sentinel.model.ids import Seconds
from sentinel.model.incident import Suspect
from sentinel.model.runbook import Scope

NAMED = 20
"""Silent nodes that are named one by one."""


def node_lost(case: Case) -> Match | None:
    """A node's agent and raylet are both gone though its network answers."""
    lost = [f for f in pinged(case) if (f.agent, f.raylet) == ("refused", "refused") and f.step < 0]
    if not lost or _many_silent(case):
        return None
    why = ", ".join(f"{fact.node}: agent and raylet refuse connections" for fact in lost)
    return Match(tuple(Suspect(fact.node) for fact in lost), why)


def node_cut(case: Case) -> Match | None:
    """A node does not answer at all, and the job feels it; or nobody feels it, and it lasts."""
    cut = [fact for fact in pinged(case) if fact.agent == "timeout" and fact.raylet == "timeout"]
    if not cut or _many_silent(case) or any(fact.step >= 0 for fact in cut):
        return None
    seated, affected = any(case.state.job_on(fact.node) for fact in cut), _job_affected(case)
    lasts = (affected or not seated) and all(_silent_s(case, fact) >= case.rules.policy.cut_s for fact in cut)
    if not lasts and (not affected or _crashed_elsewhere(case)):
        return None
    why = ", ".join(f"{fact.node} answers on no port" for fact in cut)
    return Match(tuple(Suspect(fact.node) for fact in cut), why)


def control_cut(case: Case) -> Match | None:
    """So many nodes are silent at once that it is us who are cut off."""
    if case.last(NodeSilent) is None or not _many_silent(case):
        return None
    return Match((), _why_cut_off(case))


def agent_hung(case: Case) -> Match | None:
    """A node is silent while it answers or its ranks step, and those that could be silent with it are not."""
    alive = [fact for fact in pinged(case) if fact.agent != "refused" and _lives(case, fact)]
    alive = [fact for fact in alive if _silent_s(case, fact) >= case.rules.policy.silent_s]
    if not alive or _many_silent(case):
        return None
    why = ", ".join(f"{fact.node} is silent, yet it answers or its ranks step" for fact in alive)
    return Match(tuple(Suspect(fact.node) for fact in alive), why)


def agent_dead(case: Case) -> Match | None:
    """A node's agent is gone and the rest of the node is there."""
    refused = [fact for fact in pinged(case) if fact.agent == "refused"]
    dead = [fact for fact in refused if fact.raylet == "ok" or fact.step >= 0]
    if not dead:
        return None
    why = ", ".join(f"{fact.node}: its agent refuses connections, the rest of it answers" for fact in dead)
    return Match(tuple(Suspect(fact.node) for fact in dead), why)


def pinged(case: Case) -> Sequence[NodePinged]:
    """Newest look at each node that is silent now."""
    return case.once("pinged", lambda: _pinged(case))


def _pinged(case: Case) -> list[NodePinged]:
    newest = {fact.node: fact for fact in case.all(NodePinged)}
    known = ((fact, case.state.nodes.get(name)) for name, fact in newest.items())
    return [fact for fact, node in known if node is not None and node.silent and node.maintained is None]


def _silent_s(case: Case, fact: NodePinged) -> Seconds:
    fell = (each.at for each in case.all(NodeSilent) if each.node == fact.node)
    return case.state.now - max(fell, default=fact.at)


def _crashed_elsewhere(case: Case) -> bool:
    """Say whether a rank ended by itself on a node that reports: that is enough to break the gang."""
    ended = (f for f in case.all(RankExited) if f.generation == case.newest and not gave_up(f))
    return any(not case.state.nodes[fact.node].silent for fact in ended)


def _job_affected(case: Case) -> bool:
    """Say whether the job lost a rank or stopped stepping in this incident, and has not recovered."""
    job = case.state.job_of(case.incident)
    going = job is not None and job.stage is JobStage.RUNNING
    symptoms = (isinstance(fact, JobStalled | RankRaised | RankExited) for fact in case.incident.evidence)
    return not going and any(symptoms)


def _many_silent(case: Case) -> bool:
    """Say whether many are silent at once; whose own trouble that is known to be is not of them."""
    return case.once("many silent", lambda: _are_many_silent(case))


def _are_many_silent(case: Case) -> bool:
    standing, policy = case.state.standing_count(), case.rules.policy
    many = max(float(policy.several), policy.silent_share * standing)
    if case.state.unheard_count() < many or case.state.unheard_count() - _explained(case) < many:
        return False
    return not _in_one_domain(case)


def _in_one_domain(case: Case) -> bool:
    """Say whether all that are silent share a rack or the like, and several outside of it are heard."""
    silent = case.state.unheard()
    for kind, name in silent[0].labels.items():
        if all(node.labels.get(kind) == name for node in silent):
            others = (node for node in case.state.nodes.values() if node.labels.get(kind, name) != name)
            if sum(node.usable for node in others) >= case.rules.policy.several:
                return True
    return False


def _explained(case: Case) -> int:
    """Count silent nodes that another incident accuses of their own trouble."""
    others = (each for each in case.state.open_incidents() if each.id != case.incident.id)
    books = ((each, case.rules.book_of(each)) for each in others)
    own = (each.diagnosis for each, book in books if book is not None and book.scope is Scope.NODE)
    return len({name for found in own if found for name in found.nodes if case.state.is_unheard(name)})


def _why_cut_off(case: Case) -> str:
    count = case.state.unheard_count()
    silent = (fact.node for fact in case.all(NodeSilent) if case.state.is_unheard(fact.node))
    named = sorted({*islice(silent, NAMED)})
    more = f" and {count - len(named)} more" if count > len(named) else ""
    return f"{count} of {case.state.standing_count()} nodes silent at once: {', '.join(named)}{more}"


def _lives(case: Case, fact: NodePinged) -> bool:
    """Say whether a silent node shows life: an open port, a rank's answer, or steps that need its ranks."""
    step = case.last(JobAdvanced)
    since = max((f.at for f in case.all(NodeSilent) if f.node == fact.node), default=fact.at)
    stepped = step is not None and step.at > since and case.state.job_on(fact.node) is not None
    return "ok" in (fact.agent, fact.raylet) or fact.step >= 0 or stepped
