"""How far nodes' clocks are off the controller's, which is the only one that decides anything."""

from collections.abc import Iterator
from typing import NamedTuple

from sentinel.core.state.rows import Node
from sentinel.model.fact import FindingReported
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import Instant, NodeId, Seconds
from sentinel.model.policy import Policy
from sentinel.model.report import Report

CHECK, CODE, COMPONENT = KEY = "clock_offset", "clock-differs", "clock"


class _Window(NamedTuple):
    """What a node's reports have shown since."""

    since: Instant
    least: Seconds
    """The least time from a report's sending, by the node, to its receipt, by the controller."""
    reports: int


class Clocks:
    """Compares what a report says of its sending with when it came: that is delay, less the node's lead.

    Of many the one with the least delay says most, as in NTP's clock filter. One way can't tell a clock that
    is behind from reports that all take long; a clock ahead by more than the delay is surely so.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._windows: dict[NodeId, _Window] = {}
        self._least: dict[NodeId, Seconds] = {}
        """Of each node's last whole window."""

    def late(self, report: Report, now: Instant) -> Seconds:
        """Say how much longer a report took than the quickest of its node; 0 where none is known."""
        known = [self._least[report.node]] if report.node in self._least else []
        known += [self._windows[report.node].least] if report.node in self._windows else []
        return max(0.0, now - report.sent - min(known)) if known and report.sent else 0.0

    def take(self, report: Report, node: Node | None, now: Instant) -> Iterator[FindingReported]:
        """Take a report in; tells when a clock is off by too much for a whole window, and when no more."""
        if not report.sent or node is None:
            return
        since, least, reports = self._windows.get(report.node, _Window(now, now - report.sent, 0))
        window = _Window(since, min(least, now - report.sent), reports + 1)
        if now - since < self._policy.clock_window_s:
            self._windows[report.node] = window
            return
        del self._windows[report.node]
        self._least[report.node] = window.least
        if window.reports >= self._policy.several:
            yield from self._judge(node, window.least, now)

    def _judge(self, node: Node, behind: Seconds, now: Instant) -> Iterator[FindingReported]:
        known = node.findings.get("|".join(KEY))
        if abs(behind) < self._policy.clock_offset_s:
            if known is not None and abs(behind) < self._policy.clock_offset_s / 2:
                said = "its clock is near the controller's again"
                yield FindingReported(now, node.id, Finding(*KEY, Health.OK, said))
            return
        where = "behind the controller's, or its reports take that long" if behind > 0 else "ahead of it"
        said = f"its clock is {self._policy.clock_offset_s:g} s or more {where}"
        if known is None or known.summary != said:
            evidence = {"offset_s": round(-behind, 3)}
            yield FindingReported(now, node.id, Finding(*KEY, Health.WARNING, said, evidence))
