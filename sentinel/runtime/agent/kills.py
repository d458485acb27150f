"""Ending ranks on the controller's order, and saying when they are gone."""

import time

from msgspec.structs import replace

from sentinel.model.ids import Seconds, WorkerId
from sentinel.model.report import KillWorker, OrderDone
from sentinel.runtime.agent.ranks import Ranks
from sentinel.runtime.agent.spool import Spool

_WAIT: Seconds = 5.0
"""A killed process that is not gone by then sleeps in the kernel."""


class Kills:
    """Kill orders that wait for their process to end."""

    def __init__(self, ranks: Ranks, spool: Spool) -> None:
        self._ranks = ranks
        self._spool = spool
        self._waiting: dict[str, tuple[KillWorker, Seconds]] = {}

    def obey(self, order: KillWorker) -> None:
        """Kill the worker, or answer at once why that is not to be done."""
        order = replace(order, pid=order.pid or self._ranks.pid_of(order.worker))
        if self._ranks.has_ended(order.worker, order.pid):
            self._spool.add(OrderDone(order.order, True, f"{order.worker} had ended already"))
            return
        refusal = self._ranks.kill(order.worker, order.pid)
        if refusal:
            self._spool.add(OrderDone(order.order, False, refusal))
        else:
            self._waiting[order.order] = (order, time.monotonic() + _WAIT)

    def ended(self, worker: WorkerId, pid: int) -> None:
        """Answer every order that waited for this worker's process to end."""
        ended = (worker, pid)
        for order, _ in [each for each in self._waiting.values() if (each[0].worker, each[0].pid) == ended]:
            del self._waiting[order.order]
            self._spool.add(OrderDone(order.order, True, f"{order.worker} is killed and gone"))

    def give_up(self) -> None:
        """Answer the orders whose process does not end."""
        now = time.monotonic()
        for order, _ in [each for each in self._waiting.values() if now > each[1]]:
            del self._waiting[order.order]
            detail = f"{order.worker} is killed but does not end: it sleeps in the kernel"
            self._spool.add(OrderDone(order.order, False, detail))
