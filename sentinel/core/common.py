"""What several nodes have at once: what they share is to blame, such as a rack, and no one of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import factorial, inf, log

from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Node
from sentinel.model.fact import FindingReported, NodeSilent
from sentinel.model.ids import DAY_S, Cause, Instant, NodeId, Seconds
from sentinel.model.incident import Domain, Incident, Shared
from sentinel.model.policy import Policy

YEAR_DAYS = 365.0

Sighting = tuple[Instant, NodeId]
"""When something was seen on which node."""


def domains(node: Node) -> Iterator[Domain | None]:
    """Give what a node is in and may fail as a whole: what its labels say, and the cluster (None)."""
    yield from (Domain(kind, name) for kind, name in node.labels.items())
    yield None


def lately(state: State, cause: Cause, rules: Rules) -> list[Sighting]:
    """Give nodes on which a check has lately found what a cause looks like."""
    since = state.now - rules.policy.common_s
    facts = (fact for node in state.nodes.values() if not node.left for fact in node.recent)
    return [(f.at, f.node) for f in facts if f.at >= since and _shows(f, cause, rules)]


def in_evidence(state: State, incident: Incident, cause: Cause, rules: Rules) -> list[Sighting]:
    """Give nodes on which an incident's evidence shows a cause: by findings, or else by being silent."""
    found = [fact for fact in incident.evidence if isinstance(fact, FindingReported)]
    seen = [(fact.at, fact.node) for fact in found if _shows(fact, cause, rules)]
    silent = (fact for fact in incident.evidence if isinstance(fact, NodeSilent))
    return seen or [(f.at, f.node) for f in silent if state.nodes[f.node].about == incident.id]


def found(node: Node, cause: Cause, rules: Rules) -> FindingReported | None:
    """Return the newest finding of the cause on a node, if it is an event or stands still."""
    for fact in reversed(node.recent):
        if _shows(fact, cause, rules):
            stands = fact.finding.event or fact.finding.name in node.findings
            return fact if stands else None
    return None


def shared(state: State, among: Iterable[NodeId], seen: Sequence[Sighting], policy: Policy) -> Shared | None:
    """Say what some nodes share with others on which the same was seen; None if these may be chance.

    Of all domains of theirs in which it was seen on too many at once, it is the one that explains best that
    it was seen on those and on no others; those in which just the same nodes are explain it as well.
    """
    nodes = [node for name in dict.fromkeys(name for _, name in seen) if not (node := state.nodes[name]).left]
    if len(nodes) < policy.common_nodes:
        return None
    likely: dict[tuple[float, int, tuple[NodeId, ...]], list[Domain]] = {}
    for domain in dict.fromkeys(each for name in among for each in domains(state.nodes[name])):
        inside = tuple(sorted(node.id for node in nodes if _is_in(node, domain)))
        if len(inside) < policy.common_nodes:
            continue
        size = _size(state, domain)
        sightings = [each for each in seen if _is_in(state.nodes[each[1]], domain)]
        if _at_once(sightings, policy.common_s) >= least(size, policy):
            fits = _hit(len(inside), size) + _by_chance(len(nodes) - len(inside), policy)
            likely.setdefault((fits, size, inside), []).extend([domain] if domain else [])
    if not likely:
        return None
    best = max(likely)
    inferred = not any(node.labels for node in state.nodes.values())
    return Shared(tuple(sorted(likely[best])), best[2], best[1], inferred)


def least(nodes: int, policy: Policy) -> int:
    """How many nodes at once are rarer than yearly if each fails by itself, as often as nodes do.

    Failures that come at a rate r fall k together within a time t about r^k t^(k-1) / (k-1)! times a day.
    """
    daily, within = policy.failures_per_node_day * nodes, policy.common_s / DAY_S
    count = policy.common_nodes
    while YEAR_DAYS * daily**count * within ** (count - 1) / factorial(count - 1) >= 1:
        count += 1
    return count


def _shows(fact: FindingReported, cause: Cause, rules: Rules) -> bool:
    return any(book.cause == cause for book in rules.by_code.get(fact.finding.code, ()))


def _is_in(node: Node, domain: Domain | None) -> bool:
    return domain is None or node.labels.get(domain.kind) == domain.name


def _size(state: State, domain: Domain | None) -> int:
    if domain is None:
        return state.here_count()
    return sum(_is_in(node, domain) and not node.left for node in state.nodes.values())


def _hit(count: int, size: int) -> float:
    """Log-likelihood that just `count` of `size` nodes are hit when what they share fails."""
    share = count / size
    return count * log(share) + ((size - count) * log(1 - share) if count < size else 0.0)


def _by_chance(count: int, policy: Policy) -> float:
    """Log-likelihood that so many others fail by themselves within `common_s`."""
    one = policy.failures_per_node_day * policy.common_s / DAY_S
    return 0.0 if not count else count * log(one) if one else -inf


def _at_once(seen: Iterable[Sighting], within: Seconds) -> int:
    """How many nodes it was seen on within so long of one another, at most."""
    ordered, first, most = sorted(seen), 0, 0
    here: Counter[NodeId] = Counter()
    for at, node in ordered:
        here[node] += 1
        while ordered[first][0] < at - within:
            here -= Counter([ordered[first][1]])
            first += 1
        most = max(most, len(here))
    return most
