"""What agents say, made into facts: greetings, reports, and the orders that they finished."""

from collections.abc import Callable

import structlog

from sentinel.adapters.transport import Reports
from sentinel.core.watch import Watch
from sentinel.model.fact import NodeJoined
from sentinel.model.ids import Instant, NodeId
from sentinel.model.report import Ack, Hello, Leave, OrderDone, Report, Unreadable
from sentinel.runtime.ledger import Ledger

log = structlog.get_logger(logger_name="inbox")


class Inbox:
    """Takes reports in, once each, and acknowledges what the journal holds."""

    def __init__(
        self,
        ledger: Ledger,
        watch: Watch,
        order_done: Callable[[OrderDone], None],
        now: Callable[[], Instant],
    ) -> None:
        self._ledger, self._watch, self._order_done, self._now = ledger, watch, order_done, now
        self._seen: dict[NodeId, tuple[str, int]] = {}
        """Boot and newest event of each node that were taken in."""
        self.refused = 0
        """Events that could not be read and were passed over."""
        self.closed = False
        """Sentinel is going down: agents that say hello are sent away."""

    async def listen(self, reports: Reports) -> None:
        """Serve until cancelled."""
        while True:
            node, message = await reports.recv()
            if isinstance(message, Report):
                if (newest := self._report(message)) is not None:
                    await reports.send(node, Ack(newest))
            elif self.closed:
                await reports.send(node, Leave("late"))
            else:
                self._hello(message)
                await reports.send(node, Ack(0))

    def _hello(self, hello: Hello) -> None:
        known = self._ledger.state.nodes.get(hello.node)
        said = (hello.boot, hello.port, hello.address, hello.gpus)
        fresh = known is None or (known.boot, known.port, known.address, known.gpus) != said
        log.info("agent", node=hello.node, address=hello.address, new=fresh)
        if fresh or (known is not None and (known.silent or known.left)):
            now = self._now()
            self._watch.hello(hello.node, now)
            joined = NodeJoined(now, hello.node, hello.address, hello.port, hello.gpus, hello.boot)
            self._ledger.absorb([joined])

    def _report(self, report: Report) -> int | None:
        """Take a report in; gives the event up to which the journal holds all, None for an unknown node.

        While the journal fails that is 0: nothing may be forgotten, and yet the node's lease is renewed.
        """
        if report.node not in self._ledger.state.nodes:
            return None  # its hello is on the way
        boot, seen = self._seen.get(report.node, (report.boot, -1))
        seen = seen if boot == report.boot else -1
        new = tuple((number, event) for number, event in report.events if number > seen)
        self._seen[report.node] = (report.boot, max((number for number, _ in report.events), default=seen))
        fresh = Report(report.node, report.boot, report.seq, report.beats, new)
        kept = self._ledger.absorb(self._watch.report(fresh, self._ledger.state, self._now()))
        for number, event in new:
            if isinstance(event, OrderDone):
                self._order_done(event)
            elif isinstance(event, Unreadable):
                self.refused += 1
                log.warning("event-refused", node=report.node, number=number, error=event.error)
        return self._seen[report.node][1] if kept else 0
