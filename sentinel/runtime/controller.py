"""The controller: facts in from agents, Ray and operators; decisions out through the ledger and the performer."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import structlog
import uvicorn

from sentinel import config, runbooks
from sentinel.adapters import ray_gcs
from sentinel.adapters.console_pages import ConsolePages
from sentinel.adapters.journal import Journal
from sentinel.adapters.journal_file import JournalError
from sentinel.adapters.keys import Keys, ensure_keys
from sentinel.adapters.outbox import Outbox, Timing
from sentinel.adapters.page_channel import PageChannel
from sentinel.adapters.slack import Slack
from sentinel.adapters.transport import Reports
from sentinel.core.operate import refuse_command
from sentinel.core.state import Rules
from sentinel.core.watch import Watch
from sentinel.gang.orders import WorkerSpec
from sentinel.logbook import recording
from sentinel.logbook.book import Logbook
from sentinel.model.action import Action
from sentinel.model.fact import (
    Commanded,
    ControllerStarted,
    DeadlinePassed,
    Fact,
    FindingReported,
    GcsBack,
    GcsLost,
    JobSubmitted,
    NodeJoined,
    NodeLeft,
    Outcome,
)
from sentinel.model.ids import ActionId, Cause, IncidentId, Instant, JobId, NodeId, Seconds
from sentinel.model.incident import Stage
from sentinel.model.journal import Line, incident_of
from sentinel.model.report import Ack, Hello, Leave, OrderDone, Report
from sentinel.model.wire import to_plain
from sentinel.runtime.failpoints import reach
from sentinel.runtime.ledger import Ledger, policy_hash
from sentinel.runtime.link import Link, LinkError
from sentinel.runtime.perform import Hands, Performer
from sentinel.runtime.view import ControllerView
from sentinel.web.app import create_app
from sentinel.web.view import Command, CommandRefusedError

log = structlog.get_logger("controller")

TICK_S = 0.05
"""How late a deadline may be; a tick costs microseconds."""
RECONCILE_S = 1.0
AGENT_RETRY_S = 10.0
GCS_MISSES = 2
"""Refused connections in a row that make a dead GCS."""


class Clock:
    """Epoch seconds that never go back."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self) -> Instant:
        """Give the present moment."""
        self._last = max(self._last, time.time())
        return self._last


