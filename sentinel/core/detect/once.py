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
    origin: Origin | None = getattr(fact, "origin", None)  # the few kinds that an agent numbers have one
    node = _source(state, origin) if origin is not None else None
    return node is None or origin is None or origin.number > node.heard


def mark(state: State, fact: Fact) -> None:
    """Remember an agent's event as heard."""
    origin: Origin | None = getattr(fact, "origin", None)
    if origin is not None and (node := _source(state, origin)) is not None:
        state.change(node, heard=origin.number)


def _source(state: State, origin: Origin) -> Node | None:
    """Return whose event this is, if that agent is the one that said hello last."""
    node = state.nodes.get(origin.source)
    return node if node is not None and node.boot == origin.epoch else None
