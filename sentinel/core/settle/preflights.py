"""What the pre-flight of an idle node lacks: its next measurement, or to be called off."""

from collections.abc import Iterator

from sentinel.core import preflights
from sentinel.core.settle.guards import refuse_action
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Node, Preflight
from sentinel.model.action import CallOff, Probe, action_id
from sentinel.model.decision import Decision
from sentinel.model.ids import ActionId, IncidentId


def settle(node: Node, flight: Preflight, state: State, rules: Rules) -> Iterator[Decision]:
    """Measure while the node is free, and give that up as soon as it is not."""
    name, is_free = IncidentId(f"idle-{node.id}"), preflights.is_free(node, state, rules.policy)
    if flight.order and not is_free:
        called = action_id(name, "call-off", node.id, node.preflights)
        yield CallOff(called, name, node.id, ActionId(flight.order))
    elif is_free and not (flight.order or refuse_action(state, rules)):
        order = action_id(name, "probe", node.id, node.preflights + 1)
        yield Probe(order, name, node.id, flight.left[0], (node.id,), rules.policy.proof_s)
