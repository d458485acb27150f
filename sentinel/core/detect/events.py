"""What an agent saw becomes a fact of the cluster."""

from sentinel.model.fact import Fact, FindingReported, NodeProbed, Origin, RankExited, RankRaised
from sentinel.model.ids import Instant
from sentinel.model.report import Event, ExitSeen, FindingSeen, OrderDone, ProbedSeen, RaisedSeen, Unreadable


def event_fact(event: Event, origin: Origin, now: Instant) -> Fact | None:
    """Stamp an agent's event with the time of its receipt; an order's end is no fact but an outcome."""
    match event:
        case ExitSeen():
            return RankExited(
                now,
                event.job,
                event.rank,
                event.worker,
                origin.source,
                event.gpu,
                event.pid,
                event.generation,
                event.how,
                origin,
            )
        case RaisedSeen():
            return RankRaised(
                now,
                event.job,
                event.rank,
                event.worker,
                origin.source,
                event.gpu,
                event.pid,
                event.generation,
                event.step,
                event.kind,
                event.error,
                event.traceback,
                event.values,
                origin,
            )
        case FindingSeen(finding=finding):
            return FindingReported(now, origin.source, finding, origin)
        case ProbedSeen(reason=reason):
            return NodeProbed(now, origin.source, reason, origin)
        case OrderDone() | Unreadable():
            return None
