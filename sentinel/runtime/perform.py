"""Doing what was decided: each action looks first whether it is done already, and ends in an outcome."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, assert_never

import structlog

from sentinel.adapters.outbox_file import OutboxError
from sentinel.adapters.ping import ping
from sentinel.backends.port import BackendError
from sentinel.core.preflights import is_wanted
from sentinel.core.state import State
from sentinel.model.action import (
    Action,
    CallOff,
    CollectStacks,
    CordonNode,
    Evict,
    Page,
    Ping,
    Probe,
    Prove,
    Readmit,
    Refusal,
    Repair,
    RestartAgent,
    RestartGcs,
    RestartJob,
    Resume,
    StartWorker,
    StopJob,
    StopWorker,
)
from sentinel.model.fact import Fact, NodePinged, Outcome
from sentinel.model.ids import ActionId, IncidentId, Instant, NodeId
from sentinel.model.policy import Rung
from sentinel.runtime.addressed import addressed
from sentinel.runtime.agent_orders import AgentOrders
from sentinel.runtime.collective import probe_members
from sentinel.runtime.hands import ActionError, Hands
from sentinel.runtime.members import known_of
from sentinel.runtime.probe import Hold, held_nowhere
from sentinel.runtime.reboot import reboot
from sentinel.runtime.restart_job import restart_job
from sentinel.runtime.workers import Workers

log = structlog.get_logger(logger_name="perform")


def turns(actions: Sequence[Action]) -> tuple[list[Sequence[Action]], Sequence[Action]]:
    """Tell what is done one after the other, and what needs to wait for nothing.

    After a graceful resume the rest follows, so that no step is lost; pages never wait. Otherwise stacks
    are taken before anything is killed, and a generation forms when what is killed on its nodes is gone,
    for a process frees its GPU late. Elsewhere its number fences what is old.
    """
    pages = [action for action in actions if isinstance(action, Page)]
    resumes = [action for action in actions if isinstance(action, Resume)]
    if any(resume.pause for resume in resumes):
        return [resumes, [a for a in actions if a not in [*resumes, *pages]]], pages
    stacks = [action for action in actions if isinstance(action, CollectStacks)]
    seats = {seat.node for resume in resumes for seat in resume.seats}
    stops = [a for a in actions if isinstance(a, StopWorker) and (stacks or a.node in seats)]
    forming = [action for action in actions if isinstance(action, Resume | RestartJob)]
    return [stacks, stops, forming], [a for a in actions if a not in [*stacks, *stops, *forming]]


class Performer:
    """Carries actions out, those of one decision side by side, and reports what became of them."""

    def __init__(
        self,
        hands: Hands,
        agents: AgentOrders,
        state: State,
        learned: Callable[[Fact], None],
        now: Callable[[], Instant],
        hold: Hold = held_nowhere,
    ) -> None:
        self._hands, self._agents, self._state, self._learned, self._now = hands, agents, state, learned, now
        self._hold = hold
        self._workers = Workers(hands, agents, state, learned, now)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, actions: tuple[Action, ...]) -> None:
        """Begin to do the actions of one decision, side by side as far as that is right."""
        in_order, aside = turns(actions)
        self._spawn(self._in_turn(in_order))
        for action in aside:
            self._spawn(self._perform(action))

    async def _in_turn(self, in_order: Iterable[Sequence[Action]]) -> None:
        for turn in in_order:
            await asyncio.gather(*map(self._perform, turn))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _perform(self, action: Action) -> None:
        try:
            detail, data = await self._do(action)
        except (BackendError, ActionError, TimeoutError, OSError) as error:
            data = error.data if isinstance(error, ActionError) else ()
            self._outcome(action.id, ok=False, detail=str(error) or type(error).__name__, data=data)
            return
        except Exception as error:  # a defect of ours must not leave an action without an outcome
            log.exception("action-failed", action=action.id)
            self._outcome(action.id, ok=False, detail=f"{type(error).__name__}: {error}")
            return
        if not isinstance(action, Page | Refusal):
            self._outcome(action.id, ok=True, detail=detail, data=data)

    def _outcome(self, action: ActionId, *, ok: bool, detail: str, data: tuple[str, ...] = ()) -> None:
        log.info("outcome", action=action, ok=ok, detail=detail)
        self._learned(Outcome(self._now(), action, ok, detail, data))

    async def _do(self, action: Action) -> tuple[str, tuple[str, ...]]:
        match action:
            case Page():
                return self._keep(action), ()
            case CordonNode(node=node, reason=reason):
                return await self._hands.nodes.cordon(node, reason), ()
            case Evict():
                return await self._workers.evict(action), ()
            case Readmit(node=node):
                return await self._hands.nodes.uncordon(node), ()
            case Refusal():
                return "", ()
            case Resume():
                return await self._workers.resume(action)
            case RestartJob():
                return await restart_job(action, self._state.jobs[action.job], self._hands.restart)
            case StartWorker():
                return await self._workers.start(action), ()
            case StopWorker(job=job, worker=worker, node=node, pid=pid):
                return await self._workers.stop(job, worker, node, pid, action.id), ()
            case StopJob():
                return await self._workers.stop_job(action), ()
            case CollectStacks():
                return await self._agents.stacks(action)
            case Probe(check=check) if check:
                return await self._probe_members(action), ()
            case Probe():
                return await self._agents.probe(action), ()
            case Prove():
                return await self._prove(action), ()
            case CallOff():
                return await self._agents.call_off(action), ()
            case Repair(rung=Rung.GPU_RESET):
                return await self._agents.reset(action), ()
            case Repair():
                return await reboot(action, self._state.nodes[action.node], self._hands.reboot)
            case Ping():
                return await self._ping(action), ()
            case RestartAgent():
                return await self._agents.start(action.node, take_over=True), ()
            case RestartGcs():
                return await self._hands.nodes.restart_control_plane(), ()
            case _:
                assert_never(action)

    def _keep(self, page: Page) -> str:
        try:
            self._hands.dispatcher.keep(addressed(page, self._state))
        except OutboxError as error:
            raise ActionError(str(error)) from None
        return "kept"

    async def _prove(self, action: Prove) -> str:
        if not action.check:
            return await self._agents.prove(action)
        asked = action.check, action.members, action.deadline
        return await self._probe_members(Probe(action.id, IncidentId(""), NodeId(""), *asked))

    async def _probe_members(self, action: Probe) -> str:
        if action.node and not is_wanted(action, self._state):
            return "called off before it began"
        addresses = {name: self._state.nodes[name].address for name in action.members}
        about = known_of(action.members, self._state)
        probed = await probe_members(self._agents, action, addresses, self._now, about, hold=self._hold)
        self._learned(probed)
        answered = sum(not sample.error for sample in probed.samples)
        return f"{answered} of {len(probed.samples)} measurements"

    async def _ping(self, action: Ping) -> str:
        node = self._state.nodes[action.node]
        agent, raylet, step = await asyncio.gather(
            ping(node.address, node.port),
            self._hands.nodes.look(action.node),
            self._workers.newest_step(action.node),
        )
        self._learned(NodePinged(self._now(), action.node, agent, raylet, step, action.incident))
        return f"agent {agent}, raylet {raylet}, step {step}"
