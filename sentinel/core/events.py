"""What an agent saw becomes a fact of the cluster."""

from sentinel.model.fact import Fact, FindingReported, NodeProbed, RankExited, RankRaised
from sentinel.model.ids import Instant, NodeId
from sentinel.model.report import Event, ExitSeen, FindingSeen, OrderDone, ProbedSeen, RaisedSeen, Unreadable


def event_fact(event: Event, node: NodeId, now: Instant) -> Fact | None:
    """Stamp an agent's event with the time of its receipt; an order's end is no fact but an outcome."""
    match event:
        case ExitSeen():
            return RankExited(
                now,
                event.job,
                event.rank,
                event.worker,
                node,
                event.gpu,
                event.pid,
                event.generation,
                event.how,
            )
        case RaisedSeen():
            return RankRaised(
                now,
                event.job,
                event.rank,
                event.worker,
                node,
                event.gpu,
                event.pid,
                event.generation,
                event.step,
                event.kind,
                event.error,
                event.traceback,
                event.values,
            )
        case FindingSeen(finding=finding):
            return FindingReported(now, node, finding)
        case ProbedSeen(reason=reason):
            return NodeProbed(now, node, reason)
        case OrderDone() | Unreadable():
            return None
