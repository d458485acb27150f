"""Maintenance that was announced: until its time nobody is accused of what it looks like."""

from msgspec.structs import replace

from sentinel.core.learn import findings
from sentinel.core.learn.nodes import fall, plan_anew
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Maintenance
from sentinel.core.state.timers import Timer
from sentinel.model.fact import Commanded, FindingReported
from sentinel.model.ids import NodeId


def begin(state: State, fact: Commanded) -> None:
    """Expect a node to be silent, or to have findings, until then; a second word sets another time."""
    node = state.nodes.get(NodeId(fact.target))
    if node is None or fact.until <= fact.at:
        return
    state.change(node, maintained=Maintenance(fact.until, fact.who, fact.reason))
    state.deadlines.put(Timer.MAINTAIN.of(node.id), fact.until)


def end(state: State, name: NodeId, rules: Rules) -> None:
    """Its time is over: who is silent still, or what a check finds, counts from now on."""
    node = state.nodes.get(name)
    state.deadlines.drop(Timer.MAINTAIN.of(name))
    if node is None or node.maintained is None:
        return
    node = state.change(node, maintained=None)
    if node.silent and node.fell is not None and node.cordon is None:
        fell = replace(node.fell, at=state.now)
        fall(state, state.change(node, fell=fell), fell, rules)
    for found in list(node.findings.values()):
        findings.counts(state, state.fresh(node), FindingReported(state.now, name, found), rules)
    plan_anew(state, rules)
