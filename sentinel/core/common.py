"""What several nodes have at once: a rack, a feed, a switch or an image is to blame, and no one of them."""

from math import factorial

from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Node
from sentinel.model.fact import FindingReported
from sentinel.model.ids import DAY_S, Cause, Instant
from sentinel.model.policy import Policy

YEAR_DAYS = 365.0


def nodes_with(state: State, cause: Cause, rules: Rules) -> list[Node]:
    """Nodes on which a check has lately found what the cause looks like."""
    since = state.now - rules.policy.common_s
    return [node for node in state.nodes.values() if not node.left and _found(node, cause, since, rules)]


def found(node: Node, cause: Cause, rules: Rules) -> FindingReported | None:
    """Return the newest finding of the cause on a node, if it is an event or stands still."""
    for fact in reversed(node.recent):
        if any(book.cause == cause for book in rules.by_code.get(fact.finding.code, ())):
            stands = fact.finding.event or "|".join(fact.finding.key) in node.findings
            return fact if stands else None
    return None


def is_common(state: State, alike: int, rules: Rules) -> bool:
    """Say whether so many nodes with one finding within `common_s` are no chance."""
    here = sum(not node.left for node in state.nodes.values())
    return alike >= least(here, rules.policy)


def least(nodes: int, policy: Policy) -> int:
    """How many nodes at once are rarer than yearly if each fails by itself, as often as nodes do.

    Failures that come at a rate r fall k together within a time t about r^k t^(k-1) / (k-1)! times a day.
    """
    daily, within = policy.failures_per_node_day * nodes, policy.common_s / DAY_S
    count = policy.common_nodes
    while YEAR_DAYS * daily**count * within ** (count - 1) / factorial(count - 1) >= 1:
        count += 1
    return count


def _found(node: Node, cause: Cause, since: Instant, rules: Rules) -> bool:
    lately = [fact.finding.code for fact in node.recent if fact.at >= since]
    return any(book.cause == cause for code in lately for book in rules.by_code.get(code, ()))
