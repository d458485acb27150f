"""The agent: watches one node and reports. It never stops a healthy run, also not by its own death."""

import contextlib
import json
import math
import os
import queue
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, assert_never

import zmq

from sentinel import __version__
from sentinel.adapters.kernel_log import follow
from sentinel.adapters.keys import KeyFileError, Keys
from sentinel.adapters.uplink import Link, Uplink
from sentinel.checks import CheckError, load
from sentinel.gang.snapshot_holder import SnapshotHolder
from sentinel.model.ids import Seconds
from sentinel.model.report import (
    Ack,
    Event,
    Hello,
    KillWorker,
    Leave,
    Order,
    OrderDone,
    ProbeNow,
    Report,
    StacksNow,
)
from sentinel.model.wire import WireError
from sentinel.runtime import agent_stacks
from sentinel.runtime.agent_findings import FindingBook
from sentinel.runtime.agent_kills import Kills
from sentinel.runtime.agent_lease import Lease
from sentinel.runtime.agent_metrics import MetricsServer
from sentinel.runtime.agent_notes import Notes
from sentinel.runtime.agent_probes import Probes
from sentinel.runtime.agent_process import EXIT_REFUSED, AgentError, lock, log, nudge_socket
from sentinel.runtime.agent_ranks import Ended, Ranks
from sentinel.runtime.agent_settings import AgentSettings, parse
from sentinel.runtime.agent_spool import Spool

_TICK: Seconds = 0.1
"""How often a kernel log file is looked at; an exit looks at once."""
_HELLO_WAIT: Seconds = 1.0
"""How long the first message waits for the prober to say how many GPUs there are."""
_LEAVE_WAIT: Seconds = 2.0
"""A controller that has told its agent to leave may be gone before it acknowledges the answer."""


