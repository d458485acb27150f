"""A scenario is played: its steps happen to the virtual cluster, and time passes for everybody."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import assert_never

import msgspec

from sentinel.core.operate import refuse_command
from sentinel.core.state import Rules
from sentinel.model.action import Action
from sentinel.model.fact import Commanded, GcsBack, GcsLost, JobSubmitted, JournalBack, JournalFailed
from sentinel.model.finding import Finding
from sentinel.model.ids import Instant, JobId, NodeId, Seconds
from sentinel.model.report import FindingSeen
from sentinel.rehearse import steps as s
from sentinel.rehearse.controller import Controller, Decision
from sentinel.rehearse.gang import Fault, Gang, Process
from sentinel.rehearse.machine import REPORT_EVERY_S, TURN_EVERY_S, Node
from sentinel.rehearse.performer import Performer
from sentinel.rehearse.scenario import SEAT, Scenario, ScenarioError
from sentinel.rehearse.world import World

JOB = JobId("moe")
TICK_S: Seconds = 0.05
"""As often as the controller looks at the clock."""
WARM_UP_S: Seconds = 20.0
"""Until the job trains and every standby is warm."""
CALM_S: Seconds = 6.0
"""When nothing has happened for longer than any check's period, time leaps to what is due next."""
STORM_LINES = 200
STORM_LINE = "[{:.6f}] NVRM: Xid (PCI:0000:01:00): {}, pid='<unknown>', name=<unknown>, line {}"


