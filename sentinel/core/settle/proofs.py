"""What a node that is out lacks on its way back: the next part of its proof, or the next repair."""

from collections.abc import Iterator

from sentinel.core import proofs
from sentinel.core.settle.guards import refuse_action
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import OPERATOR, Node
from sentinel.model.action import Prove, Repair, action_id
from sentinel.model.decision import Decision
from sentinel.model.ids import IncidentId, NodeId


def settle(node: Node, state: State, rules: Rules) -> Iterator[Decision]:
    """Give the next part of the proof that was asked for, else the next repair, once the node is empty.

    A proof is a person's word, or follows a repair: neither waits for the leave to act.
    """
    if not proofs.is_bare(node, state):
        return
    if node.proof is not None and node.proof.waits:
        check = node.proof.left[0]
        name = action_id(_for(node), "prove", node.id, node.proves + 1)
        members = _members(node, check, state, rules) if check else ()
        yield Prove(name, _for(node), node.id, check, members, rules.policy.proof_s)
    elif _may_be_repaired(node, state, rules):
        rung = proofs.rungs(node, rules)[0]
        name = action_id(_for(node), "repair", node.id, node.repairs + 1)
        yield Repair(name, _for(node), node.id, rung, proofs.gpus_of(node))


def _may_be_repaired(node: Node, state: State, rules: Rules) -> bool:
    """Say whether the next rung is to be tried: never on a node that people work on, or nobody hears."""
    incident = state.incidents.get(_for(node))
    people = node.maintained is not None or (incident is not None and incident.acked_by != "")
    people = people or (node.proof is not None and node.proof.who != proofs.SENTINEL)
    at_work = people or node.is_proved or node.repairing or node.silent or node.left
    return bool(not at_work and proofs.rungs(node, rules) and not refuse_action(state, rules))


def _members(node: Node, check: str, state: State, rules: Rules) -> tuple[NodeId, ...]:
    """Who measures: the node alone what loads it alone, else with those that nobody needs."""
    if check in rules.policy.preflight:
        return (node.id,)
    others = (other for other in state.nodes.values() if other.usable and proofs.is_idle(other, state))
    return (node.id, *(other.id for other in others))


def _for(node: Node) -> IncidentId:
    """In whose name: the incident that took it out, or its operator's."""
    cordon = node.cordon
    return IncidentId(cordon.by if cordon is not None and cordon.is_ours else f"{OPERATOR}-{node.id}")