class Agent:
    """One loop over everything that can happen on a node."""

    def __init__(self, settings: AgentSettings, uplink: Uplink, holder: SnapshotHolder) -> None:
        self.stopping = self.leaving = False
        self._leave_by = math.inf
        self._settings = settings
        self._uplink = uplink
        self._holder = holder
        memory = settings.memory
        self._ranks = Ranks(memory / "beats")
        self._spool = Spool()
        self._lease = Lease(memory / "lease")
        self._kernel_log = follow(settings.kernel_log)
        self._probes = Probes(settings, load(), FindingBook(memory / "findings.json"), self._kernel_log)
        self._notes = Notes(memory / "errors", self._spool)
        self._kills = Kills(self._ranks, self._spool)
        self._done: queue.SimpleQueue[OrderDone] = queue.SimpleQueue()
        self._nudge = nudge_socket(memory / "nudge")
        self._poller = zmq.Poller()
        self._handlers: dict[Any, Callable[[], None]] = {}
        self._boot = f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}-{os.getpid()}"
        self._metrics: MetricsServer | None = None
        if settings.metrics_port >= 0:
            self._metrics = MetricsServer(settings.address, settings.metrics_port, self._values)
        self._seq = 0
        self._started = time.monotonic()
        self._next_report = 0.0
        self._hello_due = False
        self._told_gpus: int | None = None
        self._was_connected = False

    # --- the loop

    def run(self) -> None:
        """Watch until told to stop. Raises AgentError when the controller refuses the first connection."""
        self._on(self._uplink.socket, self._take_orders)
        self._on(self._uplink.monitor, self._follow_connection)
        self._on(self._nudge.fileno(), self._take_nudges)
        if self._kernel_log.fileno() >= 0:
            self._on(self._kernel_log.fileno(), self._probe_due)
        self._write_card()
        while not self.stopping:
            self._turn()

    def _turn(self) -> None:
        before = self._spool.added
        for ready, _ in self._poller.poll(self._timeout_ms()):
            handler = self._handlers.get(ready)
            if handler is not None:
                handler()
        self._probe_due()
        now = time.monotonic()
        tick = now >= self._next_report
        if tick:
            self._look()
            self._next_report = now + self._settings.report_every
        if tick or self._spool.added > before:
            self._report(now)

    def _timeout_ms(self) -> int:
        until = self._next_report - time.monotonic()
        return max(0, int(min(until, _TICK) * 1000) + 1)

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
        self._kills.give_up()
        if time.monotonic() > self._leave_by:
            self._go()

    def _reap(self, pidfd: int) -> None:
        self._off(pidfd)
        ended = self._ranks.reap(pidfd)
        if ended is not None:
            self._tell_end(ended)

    def _tell_end(self, ended: Ended) -> None:
        """Report the exit at once; what the machine says about it follows."""
        event = ended.event
        log("rank-exited", rank=event.rank, worker=event.worker, pid=event.pid, how=event.how)
        self._spool.add(event, ended.remove_record)
        self._kills.ended(event.pid)
        self._report(time.monotonic())
        self._probe_now(f"exit:{event.pid}")

    def _take_nudges(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._nudge.recv(16)
        while not self._done.empty():
            self._spool.add(self._done.get())
        self._look()

    # --- checks

    def _probe_due(self) -> None:
        self._spool_all(self._probes.run_due(time.monotonic(), self._ranks.beats))
        self._watch_prober()

    def _probe_now(self, reason: str) -> None:
        self._spool_all(self._probes.run_urgent(reason, time.monotonic(), self._ranks.beats))

    def _watch_prober(self) -> None:
        output = self._probes.prober.output
        if output >= 0 and output not in self._handlers:
            self._on(output, lambda: self._take_answers(output))
            self._write_card()

    def _take_answers(self, output: int) -> None:
        if output != self._probes.prober.output:
            self._off(output)
            return
        self._spool_all(self._probes.take_answers(time.monotonic()))
        if self._probes.prober.output != output:
            self._off(output)

    def _spool_all(self, events: list[Event]) -> None:
        for event in events:
            self._spool.add(event)

    # --- the controller

    def _report(self, now: Seconds) -> None:
        gpus = self._probes.gpus
        if not self._uplink.connected or (gpus is None and now - self._started < _HELLO_WAIT):
            return
        if self._hello_due or gpus != self._told_gpus:
            self._hello_due = not self._uplink.send(self._hello(gpus or 0))
            self._told_gpus = gpus
        self._seq += 1
        self._uplink.send(
            Report(self._settings.node, self._boot, self._seq, self._ranks.beats(), self._spool.pending())
        )

    def _hello(self, gpus: int) -> Hello:
        port = self._metrics.port if self._metrics else 0
        return Hello(
            self._settings.node,
            self._boot,
            self._settings.address,
            self._holder.address[1],
            gpus,
            __version__,
            port,
        )

    def _follow_connection(self) -> None:
        for change in self._uplink.changes():
            match change:
                case Link.UP:
                    log("controller-connected", controller=self._uplink.endpoint)
                    self._hello_due = self._was_connected = True
                    self._report(time.monotonic())
                case Link.DOWN:
                    log("controller-lost", controller=self._uplink.endpoint, spooled=len(self._spool))
                case Link.REFUSED if self._was_connected:  # held snapshots are worth more than an exit
                    log("controller-refused", error=self._uplink.refusal)
                case Link.REFUSED:
                    raise AgentError(self._uplink.refusal, EXIT_REFUSED)
                case _:
                    assert_never(change)

    def _take_orders(self) -> None:
        try:
            orders = self._uplink.orders()
        except WireError as error:
            log("order-refused", error=str(error))
            return
        for order in orders:
            self._obey(order)

    def _obey(self, order: Order) -> None:
        match order:
            case Ack():
                self._spool.acknowledge(order.event)
                if order.lease:
                    self._lease.renew()
            case ProbeNow():
                self._probe_now(order.reason)
            case KillWorker():
                self._look()  # its record may be younger than the last look
                self._kills.obey(order)
            case Leave():
                self._leave(order)
            case StacksNow():
                threading.Thread(target=self._collect_stacks, args=(order,), daemon=True).start()
            case _:
                assert_never(order)

    def _leave(self, order: Leave) -> None:
        """Go once the controller knows of it; while ranks live here, stay with them."""
        if any(self._ranks.pids()):
            self._spool.add(OrderDone(order.order, False, "ranks live here"))
            return
        self._leave_by = time.monotonic() + _LEAVE_WAIT
        self._spool.add(OrderDone(order.order, True, "leaves"), self._go)

    def _go(self) -> None:
        self.stopping = self.leaving = True

    def _collect_stacks(self, order: StacksNow) -> None:
        complete, stacks = agent_stacks.collect(order.processes, order.deadline)
        detail = f"stacks of {len(stacks)} processes" + ("" if complete else ", not all complete")
        self._done.put(OrderDone(order.order, complete, detail, stacks))
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nudge:
            nudge.sendto(b"", str(self._settings.memory / "nudge"))

    # --- what others read

    def _values(self) -> Mapping[str, float]:
        """All metrics, for the server's thread: only reads, and copies before it iterates."""
        probes, spool = self._probes, self._spool
        values: dict[str, float] = {
            "agent_connected": float(self._uplink.connected),
            "agent_reports_total": float(self._seq),
            "agent_events_total": float(spool.added),
            "agent_events_dropped_total": float(spool.dropped),
            "agent_events_pending": float(len(spool)),
            "agent_ranks": float(len(tuple(self._ranks.pids()))),
            **dict(probes.counters),
        }
        for gauges in tuple(probes.gauges.values()):
            values |= gauges
        return values | probes.standing()

    def _write_card(self) -> None:
        """Leave pid and ports where people and the demo find them."""
        path = self._settings.memory / "agent.json"
        card = {
            "node": self._settings.node,
            "pid": os.getpid(),
            "prober_pid": self._probes.prober.pid,
            "snapshot_port": self._holder.address[1],
            "metrics_port": self._metrics.port if self._metrics else 0,
        }
        draft = path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full memory directory must not end the watching
            draft.write_text(json.dumps(card))
            draft.replace(path)

    def close(self) -> None:
        """End the prober and let go of everything; ranks go on."""
        self._probes.close()
        self._nudge.close()
        if self._metrics:
            self._metrics.close()
        self._kernel_log.close()


def _holder(settings: AgentSettings, keys: Keys) -> SnapshotHolder:
    """Open the door of the last agent's holder again, where ranks of other nodes send their copies."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        port = json.loads((settings.memory / "agent.json").read_text())["snapshot_port"]
        return SnapshotHolder(settings.memory, settings.address, port, key=keys.snapshot_secret)
    return SnapshotHolder(settings.memory, settings.address, key=keys.snapshot_secret)


def run(settings: AgentSettings) -> None:
    """Be the agent of one node until SIGTERM or SIGINT. Raises AgentError."""
    locked = lock(settings.memory, settings.node)
    try:
        keys = Keys(settings.keys)
        uplink = Uplink(settings.controller, keys, settings.node)
        holder = _holder(settings, keys)
        agent = Agent(settings, uplink, holder)
    except (KeyFileError, CheckError, OSError, zmq.ZMQError) as error:
        raise AgentError(str(error), EXIT_REFUSED) from None

    def stop(*_: object) -> None:
        agent.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        agent.run()
    finally:
        agent.close()
        holder.close()
        uplink.close()
        if agent.leaving:
            shutil.rmtree(settings.memory, ignore_errors=True)
        os.close(locked)


def main() -> None:
    """Command line."""
    try:
        run(parse())
    except AgentError as error:
        print(f"sentinel-agent: {error}", file=sys.stderr)
        sys.exit(error.code)


if __name__ == "__main__":
    main()
