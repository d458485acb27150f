"""What the controller may ask of an agent, and what the agent does about it."""

import math
import time
from collections.abc import Callable
from typing import assert_never

from sentinel.model.ids import Seconds, WorkerId
from sentinel.model.report import (
    Ack,
    GetReady,
    KillWorker,
    Leave,
    LogsNow,
    MeasureNoMore,
    MeasureNow,
    Order,
    OrderDone,
    ProbeNow,
    ResetGpus,
    StacksNow,
)
from sentinel.runtime.agent.kills import Kills
from sentinel.runtime.agent.lease import Lease
from sentinel.runtime.agent.process_logs import LogTaker
from sentinel.runtime.agent.ranks import Ranks
from sentinel.runtime.agent.resets import Resets
from sentinel.runtime.agent.spool import Spool
from sentinel.runtime.agent.stacks import StackTaker

_LEAVE_WAIT: Seconds = 2.0
"""A controller that has told its agent to leave may be gone before it acknowledges the answer."""


class Orders:
    """Obeys one order after the other; what became of it goes into the spool."""

    def __init__(
        self,
        ranks: Ranks,
        spool: Spool,
        lease: Lease,
        stacks: StackTaker,
        logs: LogTaker,
        resets: Resets,
        boot: str,
        *,
        look: Callable[[], None],
        probe_now: Callable[[str, Seconds], None],
        measure_now: Callable[[MeasureNow | GetReady], None],
        measure_no_more: Callable[[MeasureNoMore], None],
        let_go: Callable[[], None],
    ) -> None:
        self.leaving = False
        """It was told to go, and the controller knows that it does."""
        self._leave_by = math.inf
        self._ranks = ranks
        self._spool = spool
        self._lease = lease
        self._stacks = stacks
        self._logs = logs
        self._resets = resets
        self._boot = boot
        self._kills = Kills(ranks, spool)
        self._look = look
        self._probe_now = probe_now
        self._measure_now = measure_now
        self._measure_no_more = measure_no_more
        self._let_go = let_go

    def obey(self, order: Order) -> None:
        """Do what can be done at once, begin the rest."""
        match order:
            case Ack():
                if order.boot in ("", self._boot):
                    self._spool.acknowledge(order.event)
                self._lease.renew()
            case ProbeNow():
                self._probe_now(order.reason, order.within)
            case MeasureNow() | GetReady():
                self._measure_now(order)
            case MeasureNoMore():
                self._measure_no_more(order)
            case KillWorker():
                self._look()  # its record may be younger than the last look
                self._kills.obey(order)
            case Leave():
                self._leave(order)
            case StacksNow():
                here = self._ranks.pid_here  # what is no rank of ours is not looked into
                processes = tuple((rank, here(rank, pid)) for rank, pid in order.processes)
                records = self._ranks.records_of(order.processes)
                self._stacks.begin(StacksNow(order.order, processes, order.deadline), records)
            case LogsNow():
                self._look()
                self._logs.begin(order, self._ranks.logs())
            case ResetGpus():
                self._reset(order)
            case _:
                assert_never(order)

    def ended(self, worker: WorkerId, pid: int) -> None:
        """Answer whoever waits for the end of this worker's process."""
        self._kills.ended(worker, pid)

    def give_up(self) -> None:
        """End the waiting that has taken too long."""
        self._kills.give_up()
        if time.monotonic() > self._leave_by:
            self._go()

    def _reset(self, order: ResetGpus) -> None:
        """Reset GPUs if no rank lives here: who ordered it may not know of one that has just come."""
        self._look()
        if any(self._ranks.pids()):
            self._spool.add(OrderDone(order.order, False, "not reset: ranks live here"))
        else:
            self._let_go()
            self._resets.begin(order)

    def _leave(self, order: Leave) -> None:
        """Go once the controller knows of it; while ranks live here, stay with them."""
        if any(self._ranks.pids()):
            self._spool.add(OrderDone(order.order, False, "ranks live here"))
            return
        self._leave_by = time.monotonic() + _LEAVE_WAIT
        self._spool.add(OrderDone(order.order, True, "leaves"), self._go)

    def _go(self) -> None:
        self.leaving = True
