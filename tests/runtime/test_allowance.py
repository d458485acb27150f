"""A node tells as much as it may, in order, and loses nothing."""

from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.report import Event, FindingSeen, OrderDone, Report
from sentinel.runtime.allowance import BURST_BYTES, BYTES_PER_S, EVENT_BYTES, Allowance

NODE, OTHER = NodeId("n1"), NodeId("n2")


def seen(words: int = 600) -> FindingSeen:
    return FindingSeen(Finding("kernel", "xid", "gpu-0", Health.CRITICAL, "word " * words, event=True))


def report(node: NodeId, *events: Event, first: int = 1) -> Report:
    return Report(node, "boot", 1, (), tuple(enumerate(events, first)))


def test_a_flood_is_cut_and_others_are_heard() -> None:
    allowance = Allowance(lambda: 0.0)
    flood = report(NODE, *[seen()] * 4096)
    taken = allowance.cut(flood).events
    assert 0 < len(taken) < BURST_BYTES // EVENT_BYTES
    assert taken == flood.events[: len(taken)]
    assert allowance.cut(flood).events == ()
    ordinary = report(OTHER, *[seen(10)] * 200)
    assert allowance.cut(ordinary) == ordinary


def test_what_was_cut_is_taken_later() -> None:
    at = [0.0]
    allowance, passed = Allowance(lambda: at[0]), []
    flood = report(NODE, *[seen()] * 2000)
    while len(passed) < len(flood.events):
        passed += allowance.cut(report(NODE, *[seen()] * (2000 - len(passed)), first=len(passed) + 1)).events
        at[0] += 1.0
    assert tuple(passed) == flood.events
    assert at[0] < 2 * 2000 * (EVENT_BYTES + 3100) / BYTES_PER_S


def test_an_event_larger_than_all_that_is_allowed_waits_and_is_taken() -> None:
    at = [0.0]
    allowance = Allowance(lambda: at[0])
    large = OrderDone("stacks", True, "", ("x" * BURST_BYTES,))
    assert len(allowance.cut(report(NODE, seen(), large)).events) == 1
    at[0] += BURST_BYTES / BYTES_PER_S
    assert len(allowance.cut(report(NODE, large, first=2)).events) == 1


def test_beats_alone_cost_nothing() -> None:
    allowance = Allowance(lambda: 0.0)
    allowance.cut(report(NODE, *[seen()] * 4096))
    silent = report(NODE)
    assert allowance.cut(silent) is silent