class Controller:
    """One controller watches one cluster."""

    def __init__(self, settings: config.Settings) -> None:
        self.settings = settings
        self.now = Clock()
        self.started = self.now()
        state_dir = settings.cluster.state_dir
        state_dir.mkdir(parents=True, exist_ok=True)
        self.keys: Keys = ensure_keys(settings.cluster.keys_dir)
        books = runbooks.load()
        self.rules = Rules(settings.policy, books)
        journal = Journal(state_dir / "journal.db")
        self.ledger = Ledger(journal, self.rules, runbooks.hash_of(books), self._perform, self._changed)
        self.ledger.load()
        self.logbook = Logbook(state_dir / "logbook")
        self.watch = Watch(settings.policy, self.started)
        timing = Timing(fallback_after=settings.pages.fallback_after_s)
        self.outbox = Outbox(state_dir / "outbox.db", self._delivered, timing)
        self.link = Link(settings.ray.address, state_dir)
        self.performer: Performer | None = None
        self.reports: Reports | None = None
        self.view = ControllerView(self)
        self._asked_agent: dict[NodeId, Instant] = {}
        self._events: dict[NodeId, tuple[str, int]] = {}
        self._retired = False
        self._shown: dict[IncidentId, Stage] = {}
        """Stage of each incident as the logbook has it: some resolve without an action."""

    # --- the loop --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled."""
        cluster = self.settings.cluster
        async with Reports(f"tcp://{cluster.bind}:{cluster.report_port}", self.keys) as reports:
            self.reports = reports
            self.performer = Performer(self._hands(reports), self.ledger.state, self._learn, self.now)
            self._take_over()
            async with asyncio.TaskGroup() as tasks:
                for work in (
                    self._listen(reports),
                    self._tick(),
                    self._reconcile(),
                    self._watch_gcs(),
                    self.link.run(),
                    self.outbox.run(self._channels()),
                    self._serve_web(),
                ):
                    tasks.create_task(work)

    def _take_over(self) -> None:
        """Go on where the last controller stopped: what has no outcome is done again."""
        unfinished = tuple(self.ledger.state.unfinished.values())
        start = ControllerStarted(
            self.now(), os.getpid(), policy_hash(self.rules), self.ledger.runbooks_hash
        )
        job = self.settings.job
        submitted = JobSubmitted(
            self.now(), JobId(job.name), job.world, job.trainable, job.standbys, job.min_world
        )
        self.ledger.absorb([start, submitted])
        self._perform(unfinished)

    def _hands(self, reports: Reports) -> Hands:
        settings, job = self.settings, self.settings.job
        spec = WorkerSpec(
            job=job.name,
            trainable=job.trainable,
            trainer_config=str(job.trainer_config.absolute()) if job.trainer_config else "",
            backend=job.backend,
            job_dir=str(job.checkpoint_dir.absolute()),
            snapshot_every=job.snapshot_every,
            checkpoint_every=job.checkpoint_every,
            collective_timeout_s=job.collective_timeout_s,
            lease_s=job.lease_s,
            secret=self.keys.snapshot_secret,
        )
        gcs = settings.cluster.state_dir / "gcs.json"
        return Hands(self.link, reports, self.outbox, spec, self._agent_argv, self._memory_of, gcs)

    def _memory_of(self, node: NodeId) -> Path:
        return self.settings.cluster.memory_dir / f"sentinel-{self.settings.cluster.name}" / node

    def _agent_argv(self, node: NodeId) -> list[str]:
        cluster = self.settings.cluster
        controller = f"tcp://{cluster.bind}:{cluster.report_port}"
        argv = [sys.executable, "-m", "sentinel.runtime.agent", "--controller", controller]
        disks = ["--disk", "/", "--disk", str(self.settings.job.checkpoint_dir.absolute())]
        return [*argv, "--keys", str(cluster.keys_dir.absolute()), "--node", node, *disks]

    def _channels(self) -> list[PageChannel]:
        pages, state_dir = self.settings.pages, self.settings.cluster.state_dir
        link = f"http://{self.settings.cluster.bind}:{self.settings.cluster.web_port}/logbook/{{incident}}"
        console = ConsolePages(state_dir / "pages.log", link=link)
        token = pages.token()
        if not token:
            return [console]
        names = [name for name in (pages.channel, pages.fallback_channel) if name]
        slack = [Slack(token, name, base_url=pages.base_url, link=link) for name in names]
        return [*slack, console]

    # --- facts in --------------------------------------------------------------------------------------

    def _learn(self, fact: Fact) -> None:
        """Take one fact in, from wherever."""
        reach("before-outcome") if isinstance(fact, Outcome) else None
        self.ledger.absorb([fact])
        reach("after-outcome") if isinstance(fact, Outcome) else None

    async def _listen(self, reports: Reports) -> None:
        while True:
            node, message = await reports.recv()
            now = self.now()
            if isinstance(message, Hello) and self._retired:
                await reports.send(node, Leave("late"))
                continue
            if isinstance(message, Hello):
                self._hello(message, now)
                await reports.send(node, Ack(0))
                continue
            number = self._report(message, now)
            if number is not None:
                await reports.send(node, Ack(number))

    def _hello(self, hello: Hello, now: Instant) -> None:
        known = self.ledger.state.nodes.get(hello.node)
        fresh = known is None or (known.boot, known.port, known.address) != (hello.boot, hello.port, hello.address)
        log.info("agent", node=hello.node, address=hello.address, new=fresh)
        if fresh or (known is not None and (known.silent or known.left)):
            self.ledger.absorb([NodeJoined(now, hello.node, hello.address, hello.port, hello.gpus, hello.boot)])

    def _report(self, report: Report, now: Instant) -> int | None:
        """Take a report in; gives the event number to acknowledge, None when it could not be kept."""
        if report.node not in self.ledger.state.nodes:
            return None  # its hello is on the way
        boot, seen = self._events.get(report.node, (report.boot, -1))
        seen = seen if boot == report.boot else -1
        new = tuple((number, event) for number, event in report.events if number > seen)
        facts = self.watch.report(
            Report(report.node, report.boot, report.seq, report.beats, new), self.ledger.state, now
        )
        if not self.ledger.absorb(facts):
            return None
        for _, event in new:
            if isinstance(event, OrderDone) and self.performer is not None:
                self.performer.order_done(event)
        newest = max((number for number, _ in report.events), default=seen)
        self._events[report.node] = (report.boot, newest)
        return newest

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = self.now()
            facts: list[Fact] = self.watch.tick(self.ledger.state, now)
            due = self.ledger.state.next_deadline()
            if due is not None and due[0] <= now:
                facts.append(DeadlinePassed(now, due[1]))
            self.ledger.absorb(facts)

    async def _reconcile(self) -> None:
        """Every node that Ray knows gets an agent; Ray has no daemon sets."""
        while True:
            try:
                nodes = await self.link.ask("nodes", timeout=10.0)
            except LinkError as error:
                log.warning("ray-away", error=str(error))
                nodes = []
            assert self.performer is not None
            raylets = {NodeId(n["node"]): (n["address"], n["port"]) for n in nodes if n["alive"]}
            self.performer.raylets = {**self.performer.raylets, **raylets}
            await self._start_agents({NodeId(n["node"]) for n in nodes if n["alive"] and not n["head"]})
            await asyncio.sleep(RECONCILE_S)

    async def _start_agents(self, nodes: Iterable[NodeId]) -> None:
        """Start agents that were never heard; one that falls silent is a diagnosis, not housekeeping.

        An evicted node's silence is diagnosed already: when it is back, so is its agent.
        """
        now = self.now()
        known = any(not node.left for node in self.ledger.state.nodes.values())
        settled = now - self.started > self.settings.policy.grace_s or not known
        for node in nodes:
            asked = now - self._asked_agent.get(node, 0.0) < AGENT_RETRY_S
            stands = self.ledger.state.nodes.get(node)
            back = stands is not None and stands.silent and stands.cordon is not None
            heard = self.watch.heard_age(node, now) is not None and not back
            if heard or asked or not settled or self._retired:
                continue
            self._asked_agent[node] = now
            argv = self._agent_argv(node)
            with contextlib.suppress(LinkError):
                pid = await self.link.ask("start_agent", timeout=30.0, node=node, argv=argv, env={})
                log.info("agent-started", node=node, pid=pid)

    async def _watch_gcs(self) -> None:
        """Knock at the GCS's door; remember how to start it while it lives."""
        address, path = self.settings.ray.address, self.settings.cluster.state_dir / "gcs.json"
        if ":" not in address:
            return
        host, _, port = address.rpartition(":")
        misses, lost, remembered = 0, False, False
        while True:
            answer = await asyncio.to_thread(ray_gcs.alive, address)
            if answer == "ok" and not remembered:
                with contextlib.suppress(ray_gcs.GcsError):  # the GCS runs on another machine
                    await asyncio.to_thread(lambda: ray_gcs.remember(path, ray_gcs.find(host, int(port))))
                remembered = True
            misses = 0 if answer == "ok" else misses + 1
            if misses == GCS_MISSES and not lost:
                lost = True
                self._learn(GcsLost(self.now(), address, answer))
            elif lost and answer == "ok":
                lost = False
                self._learn(GcsBack(self.now(), address))
            await asyncio.sleep(0.5)

    # --- decisions out ---------------------------------------------------------------------------------

    def _perform(self, actions: tuple[Action, ...]) -> None:
        if self.performer is not None:
            self.performer.start(actions)

    def _delivered(self, action: ActionId, ok: bool, detail: str, where: str) -> None:
        self._learn(Outcome(self.now(), action, ok, f"{where}: {detail}"))

    def _changed(self, fact: Fact, actions: tuple[Action, ...]) -> None:
        """Log each fact and action, and rewrite the logbook entries that they touch."""
        if not isinstance(fact, DeadlinePassed | FindingReported):
            log.info("fact", fact=type(fact).__name__, text=str(fact)[:300])
        for action in actions:
            log.info("action", id=action.id, text=str(action)[:300])
        names = {action.incident for action in actions}
        names |= {incident_of(fact.action)} if isinstance(fact, Outcome) else set()
        names |= {i.id for i in self.ledger.state.incidents.values() if self._shown.get(i.id) is not i.stage}
        for name in names:
            incident = self.ledger.state.incidents.get(name)
            if incident is None or incident.diagnosis is None:
                continue
            book = self.rules.runbooks.get(Cause(incident.diagnosis.cause))
            self._shown[name] = incident.stage
            with contextlib.suppress(OSError):  # a full disk freezes actions through the journal, not here
                self.logbook.write(incident, self._lines(incident.opened), book)
                if incident.stage is Stage.RESOLVED:
                    self._record(name)

    def _lines(self, since: Instant) -> Iterable[Line]:
        journal = self.ledger.journal
        return (line for line in journal.lines(after=max(0, journal.last_seq - 400)) if line.fact.at >= since)

    def _record(self, name: IncidentId) -> None:
        incident = self.ledger.state.incidents[name]
        folder = self.settings.cluster.state_dir / "recordings"
        folder.mkdir(exist_ok=True)
        try:
            text = recording.export(self.ledger.journal, incident, to_plain(self.rules.policy))
        except JournalError as error:
            log.warning("no-recording", incident=name, error=str(error))
            return
        (folder / f"{name}.jsonl").write_text(text)

    # --- operators -------------------------------------------------------------------------------------

    async def command(self, command: Command) -> str:
        """Make an operator's word a fact. Raises CommandRefusedError."""
        refused = refuse_command(self.ledger.state, command.command, command.target)
        if refused:
            raise CommandRefusedError(refused)
        now = self.now()
        until: Seconds = now + command.for_s if command.for_s else 0.0
        fact = Commanded(now, command.command, command.target, command.who, command.reason, until)
        if not self.ledger.absorb([fact]):
            raise CommandRefusedError("the journal fails: nothing can be recorded now")
        if command.command == "retire":
            return await self._retire()
        return f"{command.command} {command.target}".strip()

    async def _retire(self) -> str:
        """Have the agents leave; one that is only just starting is sent away when it says hello."""
        assert self.performer is not None
        self._retired = True
        nodes = [node.id for node in self.ledger.state.nodes.values() if not node.left]
        unreached = await self.performer.retire(nodes)
        now = self.now()
        self.ledger.absorb([NodeLeft(now, node) for node in nodes])
        told = f"{len(nodes) - len(unreached)} agents left"
        return told + (f", not reached: {', '.join(unreached)}" if unreached else "")

    async def _serve_web(self) -> None:
        cluster = self.settings.cluster
        app = create_app(self.view, self.command, self.keys.api_token)
        server = uvicorn.Server(
            uvicorn.Config(app, host=cluster.bind, port=cluster.web_port, log_level="warning", lifespan="off")
        )
        await server._serve()  # `serve` would take the signals that stop the whole controller


async def _run(settings: config.Settings) -> None:
    controller = Controller(settings)
    main = asyncio.current_task()
    assert main is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, main.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await controller.run()


def main() -> None:
    """Run the controller until it is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, help="sentinel.toml")
    arguments = parser.parse_args()
    try:
        asyncio.run(_run(config.load(arguments.config)))
    except (config.ConfigError, runbooks.RunbookError, JournalError, OSError) as error:
        sys.exit(f"sentinel controller: {error}")


if __name__ == "__main__":
    main()
