"""The agent's loop: over everything that can happen on a node."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import structlog
import zmq

from sentinel import __version__
from sentinel.adapters import agent_card as card
from sentinel.adapters.kernel_log import follow
from sentinel.adapters.uplink import Uplink
from sentinel.checks import load, load_collective
from sentinel.gang.snapshot_holder import SnapshotHolder
from sentinel.model.check import Series, series
from sentinel.model.ids import Seconds
from sentinel.model.report import Ack, Event, GetReady, Hello, MeasureNoMore, MeasureNow, Unreadable
from sentinel.runtime.agent.findings import FindingBook
from sentinel.runtime.agent.lease import Lease
from sentinel.runtime.agent.measures import Measures
from sentinel.runtime.agent.metrics import MetricsServer, OwnProcess, Values, of_ranks
from sentinel.runtime.agent.notes import Notes
from sentinel.runtime.agent.orders import Orders
from sentinel.runtime.agent.probes import Probes
from sentinel.runtime.agent.process import nudge_socket
from sentinel.runtime.agent.process_logs import LogTaker
from sentinel.runtime.agent.ranks import Ended, Ranks
from sentinel.runtime.agent.reporter import Reporter
from sentinel.runtime.agent.resets import Resets
from sentinel.runtime.agent.settings import AgentSettings
from sentinel.runtime.agent.spool import Spool
from sentinel.runtime.agent.stacks import StackTaker

log = structlog.get_logger(logger_name="agent")

_TICK: Seconds = 0.1
"""How often a kernel log is looked at that can't wake us, such as a file; an exit looks at once."""


