"""A node's part in collective checks: one measurement at a time, in a prober of its own."""

import dataclasses
import json
from collections import deque
from collections.abc import Iterator, Mapping

from sentinel.model.codec import to_plain
from sentinel.model.collective import PREPARE_S, CollectiveCheck
from sentinel.model.counted import counted
from sentinel.model.ids import Seconds
from sentinel.model.report import GetReady, MeasureNoMore, MeasureNow, OrderDone
from sentinel.runtime.agent.prober import Prober
from sentinel.runtime.agent.settings import AgentSettings
from sentinel.runtime.probe import PREPARE, Measured

_IDLE: Seconds = PREPARE_S + 30.0
"""A prober that has nothing to measure for so long is ended: it holds the libraries that it has loaded. One
that is ready waits for those that are not yet."""
NO_ANSWER = "no answer in time"
CALLED_OFF = "called off: the node is needed"


class Measures:
    """Orders to measure with other nodes, and the prober that does it.

    It is not the one that runs the node's own checks: whoever waits for a peer keeps no check waiting, and
    what hangs here accuses no GPU.
    """

    def __init__(self, settings: AgentSettings, checks: Mapping[str, CollectiveCheck]) -> None:
        self.prober = Prober(dataclasses.replace(settings, gpus="none"))
        self._checks = checks
        self._waiting: deque[tuple[MeasureNow | GetReady, Seconds]] = deque()
        """With the time by which each must be answered; the prober may be at the first."""
        self._given = False
        self._used: Seconds = 0.0
        self._refused: list[OrderDone] = []

    def begin(self, order: MeasureNow | GetReady, now: Seconds) -> None:
        """Take an order on."""
        within = order.within if isinstance(order, GetReady) else order.meeting.deadline
        if order.check not in self._checks:
            self._refused.append(
                OrderDone(order.order, False, f"no collective check {order.check!r:.80} here")
            )
            return
        self._waiting.append((order, now + within))
        self._used = now

    def call_off(self, order: MeasureNoMore, now: Seconds) -> Iterator[OrderDone]:
        """Stop what a probe has ordered, at once; what others have ordered goes on."""
        mine = [each for each, _ in self._waiting if each.order.startswith(f"{order.probe}#")]
        if self._given and mine and self._waiting[0][0] is mine[0]:
            self.prober.stop(now)
            self._given = False
        self._waiting = deque(each for each in self._waiting if each[0] not in mine)
        yield from (OrderDone(each.order, False, CALLED_OFF) for each in mine)
        yield OrderDone(order.order, True, f"called off {counted(len(mine), 'measurement')}")

    def run_due(self, now: Seconds) -> Iterator[OrderDone]:
        """Go on with what is ordered; give what became of what is not to be done any more."""
        yield from self._refused
        self._refused.clear()
        while self._waiting and now > self._waiting[0][1]:
            if self._given:
                self.prober.stop(now)
            yield self._ends(False, NO_ANSWER)
        if self.prober.overdue(now) or (not self._waiting and now > self._used + _IDLE):
            self.prober.stop(now)
        if self._waiting:
            self.prober.start(now)
            self._ask(now)

    def take_answers(self, now: Seconds) -> Iterator[OrderDone]:
        """Read what the prober says; give what has become of orders."""
        answers = self.prober.answers()
        if answers is None:
            self.prober.stop(now)
            if self._given:
                yield self._ends(False, "the prober died")
        for answer in answers or ():
            if isinstance(answer, Measured) and self._given:
                values = (json.dumps(dict(answer.values)),) if not answer.error else ()
                yield self._ends(not answer.error, answer.error or "measured", values)
        self._used = now
        self._ask(now)

    def _ask(self, now: Seconds) -> None:
        if self._waiting and not self._given and self.prober.pid and not self.prober.busy:
            order, until = self._waiting[0]
            self._given = True
            if isinstance(order, GetReady):
                self.prober.ask(PREPARE, until - now, now, order.check)
            else:
                self.prober.ask(order.check, until - now, now, json.dumps(to_plain(order.meeting)))

    def _ends(self, ok: bool, detail: str, values: tuple[str, ...] = ()) -> OrderDone:
        order, _ = self._waiting.popleft()
        self._given = False
        return OrderDone(order.order, ok, detail, values)

    def close(self) -> None:
        """End the prober."""
        self.prober.close()
