"""The controller: puts ledger, inbox, performer, rounds and pages together, and hears operators."""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, ProcessCollector

from sentinel import backends, config, logs, private, runbooks
from sentinel.adapters import on_call, on_call_plan, receivers
from sentinel.adapters.dispatcher import Dispatcher
from sentinel.adapters.grafana import Annotations
from sentinel.adapters.journal import Journal
from sentinel.adapters.journal_file import JournalError
from sentinel.adapters.keys import KeyFileError, Keys, ensure_keys
from sentinel.adapters.outbox import Timing
from sentinel.adapters.outbox_file import OutboxError
from sentinel.adapters.page_channel import Sender
from sentinel.adapters.slack import Slack
from sentinel.adapters.strangers import raise_descriptor_limit
from sentinel.adapters.transport import Reports
from sentinel.backends.port import Backend, Context
from sentinel.core import evidence, group, waits
from sentinel.core.detect.watch import Watch
from sentinel.core.learn.ending import has_finished
from sentinel.core.proofs import progress
from sentinel.core.settle.why import keeps_full, keeps_small, leaves, resubmitted, shrunk
from sentinel.core.state import Rules
from sentinel.core.state.rows import Job
from sentinel.gang.orders import WorkerSpec
from sentinel.gang.snapshot_keys import job_key, word_for
from sentinel.model.action import Action
from sentinel.model.counted import counted
from sentinel.model.fact import (
    Commanded,
    ControllerStarted,
    DeadlinePassed,
    Fact,
    JobSubmitted,
    NodeLeft,
    Outcome,
)
from sentinel.model.ids import ActionId, Instant, JobId, NodeId, Seconds
from sentinel.redact import remember
from sentinel.runtime import digest, in_effect, running, slack_link, targets_file, weekly
from sentinel.runtime.agent_orders import AgentOrders
from sentinel.runtime.already import already
from sentinel.runtime.annotator import Annotator
from sentinel.runtime.awake import Awake
from sentinel.runtime.baseline_metrics import BaselineMetrics
from sentinel.runtime.counters import Counters
from sentinel.runtime.gathered import Gathered
from sentinel.runtime.goodput import Goodput
from sentinel.runtime.hand_probes import HandProbes
from sentinel.runtime.hands import Hands, OperatorsCommand
from sentinel.runtime.inbox import Inbox
from sentinel.runtime.known_checks import known_checks
from sentinel.runtime.ledger import Ledger
from sentinel.runtime.ledger_metrics import LedgerMetrics
from sentinel.runtime.link_metrics import LinkMetrics
from sentinel.runtime.members import fleet_of
from sentinel.runtime.node_logs import NodeLogs
from sentinel.runtime.objections import objection
from sentinel.runtime.over import over
from sentinel.runtime.perform import Performer
from sentinel.runtime.receiver_metrics import ReceiverMetrics
from sentinel.runtime.recent import LINES, Recent
from sentinel.runtime.rounds import AgentRounds
from sentinel.runtime.rules import policy_hash
from sentinel.runtime.scribe import Scribe
from sentinel.runtime.slack_buttons import controls
from sentinel.runtime.slack_link import SlackLink
from sentinel.runtime.stage_times import StageTimes
from sentinel.runtime.view import Arithmetic, ControllerView
from sentinel.topology import read as read_topology
from sentinel.web.app import create_app
from sentinel.web.discovery import Targets, targets
from sentinel.web.server import serve
from sentinel.web.view import Command, CommandRefusedError

log = structlog.get_logger(logger_name="controller")
TICK_S = 0.05
"""How late a deadline may be; a tick costs microseconds."""

SHARED_KEY = (
    "agents of an earlier release share this key, and are refused; `sentinel enroll --accept-shared 1h` lets "
    "each exchange it for its own, and when all have the file can go"
)

START_ERRORS = (
    backends.UnknownBackendError,
    runbooks.RunbookError,
    KeyFileError,
    JournalError,
    OutboxError,
    OSError,
)
"""What a person has to mend; told in one line."""
SECONDS_MATTER_S: Seconds = 120.0
"""A time that is nearer is said to the second."""


class Clock:
    """Epoch seconds that go on evenly, even if the machine's clock is set: deadlines must pass."""

    def __init__(self, since: Instant = 0.0) -> None:
        """Begin no earlier than `since`, the last moment that the journal knows."""
        self._start = max(since, time.time()) - time.monotonic()

    def __call__(self) -> Instant:
        """Give the present moment."""
        return self._start + time.monotonic()


