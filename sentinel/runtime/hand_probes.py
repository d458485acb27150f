"""Collective checks that an operator asks for: one at a time, on nodes that no job needs unless told so."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count

from msgspec.structs import replace

from sentinel.checks import load_collective
from sentinel.core.state import State
from sentinel.core.state.rows import Baseline
from sentinel.model.action import Probe
from sentinel.model.collective import CollectiveCheck, MemberSample
from sentinel.model.fact import Fact
from sentinel.model.ids import ActionId, IncidentId, Instant, NodeId, Seconds
from sentinel.runtime.collective import GRACE, Agents, probe_members
from sentinel.runtime.hands import ActionError
from sentinel.runtime.members import known_of, planned
from sentinel.runtime.probe import Hold, held_nowhere
from sentinel.web.view import AskedProbe, CommandRefusedError, ProbeView

KEPT = 20
"""Probes whose results are still told."""


class HandProbes:
    """What operators asked to be measured."""

    def __init__(
        self,
        agents: Agents,
        state: State,
        learn: Callable[[Fact], None],
        now: Callable[[], Instant],
        least_s: Seconds,
        hold: Hold = held_nowhere,
    ) -> None:
        """`least_s`: so long a probe may take, or longer if its check needs it."""
        self._agents, self._state, self._learn, self._now, self._least_s = agents, state, learn, now, least_s
        self._hold = hold
        self._known: dict[str, ProbeView] = {}
        self._number = count(1)
        self._running: asyncio.Task[None] | None = None

    def view(self, name: str) -> ProbeView | None:
        """Say how far a probe is."""
        return self._known.get(name)

    def baselines(self) -> Mapping[str, Baseline]:
        """Say what nodes of each kind have measured until now."""
        return self._state.baselines.copy()

    async def begin(self, asked: AskedProbe) -> ProbeView:
        """Begin to measure. Raises CommandRefusedError where that makes no sense, or would disturb a job."""
        check = self._check(asked.check)
        if self._running is not None and not self._running.done():
            raise CommandRefusedError("another probe is under way: its nodes would disturb each other")
        nodes = self._nodes(asked.nodes, disturb=asked.disturb)
        if not planned(check, nodes, ())[0]:
            named = ", ".join(nodes) or "no node that is free"
            alone = f"{named}{' alone' * (len(nodes) == 1)}"
            more = "name more with --nodes, or say --disturb to measure beside jobs, too"
            raise CommandRefusedError(f"{check.name} can't be measured on {alone}: {more}")
        disturbs = self._disturbs(nodes)
        if disturbs and not asked.disturb:
            beside = f"it would measure beside that for up to {self._deadline(check):.0f} s"
            raise CommandRefusedError(f"{'; '.join(disturbs)}: {beside}; say --disturb to do so")
        name = f"by-hand-{next(self._number)}"
        begun = ProbeView(name, check.name, tuple(nodes), disturbs, self._deadline(check))
        for old in list(self._known)[: max(0, len(self._known) + 1 - KEPT)]:
            del self._known[old]
        self._known[name] = begun
        self._running = asyncio.create_task(self._measure(begun, asked.who))
        return begun

    async def _measure(self, begun: ProbeView, who: str) -> None:
        members = begun.nodes
        action = Probe(
            ActionId(begun.name), IncidentId(""), NodeId(""), begun.check, members, begun.deadline_s
        )

        def heard(samples: Sequence[MemberSample]) -> None:
            self._known[begun.name] = replace(begun, samples=tuple(samples))

        try:
            addresses = {name: self._state.nodes[name].address for name in members}
            about = known_of(members, self._state)
            known = about, heard, self._hold
            probed = await probe_members(self._agents, action, addresses, self._now, *known)
        except Exception as error:  # whoever asked waits until it has ended
            said = str(error) if isinstance(error, ActionError) else f"{type(error).__name__}: {error}"
            self._known[begun.name] = replace(self._known[begun.name], error=said, ended=True)
            return
        ended = replace(
            begun,
            samples=probed.samples,
            findings=probed.findings,
            held=probed.held,
            error=probed.error,
            ended=True,
        )
        self._known[begun.name] = ended
        self._learn(replace(probed, who=who))

    def _check(self, name: str) -> CollectiveCheck:
        known = load_collective()
        if (check := known.get(name.replace("-", "_"))) is None:
            raise CommandRefusedError(
                f"no check {name!r:.80} is run by several nodes: {', '.join(known)} are"
            )
        return check

    def _deadline(self, check: CollectiveCheck) -> Seconds:
        return max(self._least_s, check.deadline + 2 * GRACE)

    def _nodes(self, named: Collection[str], *, disturb: bool) -> list[NodeId]:
        """Give the nodes that are named, else those that are free, or all. Raises CommandRefusedError."""
        nodes: Mapping[NodeId, object] = self._state.nodes
        for name in named:
            if name not in nodes:
                raise CommandRefusedError(
                    f"no node {name!r:.80}: known are {', '.join(sorted(nodes)) or 'none'}"
                )
            if self._state.nodes[NodeId(name)].silent:
                raise CommandRefusedError(f"{name} is silent")
        if named:
            return [NodeId(name) for name in dict.fromkeys(named)]
        heard = (node.id for node in self._state.nodes.values() if not (node.silent or node.left))
        return [name for name in heard if disturb or not self._state.workers.sitting(name)]

    def _disturbs(self, nodes: Collection[NodeId]) -> tuple[str, ...]:
        """Say which ranks of which jobs sit on these nodes."""
        found = []
        for job in self._state.jobs.values():
            seats = [
                f"rank {rank} on {worker.node}"
                for rank, worker in self._state.seated(job)
                if worker.node in nodes
            ]
            if seats:
                found.append(f"{job.id} has {', '.join(seats)}")
        return tuple(found)
