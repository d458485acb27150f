"""The agent's hold on its prober: ask, read answers, and end one that hangs."""

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from sentinel import private
from sentinel.model.codec import MESSAGE_BYTES, from_plain
from sentinel.model.ids import Seconds
from sentinel.runtime.probe import Answer, Introduction, Measured, ProberTask

log = structlog.get_logger(logger_name="agent")

_START_DEADLINE: Seconds = 30.0
"""Loading the driver's library on a cold node takes many seconds; more is a hang."""
_BACKOFF: tuple[Seconds, ...] = (0.5, 1, 2, 5, 15, 60)
_SAID = 200
STARTING = "start"
"""What a new prober is busy with until its first line."""


class Probed(Protocol):
    """What a prober has to know of its node, as an agent's settings say it."""

    @property
    def node(self) -> str:
        """Name of the node."""

    @property
    def gpus(self) -> str:
        """Give `nvml`, `simulated:FILE` or `none`."""

    @property
    def expected_gpus(self) -> int | None:
        """How many it should have."""

    @property
    def disks(self) -> tuple[str, ...]:
        """Paths whose volumes are watched."""

    @property
    def memory(self) -> Path | None:
        """The node's memory directory, in which ranks beat; None where nobody says."""

    @property
    def kept(self) -> str:
        """Folder in which checks keep what they remember; empty for none."""


class Prober:
    """At most one live prober process, asked one check at a time."""

    def __init__(self, settings: Probed) -> None:
        self.busy = ""
        """Name of the check that it runs now, `STARTING`, or empty."""
        self.since: Seconds = 0.0
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._left: list[subprocess.Popen[bytes]] = []
        self._buffer = b""
        self._failures = 0
        self._not_before: Seconds = 0.0
        self._deadline: Seconds = 0.0

    @property
    def pid(self) -> int:
        """Process id, 0 while there is none."""
        return self._process.pid if self._process else 0

    @property
    def output(self) -> int:
        """Descriptor to poll for answers, -1 while there is no prober."""
        return self._process.stdout.fileno() if self._process and self._process.stdout else -1

    def start(self, now: Seconds) -> bool:
        """Start one if there is none and the pause after the last failure is over."""
        self._left = [each for each in self._left if each.poll() is None]
        if self._process or now < self._not_before:
            return False
        settings = self._settings
        node, gpus, expected = settings.node, settings.gpus, settings.expected_gpus
        task = ProberTask(os.getpid(), node, gpus, expected, settings.disks)
        task = msgspec.structs.replace(task, memory=str(settings.memory or ""), kept=settings.kept)
        command = [*private.MODULE, "sentinel.runtime.prober", json.dumps(msgspec.structs.asdict(task))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        os.set_blocking(self.output, False)
        self._buffer = b""
        self._busy(STARTING, now, _START_DEADLINE)
        return True

    def ask(self, check: str, deadline: Seconds, now: Seconds, about: str = "") -> None:
        """Have an idle prober run a check; `about` is what a collective one needs to know, on one line."""
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{check} {about}".encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it just died: reading its output tells
        self._busy(check, now, deadline)

    def _busy(self, check: str, now: Seconds, deadline: Seconds) -> None:
        self.busy, self.since, self._deadline = check, now, now + deadline

    def answers(self) -> list[Answer | Introduction | Measured] | None:
        """Every complete answer that has arrived; None when the prober is gone or can't be understood."""
        try:
            chunk = os.read(self.output, 1 << 20)
        except BlockingIOError:
            return []
        if not chunk:
            return None
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        if len(self._buffer) > MESSAGE_BYTES:
            log.warning("prober-answer-refused", error=f"it is larger than {MESSAGE_BYTES} bytes")
            return None
        if lines:
            self._failures = 0 if self.busy != STARTING else self._failures
            self.busy = ""
        try:
            return [from_plain(Answer | Introduction | Measured, json.loads(line)) for line in lines]
        except (ValueError, RecursionError) as error:
            log.warning("prober-answer-refused", error=f"{error}"[:_SAID])
            return None

    def overdue(self, now: Seconds) -> bool:
        """Whether it has been busy for longer than its deadline."""
        return bool(self.busy) and now > self._deadline

    def stop(self, now: Seconds) -> None:
        """Kill it. One that sleeps in the driver can't die yet: it is left behind, the next one starts."""
        if self._process is None:
            return
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):  # a question that a dead prober never took
                if pipe:
                    pipe.close()
        self._left.append(self._process)
        self._process, self.busy = None, ""
        self._not_before = now + _BACKOFF[min(self._failures, len(_BACKOFF) - 1)]
        self._failures += 1

    def close(self) -> None:
        """End it and wait a moment for its end."""
        self.stop(0.0)
        for left in self._left:
            try:
                left.wait(1.0)
            except subprocess.TimeoutExpired:
                continue