class Controller:
    """One controller watches one cluster."""

    def __init__(self, settings: config.Settings, reports: Reports, keys: Keys) -> None:
        self.settings = settings
        self._state_dir = settings.cluster.state_dir
        self._keys = keys
        remember(keys.api_token, keys.snapshot_secret, keys.controller_secret, settings.pages.token())
        books = runbooks.load(own=settings.cluster.runbooks_dir)
        self.rules = Rules(settings.policy, books)
        topology = read_topology(settings.cluster.topology)
        journal = Journal(self._state_dir / "journal.db")  # first: its lock keeps a second controller out
        self.scribe = Scribe(self._state_dir)
        self.ledger = Ledger(journal, self.rules, runbooks.hash_of(books), self._perform, self._changed)
        self.ledger.job = settings.job.name if settings.job.world else ""
        logbook = self.scribe.logbook
        self._frozen = False
        self._doubts = self.ledger.load(logbook.highest(), logbook.noted())
        logbook.note(journal.id, journal.last_seq)  # so that the next start does not doubt the same again
        self._registry = CollectorRegistry()
        self._counters = Counters(books, self.ledger.state.incidents, self._refused)
        self._registry.register(self._counters)
        self.now = Clock(self.ledger.state.now)
        self.watch = Watch(settings.policy, self.now())
        self._goodput = Goodput(self.ledger.state, books, self.watch.reached, self.now)
        self._stages, self._links = StageTimes(self.ledger.state.incidents.values()), LinkMetrics()
        process = ProcessCollector(namespace="sentinel", registry=None)
        usual = BaselineMetrics(lambda: self.ledger.state.baselines.copy(), settings.policy, self.now)
        for collector in (
            self._goodput,
            self._stages,
            self._links,
            LedgerMetrics(self.ledger),
            usual,
            process,
        ):
            self._registry.register(collector)
        self._dispatcher = self._receivers()
        self._digest_times = digest.read(settings, self._receiving)
        self._weekly_times = weekly.read(settings, self._receiving)
        self._slack = SlackLink(
            slack_link.task(settings, keys.api_token, self.ledger.past),
            self._state_dir / "slack-link.log",
            self._dispatcher.show_again,
        )
        self._annotator = self._annotations()
        self._registry.register(ReceiverMetrics(self._dispatcher.standing))
        self._registry.register(self._slack)
        self._registry.register(self.scribe.judged)
        self._backend = _backend(settings)
        self._reports = reports
        hands = self._hands()
        self._agents = AgentOrders(hands)
        self._learn = Gathered(self.ledger.absorb)
        state, hold = self.ledger.state, fleet_of(self.ledger.state, settings.policy, self.now)
        self._performer = Performer(hands, self._agents, state, self._learn, self.now, hold)
        least_s = settings.policy.collective_s
        self._hand_probes = HandProbes(self._agents, state, self._learn, self.now, least_s, hold)
        self._awake = Awake(self.watch, self.ledger.absorb, self.now, settings.policy.silent_s / 2)
        self._inbox = Inbox(self.ledger, self.watch, self._agents.done, self._awake, topology.labels)
        self._rounds = AgentRounds(hands, self._agents, self.ledger.state, self.watch, self._learn, self.now)
        name, logbook = settings.cluster.name, self.scribe.logbook
        self._recent = Recent()
        with contextlib.suppress(JournalError):  # what was decided long ago is not what is shown
            for line in journal.lines(after=max(0, journal.last_seq - LINES)):
                self._recent.recall([line])
                self._links.changed(line.fact)
        around = self._backend.nodes, self.now, self._recent
        job = settings.job
        self.view = ControllerView(
            name,
            self.ledger,
            self.watch,
            logbook,
            *around,
            url=settings.cluster.web_url,
            metrics_ports=self._inbox.metrics_ports,
            slack_trouble=lambda: self._slack.trouble,
            arithmetic=Arithmetic(job.tokens_per_step, job.flops_per_step, job.peak_flops_per_rank),
            accountant=self.scribe.accountant,
        )

    async def run(self) -> None:
        """Serve until cancelled. Raises OSError, before anything is done, when the web port is taken."""
        web_socket = _open_web_socket(self.settings.cluster)
        self._take_over()
        try:
            await self._serve(web_socket)
        # Saved at a clean stop, so that another release need not fold this one's facts.
        except asyncio.CancelledError:
            self._learn.give()
            self.ledger.save()
            self.scribe.accountant.close(self.now())
            raise

    async def _serve(self, web_socket: socket.socket) -> None:
        lost = frozenset[type](filter(self._misses, waits.RAY))
        context = Context(self._learn, self.now, lost, needed=self.settings.job.world > 0)
        async with asyncio.TaskGroup() as tasks:
            for work in (
                self._inbox.listen(self._reports),
                self._tick(),
                self._rounds.run(self.settings.policy.grace_s),
                self._backend.nodes.run(context),
                self._dispatcher.run(),
                self._slack.run(),
                *(each.run() for each in self._calendars),
                self.scribe.run(self.ledger, self.now),
                self._serve_web(web_socket),
            ):
                tasks.create_task(work)
            if self._digest_times is not None:
                asked = self._dispatcher, self.view.status, self.scribe.logbook.rows
                tasks.create_task(digest.digest(self._digest_times, *asked).run())
            if self._weekly_times is not None:
                told = weekly.report(self._weekly_times, self._dispatcher, self.view)
                tasks.create_task(told.run())
            if self._annotator is not None:
                tasks.create_task(self._annotator.run())
            if (path := self.settings.cluster.targets_file) is not None:
                tasks.create_task(targets_file.keep(path.absolute(), self._targets))

    def _targets(self) -> Targets:
        cluster = self.settings.cluster
        return targets(self.view.status(), f"{cluster.bind}:{cluster.web_port}")

    def _misses(self, lost: type) -> bool:
        """Say whether a controller before this one missed something that nobody has seen since."""
        incident = group.with_fact(self.ledger.state, lost)
        return incident is not None and not evidence.is_back(incident, lost)

    def _take_over(self) -> None:
        """Go on where the last controller stopped: what has no outcome is done again."""
        unfinished = tuple(self.ledger.state.unfinished.values())
        hashes = policy_hash(self.rules), self.ledger.runbooks_hash
        now, last = self.now(), self.ledger.state.now
        away_s = max(0.0, now - last) if last else 0.0
        started = ControllerStarted(now, os.getpid(), *hashes, self.scribe.logbook.highest(), away_s)
        self.ledger.absorb([started, *self._job()])
        self._perform((*self._doubts, *unfinished))
        self._frozen = bool(self.ledger.state.frozen)
        self._end_pages()

    def _end_pages(self) -> None:
        """End what is paged and no incident of this journal, once nothing is in doubt."""
        try:
            self._perform(over(self._dispatcher.open(), self.ledger.state))
        except OutboxError as error:
            log.error("pages-not-ended", error=str(error))

    def _job(self) -> list[JobSubmitted]:
        """Ask for the job of the settings, if they have one, or that it is watched."""
        job, past = self.settings.job, self.ledger.past
        name, least = JobId(job.name), job.min_world
        size = job.world, job.trainable, job.standbys, least
        asked = JobSubmitted(self.now(), name, *size, past, job.priority)
        if not job.world:
            known = self.ledger.state.jobs.get(name)
            watched = replace(
                asked, trainable="", standbys=0, watched=True, restarts=bool(job.restart_command)
            )
            return [watched] if job.restart_command or (known and known.watched) else []
        return [asked] if job.world and not has_finished(self.ledger.state, name) else []

    # --- what actions are done with --------------------------------------------------------------------

    def _hands(self) -> Hands:
        job = self.settings.job
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
            secret=job_key(self._keys.snapshot_secret, job.name),
            journal=self.ledger.past,
        )
        return Hands(
            self._backend,
            self._reports,
            self._dispatcher,
            spec,
            self._agent_argv,
            self._memory_of,
            self.watch.beats,
            self.settings.policy.slow_phase_s,
            partial(word_for, self._keys.snapshot_secret),
            self._command("job.restart_command", job.restart_command, job.restart_within_s, "restart.log"),
            self._command("operations.reboot_command", *self.settings.operations.reboot, "reboot.log"),
        )

    def _command(self, key: str, line: str, within_s: Seconds, log: str) -> OperatorsCommand:
        return OperatorsCommand(key, line, within_s, self._state_dir / log)

    def _memory_of(self, node: NodeId) -> Path:
        return self.settings.cluster.memory_dir / f"sentinel-{self.settings.cluster.name}" / node

    def _agent_argv(self, node: NodeId) -> list[str]:
        cluster = self.settings.cluster
        controller = f"tcp://{cluster.bind}:{cluster.report_port}"
        argv = [*private.MODULE, "sentinel.runtime.agent", "--controller", controller]
        disks = ["--disk", "/", "--disk", str(self.settings.job.checkpoint_dir.absolute())]
        disks += [part for volume in self.settings.checks.volumes for part in ("--disk", volume)]
        argv += ["--backend", cluster.backend, "--keys", str(cluster.keys_dir.absolute())]
        argv += ["--metrics-port", str(cluster.agent_metrics_port)]
        if cluster.expected_gpus is not None:
            argv += ["--expected-gpus", str(cluster.expected_gpus)]
        for option, codes in self.settings.checks.lists().items():
            argv += [option, ",".join(map(str, codes))] if codes else []
        return [*argv, "--node", node, *disks]

    def _sender(self) -> Sender:
        cluster = self.settings.cluster
        return Sender(cluster.name, cluster.web_url, self.ledger.past, self.settings.pages.grafana_url)

    def _annotations(self) -> Annotator | None:
        pages = self.settings.pages
        if not (token := pages.grafanas_token()):
            return None
        remember(token)
        channel = Annotations(pages.grafana_url, token)
        return Annotator(
            self._state_dir, channel, self._sender(), lambda: (self.ledger.state, self.rules, self.now())
        )

    def _receivers(self) -> Dispatcher:
        settings, sender = self.settings, self._sender()
        timing = Timing(fallback_after=settings.pages.fallback_after_s)
        shown = partial(controls, state=self.ledger.state) if settings.pages.app_token() else None
        channels = on_call.channels(settings, sender, shown)
        self._receiving = others = receivers.load(settings, sender)
        for channel in (channel for each in others for channel in each.channels):
            if shown is not None and isinstance(channel, Slack):
                channel.offer(settings.pages.token(), shown)
        plan, self._calendars = on_call_plan.load(settings, [*self.rules.runbooks])
        return Dispatcher(self._state_dir, channels, others, self._delivered, timing, plan)

    # --- facts in, decisions out -----------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = self._awake()
            facts: list[Fact] = self.watch.tick(self.ledger.state, now)
            due = self.ledger.state.next_deadline()
            if due is not None and due[0] <= now:
                facts.append(DeadlinePassed(now, due[1]))
            self.ledger.absorb(facts)

    def _perform(self, actions: tuple[Action, ...]) -> None:
        self._performer.start(actions)

    def _delivered(self, action: ActionId, ok: bool, detail: str, where: str) -> None:
        self._learn(Outcome(self.now(), action, ok, f"{where}: {detail}"))

    def _refused(self) -> tuple[int, int]:
        return self._reports.refused, self._inbox.refused

    def _changed(self, fact: Fact, actions: tuple[Action, ...]) -> None:
        self.scribe.changed(self.ledger, fact, actions)
        self._counters.changed(self.ledger.state, fact, actions)
        self._goodput.look()
        self._stages.changed(self.ledger.state)
        self._links.changed(fact)
        self._recent.changed(fact, actions)
        was_frozen, self._frozen = self._frozen, bool(self.ledger.state.frozen)
        if was_frozen and not self._frozen:
            self._end_pages()

    # --- operators -------------------------------------------------------------------------------------

    async def command(self, command: Command) -> str:
        """Make an operator's word a fact. Raises CommandRefusedError."""
        now = self.now()
        until: Seconds = now + command.for_s if command.for_s else 0.0
        fact = Commanded(now, command.command, command.target, command.who, command.reason, until)
        if refused := await objection(self.ledger, self.scribe.logbook, fact):
            raise CommandRefusedError(refused)
        if command.once and (done := already(self.ledger.state, fact)):
            raise CommandRefusedError(done)
        if not self.ledger.commit():
            raise CommandRefusedError("the journal fails: nothing can be recorded now, so nothing was done")
        jobs = {job.id: job for job in self.ledger.state.jobs.values()}
        kept, said = self.ledger.absorb([fact]), self._said(command, until, jobs)
        if not kept and command.command == "retire":
            raise CommandRefusedError("the journal fails: nothing can be recorded now, so nobody leaves")
        if command.command == "retire":
            return await self._retire()
        return said if kept else f"{said}: kept in memory, and done once the journal can be written again"

    def _said(self, command: Command, until: Instant, before: Mapping[JobId, Job]) -> str:
        """Say what was done, until when, and what it waits for; `before` are the jobs of just before."""
        said, state = f"{command.command} {command.target}".strip(), self.ledger.state
        soon = ":%S" if until - state.now < SECONDS_MATTER_S else ""
        said += f" until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M{soon}} UTC" if until else ""
        waits = ""
        if command.command == "drain" and (node := state.nodes.get(NodeId(command.target))):
            full = keeps_full(node, state, partial(leaves, state=state, rules=self.rules))
            waits = "; ".join(filter(None, (shrunk(before, state), full)))
        if command.command == "retry":
            waits = resubmitted(before, state, self.rules)
        if command.command == "prove" and (node := state.nodes.get(NodeId(command.target))):
            waits = progress(node) or "it was not out of use, so it had nothing to prove"
        if command.command == "grow" and (job := state.jobs.get(JobId(command.target))):
            waits = keeps_small(job, state, self.rules) and f"waits for {keeps_small(job, state, self.rules)}"
        return f"{said}: {waits}" if waits else said

    async def _retire(self) -> str:
        """Have the agents leave; one that is only just starting is sent away when it says hello."""
        self._inbox.closed = self._rounds.closed = True
        nodes = [node.id for node in self.ledger.state.nodes.values() if not node.left]
        stayed = await self._agents.retire(nodes)
        now = self.now()
        self.ledger.absorb([NodeLeft(now, node) for node in nodes])
        count = len(nodes) - len(stayed)
        done = f"stopped {counted(count, 'agent')}"
        return done + (f", not stopped: {'; '.join(stayed.values())}" if stayed else "")

    async def _serve_web(self, listener: socket.socket) -> None:
        app = create_app(
            self.view,
            self.command,
            self._keys.api_token,
            self._registry,
            hosts=self.settings.cluster.names(),
            home=asyncio.get_running_loop(),
            prober=self._hand_probes,
            logs=NodeLogs(self._agents, self.ledger.state),
            runbooks=self.settings.cluster.runbooks_dir,
        )
        await serve(app, listener)


