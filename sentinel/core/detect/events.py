"""What an agent saw becomes a fact of the cluster."""

from sentinel.model.fact import Fact, FindingReported, NodeProbed, Origin, RankExited, RankRaised
from sentinel.model.ids import Instant, JobId, NodeId, Seconds, WorkerId
from sentinel.model.report import Event, ExitSeen, FindingSeen, OrderDone, ProbedSeen, RaisedSeen, Unreadable


def event_fact(event: Event, origin: Origin, now: Instant, late_s: Seconds = 0.0) -> Fact | None:
    """Stamp an agent's event with the time of its receipt; an order's end is no fact but an outcome.

    `late_s`: for how long the report that tells it has waited to be read.
    """
    match event:
        case ExitSeen():
            return RankExited(now, *_place(event, origin), event.how, origin, _age(event, late_s))
        case RaisedSeen():
            raised = event.step, event.kind, event.error, event.traceback, event.values
            return RankRaised(now, *_place(event, origin), *raised, origin, _age(event, late_s))
        case FindingSeen(finding=finding):
            return FindingReported(now, origin.source, finding, origin)
        case ProbedSeen(checks=checks, reason=reason, missing=missing):
            return NodeProbed(now, origin.source, reason, origin, checks, missing)
        case OrderDone() | Unreadable():
            return None


def _age(event: ExitSeen | RaisedSeen, late_s: Seconds) -> Seconds:
    return round(max(0.0, event.age_s) + late_s, 3)


def _place(
    event: ExitSeen | RaisedSeen, origin: Origin
) -> tuple[JobId, int, WorkerId, NodeId, int, int, int]:
    """Say which process an agent saw: job, rank, worker, node, GPU, pid, generation."""
    return event.job, event.rank, event.worker, origin.source, event.gpu, event.pid, event.generation