class Stage:
    """One scenario on its cluster."""

    def __init__(self, scenario: Scenario, rules: Rules, folder: Path) -> None:
        self.scenario = scenario
        self.world = World(scenario.cluster, folder)
        self.controller = Controller(rules, self._perform, self._decided)
        self._performer = Performer(self.world, self.controller)
        self._watched: Callable[[Decision], None] = lambda _decision: None
        self._stirred = self.world.now
        self._turned: dict[NodeId, Instant] = {}
        self._seated: list[NodeId] = []
        """Where each rank sat when the scenario began."""
        self.ignored: list[str] = []
        """Steps that found nobody to happen to."""
        self.began = self.world.now
        self.real_s: Seconds = 0.0

    def play(self, watched: Callable[[Decision], None]) -> None:
        """Let everything happen, once the job trains."""
        self._watched = watched
        real = time.perf_counter()
        for number, step in enumerate(self.scenario.steps, 1):
            self._stirred = self.world.now
            if ignored := self._play(step):
                self.ignored.append(f"step {number}: {ignored}")
        self._turn()
        self.real_s = time.perf_counter() - real

    def close(self) -> None:
        """Let go of the logs."""
        for node in self.world.nodes.values():
            if node.agent is not None:
                node.agent.close()

    def warm_up(self) -> None:
        """Let the job start. Raises ScenarioError if it can't."""
        cluster = self.scenario.cluster
        self.controller.start(self.world.now)
        for name in self.world.nodes:
            self.world.start_agent(name)
        self._submit(JOB, cluster.world, cluster.standbys, cluster.min_world)
        self._run(WARM_UP_S)
        if not self.world.gangs[JOB].seats:
            raise ScenarioError("the job does not start on this cluster under this policy")
        self._seated = [process.node for process in self._gang.seats]
        self.controller.decisions.clear()
        self.began = self.world.now

    # --- time ------------------------------------------------------------------------------------------

    def _run(self, seconds: Seconds) -> None:
        end = self.world.now + seconds
        self._turn()
        while self.world.now < end:
            self.world.pass_to(self._next(end))
            self._turn()

    def _next(self, end: Instant) -> Instant:
        """Give the next moment at which anything may be seen or done."""
        deadline = self.controller.state.next_deadline()
        due = [at for at in (self.world.next_due(), deadline[0] if deadline else None) if at is not None]
        step = end if self._calm() else self.world.now + TICK_S
        return min(end, max(self.world.now + 1e-3, min([step, *due])))

    def _calm(self) -> bool:
        if self.world.now < self._stirred + CALM_S or not self.world.moves():
            return False
        known = self.controller.state.nodes
        silent = (not each.reports or each.name in self.world.cut for each in self.world.nodes.values())
        if any(
            unheard and not known[name].silent for name, unheard in zip(self.world.nodes, silent, strict=True)
        ):
            return False
        return not any(p.alive and (p.fields or p.slow != 1) for p in self.world.processes.values())

    def _turn(self) -> None:
        """Let every agent look and report as often as it does, then the controller."""
        now = self.world.now
        for node in self.world.nodes.values():
            news = node.agent is not None and self._looks(node, now)
            if node.agent is None or node.name in self.world.cut or not node.reports:
                continue
            if not self.controller.there:
                continue
            if news or now >= self.world.answered.get(node.name, 0.0) + REPORT_EVERY_S - 1e-6:
                self._reports(node, now)
        if self.controller.there:
            self.controller.tick(now)

    def _looks(self, node: Node, now: Instant) -> bool:
        assert node.agent is not None
        before = node.agent.spool.added
        if now >= self._turned.get(node.name, 0.0) + TURN_EVERY_S - 1e-6:
            self._turned[node.name] = now
            node.agent.turn(now)
        return bool(node.agent.spool) or node.agent.spool.added > before

    def _reports(self, node: Node, now: Instant) -> None:
        agent = node.agent
        assert agent is not None
        if not agent.heard:
            agent.heard = True
            self.controller.hello(agent.hello(), now)
        report = agent.report()
        self.world.answered[node.name] = now
        self.controller.report(report, now)
        if report.events:
            agent.spool.acknowledge(report.events[-1][0])

    def _perform(self, actions: tuple[Action, ...]) -> None:
        self._performer.start(actions)

    def _decided(self, decision: Decision) -> None:
        self._stirred = self.world.now
        self._watched(decision)

    # --- who is meant ----------------------------------------------------------------------------------

    def _node(self, name: str) -> Node:
        """Find a node by its name, or by the rank that sat on it when the scenario began."""
        seat = SEAT.fullmatch(name)
        return self.world.nodes[self._seated[int(seat[1])] if seat else NodeId(name)]

    @property
    def _gang(self) -> Gang:
        return self.world.gangs[JOB]

    def _rank(self, rank: int) -> Process | None:
        return self.world.seated(JOB, rank)

    def _on(self, name: str) -> Process | None:
        node = self._node(name).name
        return next((p for p in self._gang.seats if p.node == node and p.alive), None)

    def _with_pids(self, text: str) -> str:
        """Put pids in the places of `{pid0}`, `{pid1}` …: as the kernel knows them."""
        for rank, process in enumerate(self._gang.seats):
            text = text.replace(f"{{pid{rank}}}", str(process.pid))
        return text

    # --- steps -----------------------------------------------------------------------------------------

    def _play(self, step: s.Step) -> str:  # one line for each kind of step, however many there are
        """Let one step happen; says why it did not."""
        match step:
            case s.Run(seconds):
                self._run(seconds)
            case s.Kernel(node, lines):
                self._node(node).say([self._with_pids(line) for line in lines])
            case s.BeforeAgent(node, lines):
                self._before_agent(self._node(node), [self._with_pids(line) for line in lines])
            case s.Storm(node, xid, count):
                self._storm(self._node(node), xid, count)
            case s.Gpu(node, index, fields):
                self._node(node).set_gpu(index, fields)
            case s.Host(node, fields):
                self._node(node).set_host(fields)
            case s.Found(node, fields):
                return self._found(self._node(node), fields)
            case s.Crash(rank, how):
                return self._to(self._rank(rank), lambda process: self.world.ends(process, how))
            case s.StandbyDies(node, how):
                waiting = self._gang.standbys(iter(self.world.processes.values()), self._node(node).name)
                return self._to(next(iter(waiting), None), lambda process: self.world.ends(process, how))
            case s.Raise(rank, text, kind):
                return self._to(self._rank(rank), lambda p: self.world.raises(p, self._with_pids(text), kind))
            case s.RaiseOnNode(node, text, kind):
                return self._to(self._on(node), lambda p: self.world.raises(p, self._with_pids(text), kind))
            case s.CodeRaises(who, text, kind):
                self._gang.faults[self._node(who).name if isinstance(who, str) else who] = Fault(text, kind)
            case s.CodeIsFixed():
                self._gang.faults.clear()
            case s.Beat(rank, fields):
                return self._to(self._rank(rank), lambda process: process.shows(fields))
            case s.Slow(rank, factor):
                return self._to(self._rank(rank), lambda process: setattr(process, "slow", factor))
            case s.Hold():
                self._gang.held = True
            case s.Release():
                self._gang.held, self._gang.since = False, self.world.now
            case s.Advance(count):
                self._advance(count)
            case s.Submit(job, world, standbys):
                self._submit(JobId(job), world, standbys, 1)
            case s.Fails(kinds):
                self.world.fails = frozenset(kinds)
            case s.NeverStarts(nodes):
                self.world.never_starts = frozenset(self._node(name).name for name in nodes)
            case _:
                return self._play_control(step)
        return ""

    def _play_control(
        self,
        step: s.Silence
        | s.ControlCut
        | s.Heard
        | s.NodeDies
        | s.AgentDies
        | s.Doors
        | s.Command
        | s.Gcs
        | s.Journal
        | s.ControllerDies
        | s.ControllerRestarts,
    ) -> str:
        """Let a step happen that is about who can be reached, or about Sentinel itself."""
        now = self.world.now
        match step:
            case s.Silence(nodes):
                self.world.cut |= {self._node(name).name for name in nodes}
                self._set_doors(nodes, "timeout", "timeout")
            case s.ControlCut(nodes):
                for name in nodes:
                    self._node(name).reports = False
            case s.Heard(nodes):
                self._set_doors(nodes, "ok", "ok")
                self.world.cut -= {self._node(name).name for name in nodes}
                for name in nodes:
                    self._heard(self._node(name))
            case s.NodeDies(nodes):
                for name in nodes:
                    self._node_dies(self._node(name))
            case s.AgentDies(node):
                self._agent_dies(self._node(node))
                self._node(node).doors = ("refused", "ok")
            case s.Doors(node, agent, raylet):
                self._node(node).doors = (agent, raylet)
            case s.Command(name, target, for_s):
                return self._command(name, target, for_s)
            case s.Gcs(what):
                self.controller.learn(
                    [GcsLost(now, "gcs", "refused") if what == "lost" else GcsBack(now, "gcs")]
                )
            case s.Journal(what):
                self.controller.learn([JournalFailed(now, "full") if what == "failed" else JournalBack(now)])
            case s.ControllerDies():
                self._performer.dies()
            case s.ControllerRestarts():
                self._performer.restarts()
            case _:
                assert_never(step)
        return ""

    def _to(self, process: Process | None, what: Callable[[Process], None]) -> str:
        if process is None:
            return "nobody sits there"
        what(process)
        return ""

    def _submit(self, job: JobId, world: int, standbys: int, min_world: int) -> None:
        self.world.gangs.setdefault(job, Gang(job, self.scenario.cluster.step_s))
        self.controller.learn([JobSubmitted(self.world.now, job, world, "a:Trainable", standbys, min_world)])

    def _before_agent(self, node: Node, lines: list[str]) -> None:
        node.say(lines)
        (self.world.folder / node.name / "kernel-log").unlink(missing_ok=True)
        self.world.start_agent(node.name)

    def _storm(self, node: Node, xid: int, count: int) -> None:
        for first in range(0, count, STORM_LINES):
            numbers = range(first, min(first + STORM_LINES, count))
            node.say([STORM_LINE.format(100 + n / 1000, xid, n) for n in numbers])
            self._run(TURN_EVERY_S)

    def _found(self, node: Node, fields: s.Fields) -> str:
        if node.agent is None:
            return "no agent is there to tell it"
        node.agent.tell(FindingSeen(msgspec.convert(fields, Finding)))
        return ""

    def _advance(self, count: int) -> None:
        gang = self._gang
        gang.step += count
        gang.high, gang.since = max(gang.high, gang.step), self.world.now
        for node in {process.node for process in gang.seats}:
            if node not in self.world.cut and self.world.nodes[node].agent is not None:
                self._reports(self.world.nodes[node], self.world.now)

    def _set_doors(self, nodes: tuple[str, ...], agent: str, raylet: str) -> None:
        for name in nodes:
            self._node(name).doors = (agent, raylet)

    def _heard(self, node: Node) -> None:
        node.reports = True
        if node.agent is None:
            self.world.start_agent(node.name)

    def _agent_dies(self, node: Node) -> None:
        if node.agent is not None:
            node.agent.close()
        node.agent = None

    def _node_dies(self, node: Node) -> None:
        self._agent_dies(node)
        node.doors = ("refused", "refused")
        for process in self.world.living(node.name):
            self.world.ends(process, "signal 9")
        node.left.clear()  # its memory goes with it

    def _command(self, name: str, target: str, for_s: Seconds) -> str:
        if not self.controller.there:
            return "no controller is there"
        target = self._node(target).name if SEAT.fullmatch(target) else target
        if refused := refuse_command(self.controller.state, name, target, self.controller.rules.runbooks):
            return refused
        until = self.world.now + for_s if for_s else 0.0
        self.controller.learn([Commanded(self.world.now, name, target, "operator", "rehearsed", until)])
        return ""


@contextlib.contextmanager
def staged(scenario: Scenario, rules: Rules) -> Iterator[Stage]:
    """Give a stage with a folder of its own for its nodes' logs."""
    with tempfile.TemporaryDirectory(prefix="sentinel-rehearse-") as folder:
        stage = Stage(scenario, rules, Path(folder))
        try:
            yield stage
        finally:
            stage.close()