def _backend(settings: config.Settings) -> Backend:
    """Give the scheduler's ports. Raises UnknownBackendError; ConfigError where it can't have the job."""
    backend = backends.load(settings.cluster.backend).connect(settings)
    if settings.job.world and backend.gang is None:
        raise config.ConfigError(
            f"job.world {settings.job.world}: cluster.backend {settings.cluster.backend} starts no ranks"
        )
    return backend


def _open_web_socket(cluster: config.Cluster) -> socket.socket:
    """Listen for browsers. Raises OSError that says where, as uvicorn, which exits, would not."""
    try:
        return socket.create_server((cluster.bind, cluster.web_port))
    except OSError as error:
        raise OSError(f"cluster.web_port {cluster.web_port}: {error.strerror}") from None


async def _run(settings: config.Settings, shown: Sequence[config.Effective]) -> None:
    main = asyncio.current_task()
    assert main is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, main.cancel)
    cluster = settings.cluster
    known_checks(settings)
    private.make_folder(cluster.state_dir)
    keys = ensure_keys(cluster.keys_dir)
    if keys.shared.exists():
        log.warning("shared-key-refused", file=str(keys.shared), hint=SHARED_KEY)
    with contextlib.suppress(asyncio.CancelledError):
        async with Reports(f"tcp://{cluster.bind}:{cluster.report_port}", keys) as reports:
            controller = Controller(settings, reports, keys)
            in_effect.write(cluster.state_dir, running.child(os.getpid()), shown)
            await controller.run()


def main() -> None:
    """Run the controller until it is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, help="sentinel.toml")
    arguments = parser.parse_args()
    os.umask(private.UMASK)
    logs.to_stdout()
    raise_descriptor_limit()
    try:
        asyncio.run(_run(config.load(arguments.config), list(config.effective(arguments.config))))
    except config.ConfigError as error:
        where = config.located(str(error), arguments.config)
        sys.exit(logs.last_words(f"sentinel controller: {where}"))
    except START_ERRORS as error:
        sys.exit(logs.last_words(f"sentinel controller: {error}"))


if __name__ == "__main__":
    main()
