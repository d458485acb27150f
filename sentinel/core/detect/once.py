"""What an agent tells until it is acknowledged counts once, whoever heard it first."""

from sentinel.core.state import State
from sentinel.core.state.rows import Node
from sentinel.model.fact import Fact, Origin
from sentinel.model.report import Report


def speaks(report: Report, state: State) -> bool:
    """Say whether a report is of the agent that said hello last: another one's is old, or too early."""
    node = state.nodes.get(report.node)
    return node is not None and node.boot == report.boot


def is_news(state: State, fact: Fact) -> bool:
    """Say whether a fact is no agent's event, or one that was not heard before.

    An agent's numbers come in order, though not each of them: a higher one was never passed by.
    """
    node, number = _source(state, fact)
    return node is None or number > node.heard


def hear(state: State, fact: Fact) -> bool:
    """Say so, and remember an agent's event as heard."""
    node, number = _source(state, fact)
    if node is None:
        return True
    if number <= node.heard:
        return False
    state.change(node, heard=number)
    return True


def _source(state: State, fact: Fact) -> tuple[Node | None, int]:
    """Return whose event this is, if that agent is the one that said hello last, and its number."""
    origin: Origin | None = getattr(fact, "origin", None)  # the few kinds that an agent numbers have one
    node = state.nodes.get(origin.source) if origin is not None else None
    return (node, origin.number) if node is not None and origin and node.boot == origin.epoch else (None, 0)
