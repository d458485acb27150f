"""The controller's hold on its ears in Slack: keeps a child alive, and knows how it fares."""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import msgspec
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sentinel import config, private
from sentinel.model.ids import Seconds
from sentinel.redact import redact, remember
from sentinel.runtime.slack_nouns import RESULTS, Line, Task
from sentinel.terminal_text import one_line

log = structlog.get_logger(logger_name="slack-link")

STATES = ("off", "connected", "down", "refused")
AGAIN_S: Seconds = 2.0
"""Before a child that ended is started anew."""
PATIENCE_S: Seconds = 60.0
"""A connection that is away for longer is told to people; Slack itself ends each some times a day."""
LONGEST_LINE = 64 * 1024
LIBRARIES = ("slack_sdk", "websocket")
INSTALL = "pip install 'sentinel-cluster[slack]'"


class SlackLink(Collector):
    """At most one child, which hears Slack, and is lost without harm: pages go out without it."""

    def __init__(self, task: Task | None, log_path: Path, pressed: Callable[[str], None]) -> None:
        """Without a task nobody listens. `pressed` hears of which incident a button was pressed."""
        self._task, self._log_path, self._pressed = task, log_path, pressed
        self.state, self._why = ("down", "it has not connected yet") if task else ("off", "")
        self._logged = self.state if task is None else ""
        """The state that the log tells."""
        self._since = time.monotonic()
        self._results = Counter(dict.fromkeys(RESULTS, 0))

    @property
    def trouble(self) -> str:
        """Why buttons do not work; empty while they do, or are not wanted, or may again in a moment."""
        away = self.state == "down" and time.monotonic() - self._since > PATIENCE_S
        return self._why if away or self.state == "refused" else ""

    async def run(self) -> None:
        """Keep a child alive until cancelled."""
        while self._task is not None:
            try:
                await self._run_child(self._task)
            except (OSError, ValueError) as error:  # no process to be had, or a line without an end
                self._is("down", f"the slack link can't be started: {error}")
            await asyncio.sleep(AGAIN_S)

    async def _run_child(self, task: Task) -> None:
        with os.fdopen(private.open_file(self._log_path, private.APPEND), "ab") as out:
            child = await asyncio.create_subprocess_exec(
                *private.MODULE,
                "sentinel.runtime.slack_link_process",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=out,
                limit=LONGEST_LINE,
            )
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                child.stdin.write(msgspec.json.encode(task) + b"\n")
                await child.stdin.drain()
            while line := await child.stdout.readline():
                self._take(line)
            self._is("down", f"the slack link ended with code {await child.wait()}: {self._log_path}")
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()

    def _take(self, line: bytes) -> None:
        try:
            said = msgspec.json.decode(line, type=Line)
        except msgspec.MsgspecError as error:
            log.warning("slack-link-not-understood", error=str(error))
            return
        if said.press in self._results:
            self._results[said.press] += 1
            self._pressed(said.incident)
        elif said.state in STATES:
            self._is(said.state, said.why)

    def _is(self, state: str, why: str) -> None:
        why = one_line(redact(why))
        if state != self._logged:  # why it is away may be another at each try
            self._logged = state
            tell = log.error if state == "refused" else log.warning if state == "down" else log.info
            tell("slack-buttons", state=state, why=why, pages="go out all the same")
        if state != self.state:
            self._since = time.monotonic()
        self.state, self._why = state, why

    def collect(self) -> Iterator[Metric]:
        """Give the figures of this moment."""
        states = GaugeMetricFamily(
            "sentinel_slack_buttons", "1 for how Slack's buttons are now, 0 for the others.", labels=["state"]
        )
        presses = CounterMetricFamily(
            "sentinel_slack_presses", "Presses in Slack, by what became of them.", labels=["result"]
        )
        for state in STATES:
            states.add_metric([state], state == self.state)
        for result, count in self._results.items():
            presses.add_metric([result], count)
        yield from (states, presses)

    def describe(self) -> Iterator[Metric]:
        """Name nothing in advance: registering asks nobody."""
        yield from ()


def task(settings: config.Settings, api_token: str, journal: str) -> Task | None:
    """Say what the child needs to know; None where nobody wants buttons. Raises ConfigError."""
    pages, cluster = settings.pages, settings.cluster
    if not (app_token := pages.app_token()):
        return None
    if not (bot_token := pages.token()):
        raise config.ConfigError("pages.slack_app_token: buttons need pages.slack_token, too")
    if missing := [each for each in LIBRARIES if find_spec(each) is None]:
        raise config.ConfigError(f"pages.slack_app_token: {missing[0]} is not installed: {INSTALL}")
    remember(app_token, bot_token)
    where = cluster.bind, cluster.web_port, api_token
    asked = app_token, bot_token, pages.base_url, pages.slack_groups
    return Task(os.getpid(), *asked, *where, cluster.name, journal)
