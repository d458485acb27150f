"""What nodes have measured becomes what is usual for their kind."""

from msgspec.structs import replace

from sentinel.core.baselines import is_enough, key, lasting, middle
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Baseline, Measured
from sentinel.model.collective import Figure
from sentinel.model.fact import MembersProbed
from sentinel.model.policy import Policy

NODES_KEPT = 64
"""Of each baseline: those that were measured last."""
BASELINES_KEPT = 256
"""Of all hardware and figures: those that were measured last."""
COMPONENTS_KEPT = 16
"""Of a node."""


def measured(state: State, fact: MembersProbed, rules: Rules) -> None:
    """Take in each node's newest figures; what it measured before counts no more."""
    news: dict[str, dict[str, list[Figure]]] = {}
    for each in fact.held:
        figure = each.figure
        of = news.setdefault(key(fact.check, figure.kind, figure.what), {})
        of.setdefault(figure.node, []).append(figure)
    for name, by_node in news.items():
        known = state.baselines.get(name, Baseline())
        new = [_of(state, fact, figures) for figures in by_node.values()]
        old = [each for each in known.measured if each.node not in by_node]
        row = replace(known, measured=(*old, *new)[-NODES_KEPT:])
        state.baselines.put(name, _changed(row, fact, rules.policy))
    if (many := len(state.baselines) - BASELINES_KEPT) > 0:
        for name in sorted(state.baselines, key=lambda each: state.baselines[each].measured[-1].at)[:many]:
            state.baselines.drop(name)


def _of(state: State, fact: MembersProbed, figures: list[Figure]) -> Measured:
    first = figures[0]
    node = state.nodes.get(first.node)
    values = tuple(each.value for each in figures[:COMPONENTS_KEPT])
    is_out = node is not None and node.cordon is not None
    return Measured(first.node, fact.at, values, first.under, is_out)


def _changed(row: Baseline, fact: MembersProbed, policy: Policy) -> Baseline:
    """Say what is usual now, and what was before it changed by more than figures differ."""
    counted = lasting(row, fact.at, policy)
    if not is_enough(counted, policy):
        return row
    usual, spread = middle(counted)
    if not row.usual:
        return replace(row, usual=usual)
    if abs(usual - row.usual) <= max(policy.fleet_mads * spread, policy.fleet_least * row.usual):
        return row
    return replace(row, usual=usual, was=row.usual, changed=fact.at)
