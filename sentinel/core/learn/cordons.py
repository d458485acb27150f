"""Nodes that people, or others in the scheduler, take out of use and give back."""

from msgspec.structs import replace

from sentinel.core import evidence
from sentinel.core.learn import maintenance
from sentinel.core.learn.findings import withdraw
from sentinel.core.learn.nodes import look_again
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import OPERATOR, SCHEDULER, STARTS, UNPROVED, Cordon, Node
from sentinel.core.state.timers import Timer
from sentinel.model.fact import Commanded, NodeCordoned, NodeUncordoned
from sentinel.model.ids import Instant, NodeId


def drain(state: State, fact: Commanded) -> None:
    """An operator wants a node empty; said again without a reason, the first one stands.

    What it was out for before is still what it is to be shown well of.
    """
    if (node := state.nodes.get(NodeId(fact.target))) is not None:
        before = node.cordon
        said = before.reason if before is not None and before.by == OPERATOR else ""
        cordon = Cordon(OPERATOR, fact.reason or said, fact.at, gently=True, who=fact.who)
        if before is not None:
            cordon = replace(cordon, found=before.found, measured=before.measured)
        state.change(node, cordon=cordon, proof=None, rungs=(), repairing="")
        state.deadlines.drop(Timer.PROOF.of(node.id))
        state.deadlines.drop(Timer.REBOOT.of(node.id))
        state.deadlines.drop(Timer.OUTSIDE.of(node.id))


def undrain(state: State, fact: Commanded, rules: Rules) -> None:
    """An operator takes a node back; what others have cordoned stays so."""
    node = state.nodes.get(NodeId(fact.target))
    if node is None:
        return
    _give_back(state, node, fact.at, rules)
    withdraw(state, fact, node.id, rules)
    by = state.open_incident(node.cordon.by) if node.cordon else None
    if by is not None and fact not in by.evidence:
        evidence.add(state, by, fact)
    maintenance.end(state, node.id, rules)


def cordoned(state: State, fact: NodeCordoned) -> None:
    """Somebody else has it cordoned; a cordon that was there before stays in force."""
    node = state.nodes.get(fact.node)
    if node is None:
        return
    theirs = _of_others(fact)
    is_first = node.cordon is None or node.cordon.by == SCHEDULER
    state.change(node, drained=fact, cordon=theirs if is_first else node.cordon)


def uncordoned(state: State, fact: NodeUncordoned, rules: Rules) -> None:
    """Whoever had it cordoned gives it back, as an operator does."""
    node = state.nodes.get(fact.node)
    if node is None:
        return
    outside = node.outside  # with theirs ours may be gone, too
    is_known = outside.is_known and outside.cordon is None
    node = state.change(node, drained=None, outside=replace(outside, is_known=is_known))
    if node.cordon is not None and node.cordon.by == SCHEDULER:
        _give_back(state, node, fact.at, rules)


def _of_others(fact: NodeCordoned) -> Cordon:
    return Cordon(SCHEDULER, f"{fact.by}: {fact.reason}", fact.at, gently=True)


def _give_back(state: State, node: Node, at: Instant, rules: Rules) -> None:
    """Whoever takes a node back vouches for it, so its old failures count no more.

    What its pre-flight had found nobody else would take back.
    """
    findings = {
        name: each for name, each in node.findings.items() if each.check not in rules.policy.preflight
    }
    state.change(
        node,
        findings=findings if len(findings) < len(node.findings) else node.findings,
        failures=(),
        app_xids=(),
        link_errors=(),
        recent=(),
        events=(),
        counts={},
        vouched=at,
        **STARTS,
        **UNPROVED,
        cordon=_of_others(node.drained) if node.drained else None,
    )
    for timer in (Timer.OUTSIDE, Timer.PROOF, Timer.REBOOT):
        state.deadlines.drop(timer.of(node.id))
    for job in list(state.jobs.values()):
        state.change(job, slow=tuple(each for each in job.slow if each[2] != node.id))
        look_again(state, job.id)
        if job.world < job.wanted and not job.is_over:  # it may not be the only one that is given back
            state.set_deadline(Timer.REFILL.of(job.id), rules.policy.place_s)
