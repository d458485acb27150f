"""Idle nodes that are measured: when one is due, and what a measurement says."""

from msgspec.structs import replace

from sentinel.core import preflights, proofs
from sentinel.core.learn import findings
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Node, Preflight, ProofStage
from sentinel.core.state.timers import Timer
from sentinel.model.action import kind_of
from sentinel.model.fact import FindingReported, MembersProbed, Outcome
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId

LOOK = Timer.IDLE.of("nodes")


def expect(state: State, rules: Rules) -> None:
    """A node has come, or a controller: from now on idle nodes are looked for."""
    if rules.policy.idle_probes and rules.policy.preflight:
        state.wait_for(LOOK, rules.policy.idle_look_s)


def look(state: State, rules: Rules) -> None:
    """Choose idle nodes that are due, whoever has waited longest first, as many as may measure at once."""
    policy = rules.policy
    if not (policy.idle_probes and policy.preflight):
        return
    state.wait_for(LOOK, policy.idle_look_s)
    for each in [state.nodes[name] for name in state.in_preflight()]:
        if each.preflight is not None and not (
            each.preflight.order or preflights.is_free(each, state, policy)
        ):
            preflights.put_off(state, each)  # it keeps no other from its turn
    free = policy.idle_probes_at_once - len(state.in_preflight())
    if free <= 0:
        return
    waiting = (node for node in state.nodes.values() if preflights.is_due(node, state.now, policy))
    able = [node for node in waiting if node.preflight is None and preflights.is_free(node, state, policy)]
    for node in sorted(able, key=lambda each: (each.preflight_at, each.id))[:free]:
        state.change(node, preflight=Preflight(policy.preflight))


def measured(state: State, fact: MembersProbed, rules: Rules) -> None:
    """A node has measured: what it finds is as any check's finding; what it finds no more is over."""
    if kind_of(fact.action) == "prove":
        node = state.nodes.get(NodeId(fact.action.split("/")[2]))
        if node is not None and proofs.of_measured(node, fact)[0] is ProofStage.UNDER_WAY:
            _clears(state, node, fact, set(), rules)
        return
    node = _measuring(state, fact.action)
    if node is None or node.preflight is None:
        return
    stage, said = proofs.of_measured(node, fact)
    if stage is ProofStage.NOT_RUN:
        _ends(state, node, f"could not be run: {said}", rules)
    elif stage is ProofStage.UNDER_WAY:
        _clears(state, node, fact, set(), rules)
        _goes_on(state, node, node.preflight, said, rules)
    else:
        _found(state, node, node.preflight, fact, said, rules)


def _measuring(state: State, order: str) -> Node | None:
    """Return the node whose pre-flight waits for this order's answer."""
    parts = order.split("/")
    node = state.nodes.get(NodeId(parts[2])) if parts[1:2] == ["probe"] and parts[2:] else None
    return node if node is not None and node.preflight and node.preflight.order == order else None


def _goes_on(state: State, node: Node, flight: Preflight, said: str, rules: Rules) -> None:
    """Go on with the next check, or end it."""
    said, left = "; ".join(filter(None, (flight.said, said))), flight.left[1:]
    if not left:
        _ends(state, node, f"passed: {said}", rules)
        return
    state.deadlines.drop(Timer.PREFLIGHT.of(node.id))
    state.change(node, preflight=Preflight(left, said=said))


def _found(state: State, node: Node, flight: Preflight, fact: MembersProbed, said: str, rules: Rules) -> None:
    """Something is against a node: at once if it is critical, else if it comes again, for once is chance."""
    mine = proofs.against(node.id, fact)
    is_sure = flight.doubted == fact.check or any(each.health is Health.CRITICAL for each in mine)
    if not is_sure:
        state.deadlines.drop(Timer.PREFLIGHT.of(node.id))
        state.change(node, preflight=replace(flight, order="", doubted=fact.check))
        return
    _ends(state, node, f"failed: {said}", rules)
    _clears(state, node, fact, {each.key for each in mine}, rules)
    for each in mine:
        findings.finding(state, FindingReported(fact.at, node.id, _accuses(each, fact)), rules)


def _accuses(found: Finding, fact: MembersProbed) -> Finding:
    """Make it as grave as it is for a node that waits to be seated: no rank is placed where it was found."""
    burst = f"{fact.action} {found.component}" if found.event else ""
    return replace(found, health=Health.CRITICAL, burst=burst)


def _clears(
    state: State, node: Node, fact: MembersProbed, still: set[tuple[str, str, str]], rules: Rules
) -> None:
    """What the check had found before and finds no more is over."""
    for each in state.fresh(node).findings.values():
        if each.check == fact.check and each.key not in still:
            well = replace(each, health=Health.OK)
            findings.finding(state, FindingReported(fact.at, node.id, well), rules)


def failed(state: State, fact: Outcome, name: NodeId, rules: Rules) -> None:
    """An order has ended; one that could not be given measures nothing."""
    node = _measuring(state, fact.action)
    if node is not None and node.id == name and not fact.ok:
        _ends(state, node, f"could not be run: {fact.detail}", rules)


def late(state: State, name: NodeId, rules: Rules) -> None:
    """A measurement has no answer in time: that accuses nobody."""
    node = state.nodes.get(name)
    if node is not None and node.preflight is not None and node.preflight.order:
        _ends(state, node, f"could not be run: no answer from {node.preflight.left[0]} in time", rules)


def _ends(state: State, node: Node, said: str, rules: Rules) -> None:
    """It is over until the next time, and another node's turn has come."""
    state.deadlines.drop(Timer.PREFLIGHT.of(node.id))
    state.change(node, preflight=None, preflight_at=state.now, preflight_said=said)
    look(state, rules)
