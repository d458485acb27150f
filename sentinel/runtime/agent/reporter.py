"""What the agent tells the controller: who it is on every new connection, then report after report."""

import time
from typing import assert_never

import structlog
from msgspec.structs import replace

from sentinel.adapters.uplink import Link, Uplink
from sentinel.model.ids import Seconds
from sentinel.model.report import Hello, Report
from sentinel.runtime.agent.probes import Probes
from sentinel.runtime.agent.process import EXIT_REFUSED, AgentError
from sentinel.runtime.agent.ranks import Ranks
from sentinel.runtime.agent.spool import Spool

log = structlog.get_logger(logger_name="agent")

_HELLO_WAIT: Seconds = 1.0
"""How long the first message waits for the prober to say how many GPUs there are."""


class Reporter:
    """Says hello, with the number of GPUs filled in, and reports beats and events."""

    def __init__(self, uplink: Uplink, hello: Hello, ranks: Ranks, spool: Spool, probes: Probes) -> None:
        self.sent = 0
        self._uplink = uplink
        self._hello = hello
        self._ranks = ranks
        self._spool = spool
        self._probes = probes
        self._started = time.monotonic()
        self._hello_due = False
        self._reported_gpus: int | None = None

    def report(self, now: Seconds) -> None:
        """Send what there is, if anybody listens."""
        self._uplink.follow_key()
        gpus = self._probes.gpus
        if not self._uplink.connected or (gpus is None and now - self._started < _HELLO_WAIT):
            return
        if self._hello_due or gpus != self._reported_gpus:
            self._hello_due = not self._uplink.send(replace(self._hello, gpus=gpus or 0))
            self._reported_gpus = gpus
        self.sent += 1
        node, boot = self._hello.node, self._hello.boot
        told = self._ranks.beats(), self._spool.pending()
        self._uplink.send(Report(node, boot, self.sent, *told, time.time()))

    def follow_connection(self) -> None:
        """Greet a new connection. Raises AgentError when the controller refuses and never took this agent."""
        for change in self._uplink.changes():
            match change:
                case Link.UP:
                    log.info("controller-connected", controller=self._uplink.endpoint)
                    self._hello_due = True
                    self.report(time.monotonic())
                case Link.DOWN:
                    log.warning("controller-lost", controller=self._uplink.endpoint, spooled=len(self._spool))
                case Link.REFUSED if self._uplink.accepted:  # held snapshots are worth more than an exit
                    log.error("controller-refused", error=self._uplink.refusal)
                case Link.REFUSED:
                    raise AgentError(self._uplink.refusal, EXIT_REFUSED)
                case _:
                    assert_never(change)
