"""What agents say, made into facts: greetings, reports, and the orders that they finished."""

from collections.abc import Callable, Mapping

import structlog
from msgspec.structs import replace

from sentinel.adapters.transport import Reports
from sentinel.core.detect.once import speaks
from sentinel.core.detect.watch import Watch
from sentinel.model.ids import Instant, NodeId
from sentinel.model.report import Ack, Hello, Leave, OrderDone, Report, Unreadable
from sentinel.runtime.allowance import Allowance
from sentinel.runtime.ledger import Ledger
from sentinel.runtime.own_words import own_words

log = structlog.get_logger(logger_name="inbox")


class Inbox:
    """Takes reports in and acknowledges what the journal holds; the fold knows what it has heard before."""

    def __init__(
        self,
        ledger: Ledger,
        watch: Watch,
        order_done: Callable[[NodeId, OrderDone], None],
        now: Callable[[], Instant],
        placed: Callable[[NodeId], Mapping[str, str]] = lambda _node: {},
    ) -> None:
        """`placed` says where a node is: it counts more than what the node says of that itself."""
        self._placed = placed
        self._ledger, self._watch, self._order_done, self._now = ledger, watch, order_done, now
        self._answers: dict[NodeId, tuple[str, int]] = {}
        """Boot and number of each node's newest event that becomes no fact, so that no fact tells of it."""
        self._allowance = Allowance(now)
        self.refused = 0
        """Events that could not be read and were passed over."""
        self.metrics_ports: dict[NodeId, int] = {}
        """Where each agent that has said hello serves its metrics, 0 for nowhere."""
        self.closed = False
        """Sentinel is going down: agents that say hello are sent away."""

    async def listen(self, reports: Reports) -> None:
        """Serve until cancelled."""
        while True:
            node, message = await reports.recv()
            if (answer := self.hear(message)) is not None:
                await reports.send(node, answer)

    def hear(self, message: Hello | Report) -> Ack | Leave | None:
        """Take a message in; gives the answer; None where a hello is to come, or comes too often."""
        if isinstance(message, Report):
            return self._report(message) if speaks(message, self._ledger.state) else None
        if self.closed:
            return Leave("late")
        if not self._allowance.greets(message.node):
            return None
        self._hello(message)
        return Ack(0, journal=self._ledger.past)

    def _hello(self, hello: Hello) -> None:
        hello = replace(hello, labels={**hello.labels, **self._placed(hello.node)})
        self.metrics_ports[hello.node] = hello.metrics_port
        joined = self._watch.hello(hello, self._ledger.state, self._now())
        log.info("agent", node=hello.node, address=hello.address, new=bool(joined))
        self._ledger.absorb(joined)

    def _report(self, report: Report) -> Ack:
        """Take a report in; acknowledge the events up to which the journal holds all.

        While the journal fails that is 0: nothing may be forgotten, and yet the node's lease is renewed.
        """
        report = own_words(self._allowance.cut(report), self._ledger.state)
        kept = self._ledger.absorb(self._watch.report(report, self._ledger.state, self._now()))
        self._take_answers(report)
        newest = max((number for number, _ in report.events), default=0)
        return Ack(newest if kept else 0, report.boot, self._ledger.past)

    def _take_answers(self, report: Report) -> None:
        boot, taken = self._answers.get(report.node, ("", 0))
        for number, event in report.events:
            if boot == report.boot and number <= taken:
                continue
            if isinstance(event, OrderDone):
                self._order_done(report.node, event)
            elif isinstance(event, Unreadable):
                self.refused += 1
                log.warning("event-refused", node=report.node, number=number, error=event.error)
            else:
                continue
            self._answers[report.node] = (report.boot, number)
