"""What of a report its node can know: it speaks of its own workers, and of so many states at once."""

from msgspec.structs import replace

from sentinel.core.state import State
from sentinel.model.ids import JobId, NodeId, WorkerId
from sentinel.model.report import Event, ExitSeen, FindingSeen, RaisedSeen, Report, Unreadable

MOST_FINDINGS = 1024
"""Standing states of one node; the checks of a node with 16 GPUs make some hundred."""


MOST_WORDS = 64 * 1024
"""Characters of a finding, or of an exception; what an agent tells is cut long before."""


def own_words(report: Report, state: State) -> Report:
    """Leave out what is said of other nodes' workers; `Unreadable` stands for such an event.

    Whoever has one node's key speaks for that node, and can accuse no other.
    """
    own = (beat for beat in report.beats if _is_own(beat.job, beat.worker, report.node, state))
    beats = tuple({(beat.job, beat.worker): beat for beat in own}.values())  # one beat for each rank
    events = tuple((number, _own(event, report.node, state)) for number, event in report.events)
    return replace(report, beats=beats, events=events)


def _own(event: Event, node: NodeId, state: State) -> Event:
    if _words(event) > MOST_WORDS:
        return Unreadable(f"longer than {MOST_WORDS} characters")
    match event:
        case ExitSeen() | RaisedSeen():
            if not _is_own(event.job, event.worker, node, state):
                return Unreadable(f"{event.worker} is another node's worker")
        case FindingSeen(finding=finding):
            known = state.nodes[node].findings if node in state.nodes else {}
            if len(known) >= MOST_FINDINGS and not finding.event and finding.name not in known:
                return Unreadable(f"{node} has {MOST_FINDINGS} findings already")
        case _:
            pass
    return event


def _words(event: Event) -> int:
    match event:
        case RaisedSeen():
            return len(event.error) + len(event.traceback)
        case FindingSeen(finding=finding):
            said = sum(len(key) + len(str(value)) for key, value in finding.evidence.items())
            return said + len(finding.summary) + len(finding.component) + len(finding.burst)
        case _:
            return 0


def _is_own(job: JobId, worker: WorkerId, node: NodeId, state: State) -> bool:
    """Say whether a worker is this node's, or nobody's that is known."""
    known = state.workers.get(job, worker)
    return known is None or known.node == node
