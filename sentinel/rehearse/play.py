"""A scenario is played: each of its steps happens to the virtual cluster."""

import time
from collections.abc import Callable
from typing import assert_never

import msgspec

from sentinel.core.commands import refuse_command, refuse_proof
from sentinel.model.fact import Commanded, GcsBack, GcsLost, JournalBack, JournalFailed
from sentinel.model.finding import Finding
from sentinel.model.ids import JobId, NodeId, Seconds
from sentinel.model.report import FindingSeen
from sentinel.rehearse import steps as s
from sentinel.rehearse.gang import Fault, Gang, Process
from sentinel.rehearse.machine import TURN_EVERY_S, Node
from sentinel.rehearse.rehearsal import JOB, Rehearsal
from sentinel.rehearse.scenario import SEAT

STORM_LINES = 200
STORM_LINE = "[{:.6f}] NVRM: Xid (PCI:0000:01:00): {}, pid='<unknown>', name=<unknown>, line {}"


class Player:
    """Lets the steps of a rehearsal happen."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._rehearsal, self._world, self._controller = rehearsal, rehearsal.world, rehearsal.controller

    def play(self) -> None:
        """Let everything happen, once the job trains."""
        rehearsal = self._rehearsal
        began = time.process_time()
        for number, step in enumerate(rehearsal.scenario.steps, 1):
            rehearsal.stirred = self._world.now
            ignored = self._play(step)
            self._world.touch()
            if ignored:
                rehearsal.ignored.append(f"step {number}: {ignored}")
        rehearsal.turn()
        rehearsal.settle()
        rehearsal.processor_s = time.process_time() - began

    # --- who is meant ----------------------------------------------------------------------------------

    def _node(self, name: str) -> Node:
        """Find a node by its name, or by the rank that sat on it when the scenario began."""
        seat = SEAT.fullmatch(name)
        return self._world.nodes[self._rehearsal.seated[int(seat[1])] if seat else NodeId(name)]

    @property
    def _gang(self) -> Gang:
        return self._world.gangs[JOB]

    def _rank(self, rank: int) -> Process | None:
        return self._world.seated(JOB, rank)

    def _on(self, name: str) -> Process | None:
        node = self._node(name).name
        return next((p for p in self._gang.seats if p.node == node and p.alive), None)

    def _standby(self, name: str) -> Process | None:
        return next(iter(self._world.standbys(JOB, self._node(name).name)), None)

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
                self._rehearsal.run(seconds)
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
                return self._to(self._rank(rank), lambda process: self._world.ends(process, how))
            case s.StandbyDies(node, how):
                return self._to(self._standby(node), lambda process: self._world.ends(process, how))
            case s.Raise(rank, text, kind):
                return self._to(
                    self._rank(rank), lambda p: self._world.raises(p, self._with_pids(text), kind)
                )
            case s.RaiseOnNode(node, text, kind):
                return self._to(self._on(node), lambda p: self._world.raises(p, self._with_pids(text), kind))
            case s.CodeRaises(who, text, kind):
                self._gang.faults[self._node(who).name if isinstance(who, str) else who] = Fault(text, kind)
            case s.CodeIsFixed():
                self._gang.faults.clear()
            case s.Beat(rank, fields):
                return self._to(self._rank(rank), lambda process: process.shows(fields, self._world.now))
            case s.StandbyBeat(node, fields):
                return self._to(self._standby(node), lambda process: process.shows(fields, self._world.now))
            case s.Slow(rank, factor):
                return self._to(self._rank(rank), lambda process: setattr(process, "slow", factor))
            case s.Stutters(rank, stopped_s, every_s):
                return self._to(self._rank(rank), lambda p: self._world.stutter(p, stopped_s, every_s))
            case s.Drags(factor):
                self._gang.drag = factor
            case s.SlowLink(node, factor, peer):
                self._world.links[self._node(node).name, NodeId(peer)] = factor
            case s.MoreWork(factor):
                self._gang.work = factor
            case s.Hold():
                self._gang.held = True
            case s.Release():
                self._gang.held, self._gang.since = False, self._world.now
            case s.Advance(count):
                self._advance(count)
            case s.Starts(nodes):
                return self._starts(nodes)
            case s.Submit(job, world, standbys):
                self._rehearsal.submit(JobId(job), world, standbys, 1)
            case s.Fails(kinds):
                self._world.fails = frozenset(kinds)
            case s.NeverStarts(nodes):
                self._world.never_starts = frozenset(self._node(name).name for name in nodes)
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
        | s.RayletDies
        | s.RayletStarts
        | s.Ports
        | s.Command
        | s.Gcs
        | s.Journal
        | s.ControllerDies
        | s.ControllerRestarts,
    ) -> str:
        """Let a step happen that is about who can be reached, or about Sentinel itself."""
        now = self._world.now
        match step:
            case s.Silence(nodes):
                self._world.cut |= {self._node(name).name for name in nodes}
                self._set_ports(nodes, "timeout", "timeout")
            case s.ControlCut(nodes):
                for name in nodes:
                    self._node(name).reports = False
            case s.Heard(nodes):
                self._set_ports(nodes, "ok", "ok")
                self._world.cut -= {self._node(name).name for name in nodes}
                for name in nodes:
                    self._heard(self._node(name))
            case s.NodeDies(nodes):
                for name in nodes:
                    self._node_dies(self._node(name))
            case s.AgentDies(node):
                self._agent_dies(self._node(node))
                self._node(node).ports = ("refused", "ok")
            case s.RayletDies(nodes):
                for name in nodes:
                    self._world.raylet_dies(self._node(name))
            case s.RayletStarts(nodes):
                for name in nodes:
                    self._world.raylet_starts(self._node(name))
            case s.Ports(node, agent, raylet):
                self._node(node).ports = (agent, raylet)
            case s.Command(name, target, for_s):
                return self._command(name, target, for_s)
            case s.Gcs(what):
                self._controller.learn(
                    [GcsLost(now, "gcs", "refused") if what == "lost" else GcsBack(now, "gcs")]
                )
            case s.Journal(what):
                self._controller.learn([JournalFailed(now, "full") if what == "failed" else JournalBack(now)])
            case s.ControllerDies():
                self._rehearsal.performer.dies()
            case s.ControllerRestarts():
                self._rehearsal.performer.restarts()
            case _:
                assert_never(step)
        return ""

    def _to(self, process: Process | None, what: Callable[[Process], None]) -> str:
        if process is None:
            return "nobody sits there"
        what(process)
        return ""

    def _before_agent(self, node: Node, lines: list[str]) -> None:
        node.say(lines)
        (self._world.folder / node.name / "kernel-log").unlink(missing_ok=True)
        self._world.start_agent(node.name)

    def _storm(self, node: Node, xid: int, count: int) -> None:
        for first in range(0, count, STORM_LINES):
            numbers = range(first, min(first + STORM_LINES, count))
            node.say([STORM_LINE.format(100 + n / 1000, xid, n) for n in numbers])
            self._rehearsal.run(TURN_EVERY_S)

    def _found(self, node: Node, fields: s.Fields) -> str:
        if node.agent is None:
            return "no agent is there to tell it"
        node.agent.tell(FindingSeen(msgspec.convert(fields, Finding)))
        return ""

    def _starts(self, nodes: tuple[str, ...]) -> str:
        known = self._controller.state.nodes
        named = [self._node(name).name for name in nodes]
        free = (name for name in self._world.nodes if name not in known or known[name].cordon is None)
        return "" if self._world.launch(JOB, named or [*free]) else "no node is there to start it on"

    def _advance(self, count: int) -> None:
        gang = self._gang
        gang.step += count
        gang.high, gang.since = max(gang.high, gang.step), self._world.now
        for node in {process.node for process in gang.seats}:
            if node not in self._world.cut and self._world.nodes[node].agent is not None:
                self._rehearsal.reports(self._world.nodes[node], self._world.now)

    def _set_ports(self, nodes: tuple[str, ...], agent: str, raylet: str) -> None:
        for name in nodes:
            self._node(name).ports = (agent, raylet)

    def _heard(self, node: Node) -> None:
        node.reports = True
        if node.agent is None:
            self._world.start_agent(node.name)

    def _agent_dies(self, node: Node) -> None:
        if node.agent is not None:
            node.agent.close()
        node.agent = None

    def _node_dies(self, node: Node) -> None:
        self._agent_dies(node)
        node.ports = ("refused", "refused")
        for process in self._world.living(node.name):
            self._world.ends(process, "signal 9")
        node.left.clear()  # its memory goes with it

    def _command(self, name: str, target: str, for_s: Seconds) -> str:
        if not self._controller.there:
            return "no controller is there"
        target = self._node(target).name if SEAT.fullmatch(target) else target
        state, rules = self._controller.state, self._controller.rules
        if refused := refuse_command(state, name, target, rules.runbooks):
            return refused
        if name == "prove" and (refused := refuse_proof(state, target, rules.policy)):
            return refused
        until = self._world.now + for_s if for_s else 0.0
        self._controller.learn([Commanded(self._world.now, name, target, "operator", "rehearsed", until)])
        return ""
