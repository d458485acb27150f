"""A scenario being rehearsed: its cluster, its controller, and time that passes for both."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from sentinel.core.state import Rules
from sentinel.core.state.timers import Timer
from sentinel.model.action import Action
from sentinel.model.fact import JobSubmitted
from sentinel.model.ids import Instant, JobId, NodeId, Seconds
from sentinel.rehearse.controller import Controller, Decision
from sentinel.rehearse.gang import Gang
from sentinel.rehearse.machine import REPORT_EVERY_S, TURN_EVERY_S, Node
from sentinel.rehearse.performer import Performer
from sentinel.rehearse.scenario import Cluster, Scenario, ScenarioError
from sentinel.rehearse.world import World

JOB = JobId("moe")
TICK_S: Seconds = 0.05
"""As often as the controller looks at the clock."""
WARM_UP_S: Seconds = 20.0
"""Until the job trains and every standby is warm."""
SETTLE_S: Seconds = 60.0
"""A scenario goes on for no longer than this after its last step."""
CALM_S: Seconds = 12.0
"""When nothing has happened for longer than any check waits for, time leaps to what is due next."""


class Rehearsal:
    """One scenario on its cluster."""

    def __init__(self, scenario: Scenario, rules: Rules, folder: Path) -> None:
        self.scenario = scenario
        self.world = World(scenario.cluster, folder)
        self.controller = Controller(rules, self._perform, self._decided)
        self.performer = Performer(self.world, self.controller)
        self.watched: Callable[[Decision], None] = lambda _decision: None
        """Called after every decision."""
        self.stirred = self.world.now
        """When something last happened."""
        self._turned: dict[NodeId, Instant] = {}
        self.seated: list[NodeId] = []
        """Where each rank sat when the scenario began."""
        self.ignored: list[str] = []
        """Steps that found nobody to happen to."""
        self.began = self.world.now
        self.processor_s: Seconds = 0.0

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
        if cluster.watched:
            self._watch(cluster)
        else:
            self.submit(JOB, cluster.world, cluster.standbys, cluster.min_world)
        self.run(WARM_UP_S)
        if not (self.world.gangs[JOB].seats and JOB in self.controller.state.jobs):
            raise ScenarioError("the job does not start on this cluster under this policy")
        self.seated = [process.node for process in self.world.gangs[JOB].seats]
        self.controller.decisions.clear()
        self.began = self.world.now

    def submit(self, job: JobId, world: int, standbys: int, min_world: int) -> None:
        """Ask for a job."""
        self.world.gangs.setdefault(job, Gang(job, self.scenario.cluster.step_s))
        self.controller.learn([JobSubmitted(self.world.now, job, world, "a:Trainable", standbys, min_world)])

    def _watch(self, cluster: Cluster) -> None:
        """Let somebody else start the job, of which Sentinel knows beforehand only how to start it again."""
        self.world.gangs[JOB] = Gang(JOB, cluster.step_s, watched=True)
        if cluster.restart_command:
            self.controller.learn(
                [JobSubmitted(self.world.now, JOB, 0, "", 0, 0, watched=True, restarts=True)]
            )
        self.world.launch(JOB, self.world.nodes)

    # --- time ------------------------------------------------------------------------------------------

    def run(self, seconds: Seconds) -> None:
        """Let time pass."""
        end = self.world.now + seconds
        self.turn()
        while self.world.now < end:
            self.world.pass_to(self._next(end))
            self.turn()

    def settle(self) -> None:
        """Let time pass until it is seen that all stays well, if that is all that is waited for."""
        end = self.world.now + SETTLE_S
        while self.world.now < end and (waits := self._settles()):
            self.run(min(end, min(waits)) - self.world.now + TICK_S)

    def _settles(self) -> list[Instant]:
        deadlines = self.controller.state.deadlines
        return [at for name, at in deadlines.items() if name.startswith(f"{Timer.SETTLED}/")]

    def _next(self, end: Instant) -> Instant:
        """Give the next moment at which anything may be seen or done."""
        deadline = self.controller.state.next_deadline()
        due = [at for at in (self.world.next_due(), deadline[0] if deadline else None) if at is not None]
        step = end if self._calm() else self.world.now + TICK_S
        return min(end, max(self.world.now + 1e-3, min([step, *due])))

    def _calm(self) -> bool:
        if self.world.now < self.stirred + CALM_S or not self.world.moves():
            return False
        known = self.controller.state.nodes
        silent = (not each.reports or each.name in self.world.cut for each in self.world.nodes.values())
        if any(
            unheard and not known[name].silent for name, unheard in zip(self.world.nodes, silent, strict=True)
        ):
            return False
        if not all(gang.at_pace for gang in self.world.gangs.values()):
            return False
        return not any(p.alive and (p.fields or p.slow != 1) for p in self.world.processes.values())

    def turn(self) -> None:
        """Let every agent look and report as often as it does, then the controller."""
        now = self.world.now
        for node in self.world.nodes.values():
            news = node.agent is not None and self._looks(node, now)
            if node.agent is None or node.name in self.world.cut or not node.reports:
                continue
            if not self.controller.there:
                continue
            if news or now >= self.world.answered.get(node.name, 0.0) + REPORT_EVERY_S - 1e-6:
                self.reports(node, now)
        if self.controller.there:
            self.controller.tick(now)

    def _looks(self, node: Node, now: Instant) -> bool:
        assert node.agent is not None
        before = node.agent.spool.added
        if now >= self._turned.get(node.name, 0.0) + TURN_EVERY_S - 1e-6:
            self._turned[node.name] = now
            node.agent.turn(now)
        return bool(node.agent.spool) or node.agent.spool.added > before

    def reports(self, node: Node, now: Instant) -> None:
        """Let a node's report arrive, and be acknowledged."""
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
        self.performer.start(actions)

    def _decided(self, decision: Decision) -> None:
        self.stirred = self.world.now
        self.watched(decision)


@contextlib.contextmanager
def rehearsal_of(scenario: Scenario, rules: Rules) -> Iterator[Rehearsal]:
    """Give a rehearsal with a folder of its own for its nodes' logs."""
    with tempfile.TemporaryDirectory(prefix="rehearse-") as folder:
        rehearsal = Rehearsal(scenario, rules, Path(folder))
        try:
            yield rehearsal
        finally:
            rehearsal.close()
