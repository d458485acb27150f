"""How much each node may tell at once: whoever has one node's key keeps no other from being heard."""

from collections.abc import Callable

from msgspec.structs import replace

from sentinel.model.codec import encode
from sentinel.model.ids import NodeId, Seconds
from sentinel.model.report import Event, Report

BURST_BYTES = 512 * 1024
"""Taken in within half a second even on a busy machine; 200 events, all that an agent tells at once, fit."""
BYTES_PER_S = 128 * 1024
HELLO_BYTES = 16 * 1024
"""A hello with another boot is a fact, and has a job's places looked at again."""
EVENT_BYTES = 1024
"""To fold an event and to journal it costs about as much as to read so many bytes."""


class Allowance:
    """Cuts reports to what their nodes may tell; the rest is not acknowledged, so agents tell it again."""

    def __init__(self, clock: Callable[[], Seconds]) -> None:
        self._clock = clock
        self._left: dict[NodeId, tuple[float, Seconds]] = {}
        """Bytes, and when it was so many."""

    def cut(self, report: Report) -> Report:
        """Leave out the events, from some number on, that the node may not tell now."""
        if not report.events:
            return report
        left, now = self._of(report.node), self._clock()
        taken: list[tuple[int, Event]] = []
        for number, event in report.events:
            cost = EVENT_BYTES + len(encode(event))
            if cost > left < BURST_BYTES:  # one that is larger than all that is allowed waits for all of it
                break
            taken.append((number, event))
            left -= cost
        self._left[report.node] = left, now
        return report if len(taken) == len(report.events) else replace(report, events=tuple(taken))

    def greets(self, node: NodeId) -> bool:
        """Say whether a node may say hello now, and count that it does."""
        left, now = self._of(node), self._clock()
        if left < HELLO_BYTES:
            return False
        self._left[node] = left - HELLO_BYTES, now
        return True

    def _of(self, node: NodeId) -> float:
        now = self._clock()
        left, since = self._left.get(node, (BURST_BYTES, now))
        return min(left + (now - since) * BYTES_PER_S, BURST_BYTES)