class Agent:
    """One node's agent, from its start to its end."""

    def __init__(self, settings: AgentSettings, uplink: Uplink, holder: SnapshotHolder) -> None:
        self.stopping = False
        self._settings = settings
        self._uplink = uplink
        self._holder = holder
        memory = settings.memory
        self._ranks = Ranks(memory / "beats")
        self._spool = Spool()
        self._kernel_log = follow(settings.kernel_log, memory / "kernel-log")
        book = FindingBook(memory / "findings.json")
        self._probes = Probes(settings, load(), book, self._kernel_log, self._ranks.processes)
        self._measures = Measures(settings, load_collective())
        self._notes = Notes(memory / "errors", self._spool, self._ranks)
        self._nudge = nudge_socket(memory / "nudge")
        self._stacks = StackTaker(memory / "nudge")
        self._logs = LogTaker(memory / "nudge")
        self._resets = Resets(memory / "nudge", settings.gpus, settings.nvidia_smi)
        self._boot = _boot()
        self._orders = Orders(
            self._ranks,
            self._spool,
            Lease(memory / "lease"),
            self._stacks,
            self._logs,
            self._resets,
            self._boot,
            look=self._look,
            probe_now=self._probe_now,
            measure_now=self._measure_now,
            measure_no_more=self._measure_no_more,
            let_go=self._let_go,
        )
        self._metrics: MetricsServer | None = None
        if settings.metrics_port >= 0:
            served = settings.address, settings.metrics_port, self._values, settings.cluster
            self._metrics = MetricsServer(*served, OwnProcess(settings.cluster))
        self._reporter = Reporter(uplink, self._hello(), self._ranks, self._spool, self._probes)
        self._poller = zmq.Poller()
        self._handlers: dict[Any, Callable[[], None]] = {}
        self._next_report = 0.0

    @property
    def leaving(self) -> bool:
        """Told to leave this node for good, rather than to stop."""
        return self._orders.leaving

    # --- the loop

    def run(self) -> None:
        """Watch until told to stop. Raises AgentError when the controller refuses the first connection."""
        self._on(self._uplink.socket, self._take_orders)
        self._on(self._uplink.monitor, self._reporter.follow_connection)
        self._on(self._nudge.fileno(), self._take_nudges)
        if self._kernel_log.fileno() >= 0:
            self._on(self._kernel_log.fileno(), self._probe_due)
        self._write_card()
        while not (self.stopping or self.leaving):
            self._turn()

    def _turn(self) -> None:
        before = self._spool.added
        for ready, _ in self._poller.poll(self._timeout_ms()):
            handler = self._handlers.get(ready)
            if handler is not None:
                handler()
        if not self._spool:  # all that was read is told, and what was told is journalled
            self._probes.settle(time.monotonic())
        now = time.monotonic()
        tick = now >= self._next_report
        if tick:
            self._look()
            self._next_report = now + self._settings.report_every
        self._probe_due()
        if tick or self._spool.added > before:
            self._reporter.report(now)

    def _timeout_ms(self) -> int:
        if self._probes.behind:
            return 0
        until = self._next_report - time.monotonic()
        tick = _TICK if self._kernel_log.fileno() < 0 else until
        return max(0, int(min(until, tick) * 1000) + 1)

    def _on(self, source: Any, handler: Callable[[], None]) -> None:
        self._poller.register(source, zmq.POLLIN)
        self._handlers[source] = handler

    def _off(self, source: Any) -> None:
        if self._handlers.pop(source, None) is not None:
            self._poller.unregister(source)

    # --- ranks

    def _look(self) -> None:
        """Read every heartbeat record and exception file; begin to watch new processes."""
        for ended in self._ranks.refresh():
            self._tell_end(ended)
        for pidfd in self._ranks.pidfds:
            if pidfd not in self._handlers:
                self._on(pidfd, lambda pidfd=pidfd: self._reap(pidfd))  # type: ignore[misc]
        self._notes.collect()
        self._orders.give_up()

    def _reap(self, pidfd: int) -> None:
        self._off(pidfd)
        ended = self._ranks.reap(pidfd)
        if ended is not None:
            self._tell_end(ended)

    def _tell_end(self, ended: Ended) -> None:
        """Report the exit at once; what the machine says about it follows."""
        event = ended.event
        log.info("rank-exited", rank=event.rank, worker=event.worker, pid=event.pid, how=event.how)
        self._spool.add(event, ended.remove_record)
        self._orders.ended(event.worker, event.pid)
        self._reporter.report(time.monotonic())
        self._probe_now(f"exit:{event.pid}")

    def _take_nudges(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._nudge.recv(16)
        self._spool_all([*self._stacks.done(), *self._logs.done(), *self._resets.done()])
        self._look()

    # --- checks

    def _probe_due(self) -> None:
        self._probes.hold(held=self._resets.are_running)
        self._spool_all(self._probes.run_due(time.monotonic(), self._ranks.beats))
        self._spool_all(self._measures.run_due(time.monotonic()))
        self._watch_probers()

    def _probe_now(self, reason: str, within: Seconds = 0.0) -> None:
        self._spool_all(self._probes.run_urgent(reason, time.monotonic(), self._ranks.beats, within))

    def _measure_now(self, order: MeasureNow | GetReady) -> None:
        self._measures.begin(order, time.monotonic())
        self._probe_due()

    def _measure_no_more(self, order: MeasureNoMore) -> None:
        self._spool_all(self._measures.call_off(order, time.monotonic()))
        self._probe_due()

    def _let_go(self) -> None:
        """Let go of the GPUs: no child of ours keeps them from being reset."""
        self._probes.hold(held=True)
        self._measures.prober.close()

    def _watch_probers(self) -> None:
        output = self._probes.prober.output
        if output >= 0 and output not in self._handlers:
            self._on(output, lambda: self._take_answers(output))
            self._write_card()
        measured = self._measures.prober.output
        if measured >= 0 and measured not in self._handlers:
            self._on(measured, lambda: self._take_measured(measured))

    def _take_answers(self, output: int) -> None:
        if output != self._probes.prober.output:
            self._off(output)
            return
        self._spool_all(self._probes.take_answers(time.monotonic(), self._ranks.beats))
        if self._probes.prober.output != output:
            self._off(output)

    def _take_measured(self, output: int) -> None:
        if output == self._measures.prober.output:
            self._spool_all(self._measures.take_answers(time.monotonic()))
        if output != self._measures.prober.output:
            self._off(output)

    def _spool_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self._spool.add(event)

    # --- the controller

    def _take_orders(self) -> None:
        for order in self._uplink.orders():
            if isinstance(order, Unreadable):
                log.warning("order-refused", error=order.error)
            else:
                self._orders.obey(order)
                if isinstance(order, Ack):
                    self._spool_all(self._probes.meet(order.journal))
        self._reporter.follow_connection()  # it may have been told that it is not believed

    # --- what others read

    def _values(self) -> Values:
        """All metrics, for the server's thread: only reads, and copies before it iterates."""
        probes, spool = self._probes, self._spool
        values: dict[Series, float] = {
            series("agent_connected"): self._uplink.connected,
            series("agent_reports_total"): self._reporter.sent,
            series("agent_events_total"): spool.added,
            series("agent_events_dropped_total"): spool.dropped,
            series("agent_events_pending"): len(spool),
            series("agent_ranks"): len(tuple(self._ranks.pids())),
            series("agent_info", version=__version__): 1.0,
            **dict(of_ranks(self._ranks.beats())),
            **dict(probes.counters),
        }
        for check, took_s in tuple(probes.durations.items()):
            values[series("check_duration_seconds", check=check)] = took_s
        for gauges in tuple(probes.gauges.values()):
            values |= gauges
        return values | probes.standing()

    def _hello(self) -> Hello:
        settings, metrics_port = self._settings, self._metrics.port if self._metrics else 0
        place = settings.node, self._boot, settings.address, self._holder.address[1]
        return Hello(*place, gpus=0, metrics_port=metrics_port, labels=settings.labels)

    def _write_card(self) -> None:
        """Leave pid and ports where people and the demo find them."""
        mine = card.Card(
            node=self._settings.node,
            pid=os.getpid(),
            prober_pid=self._probes.prober.pid,
            snapshot_port=self._holder.address[1],
            metrics_port=self._metrics.port if self._metrics else 0,
        )
        card.write(self._settings.memory, mine)

    def close(self) -> None:
        """End the prober and let go of everything; ranks go on."""
        self._probes.close()
        self._measures.close()
        self._nudge.close()
        if self._metrics:
            self._metrics.close()
        self._kernel_log.close()


def _boot() -> str:
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}-{time.monotonic_ns()}"
