"""Doing what was decided: each action looks first whether it is done already, and ends in an outcome."""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, assert_never

import structlog

from sentinel.adapters import ray_gcs
from sentinel.adapters.outbox import Outbox
from sentinel.adapters.outbox_rows import OutboxError
from sentinel.adapters.transport import Reports
from sentinel.core.state import JobStage, State
from sentinel.gang.orders import WorkerSpec
from sentinel.model.action import (
    Action,
    CollectStacks,
    Evict,
    Page,
    Probe,
    Reach,
    Readmit,
    Refusal,
    RestartAgent,
    RestartGcs,
    Resume,
    StartWorker,
    StopJob,
    StopWorker,
)
from sentinel.model.fact import Fact, NodeReached, Outcome, WorkerReady
from sentinel.model.ids import ActionId, Instant, JobId, NodeId
from sentinel.model.report import KillWorker, Leave, OrderDone, ProbeNow, StacksNow
from sentinel.runtime.link import Link, LinkError
from sentinel.runtime.reach import knock

log = structlog.get_logger("perform")

KILL_DEADLINE_S = 3.0
RANKS_DEADLINE_S = 0.8
LEAVE_DEADLINE_S = 5.0


class ActionError(Exception):
    """An action could not be done; the message is one line. `data` becomes the outcome's."""

    def __init__(self, detail: str, data: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.data = data


@dataclasses.dataclass(frozen=True)
class Hands:
    """What actions are done with."""

    link: Link
    reports: Reports
    outboxes: Sequence[Outbox]
    """The durable one, and one in memory for when its disk is full."""
    spec: WorkerSpec
    agent_argv: Callable[[NodeId], list[str]]
    memory_of: Callable[[NodeId], Path]
    gcs_command: Path


class Performer:
    """Carries actions out, those of one decision side by side, and reports what became of them."""

    def __init__(
        self, hands: Hands, state: State, learned: Callable[[Fact], None], now: Callable[[], Instant]
    ) -> None:
        self._hands, self._state, self._learned, self._now = hands, state, learned, now
        self._orders: dict[str, asyncio.Future[OrderDone]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.raylets: Mapping[NodeId, tuple[str, int]] = {}

    def start(self, actions: tuple[Action, ...]) -> None:
        """Begin to do the actions of one decision.

        They run side by side, for a generation number fences what is old; only after a graceful
        resume do the others wait, so that no step is lost, and pages not even there.
        """
        first = [action for action in actions if isinstance(action, Resume) and action.pause]
        pages = [action for action in actions if isinstance(action, Page)]
        self._spawn(self._in_turn(first, [a for a in actions if a not in [*first, *pages]]))
        for page in pages:
            self._spawn(self._perform(page))

    async def _in_turn(self, first: Sequence[Action], rest: Sequence[Action]) -> None:
        for action in first:
            await self._perform(action)
        for action in rest:
            self._spawn(self._perform(action))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def order_done(self, done: OrderDone) -> None:
        """An agent finished an order."""
        waiting = self._orders.pop(done.order, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(done)

    async def _perform(self, action: Action) -> None:
        try:
            detail, data = await self._do(action)
        except (LinkError, ActionError, TimeoutError, OSError) as error:
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
            case Evict():
                return await self._evict(action), ()
            case Readmit() | Refusal():
                return "", ()
            case Resume():
                return await self._resume(action)
            case StartWorker():
                return await self._start_worker(action), ()
            case StopWorker():
                return await self._stop_worker(
                    action.job, action.worker, action.node, action.pid, action.id
                ), ()
            case StopJob():
                return await self._stop_job(action), ()
            case CollectStacks():
                return await self._stacks(action)
            case Probe():
                sent = await self._hands.reports.send(action.node, ProbeNow(action.id))
                return ("asked" if sent else "no agent is connected"), ()
            case Reach():
                return await self._reach(action), ()
            case RestartAgent():
                return await self.start_agent(action.node), ()
            case RestartGcs():
                pid = await asyncio.to_thread(ray_gcs.restart, self._hands.gcs_command)
                return f"pid {pid}", ()
            case _:
                assert_never(action)

    def _keep(self, page: Page) -> str:
        """Put a page into the first outbox that takes it."""
        for outbox in self._hands.outboxes:
            try:
                outbox.enqueue(page)
            except OutboxError as error:
                log.error("page-not-kept", page=page.id, error=str(error))
            else:
                return "kept"
        raise ActionError(f"no outbox keeps {page.id}")

    # --- workers ---------------------------------------------------------------------------------------

    async def _start_worker(self, action: StartWorker) -> str:
        status = await self._hands.link.ask(
            "start_worker",
            timeout=120.0,
            spec=dataclasses.asdict(self._hands.spec),
            worker=action.worker,
            node=action.node,
            memory=str(self._hands.memory_of(action.node)),
        )
        pid = status["pid"]
        self._learned(WorkerReady(self._now(), action.job, action.worker, action.node, action.gpu, pid))
        return f"pid {pid}"

    async def _stop_worker(self, job: JobId, worker: str, node: NodeId, pid: int, order: str) -> str:
        """Kill by the agent, which reaches stopped processes too, and free the actor's name in Ray."""
        kill = KillWorker(f"{order}#{worker}", worker, pid)  # type: ignore[arg-type]
        results = await asyncio.gather(
            self._order(node, kill, KILL_DEADLINE_S),
            self._hands.link.ask("stop_worker", timeout=KILL_DEADLINE_S, job=job, worker=worker),
            return_exceptions=True,
        )
        if all(isinstance(result, BaseException) for result in results):
            raise ActionError("; ".join(map(str, results)))
        return "killed"

    async def _evict(self, action: Evict) -> str:
        """Empty the node: whatever of ours still runs there goes."""
        leaving = [
            (job.id, worker)
            for job in self._state.jobs.values()
            for worker in job.workers.values()
            if worker.node == action.node and worker.id not in job.seats and worker.pid
        ]
        silent = self._state.nodes[action.node].silent
        stops = (self._stop_worker(job, w.id, w.node, w.pid, action.id) for job, w in leaving)
        results = await asyncio.gather(*stops, return_exceptions=True)
        failed = [str(result) for result in results if isinstance(result, BaseException)]
        if failed and not silent:
            raise ActionError(failed[0])
        return f"cordoned, {len(leaving)} workers stopped" + (", node unreachable" if failed else "")

    async def _stop_job(self, action: StopJob) -> str:
        job = self._state.jobs[action.job]
        living = [worker for worker in job.workers.values() if worker.pid]
        stops = (self._stop_worker(job.id, w.id, w.node, w.pid, action.id) for w in living)
        await asyncio.gather(*stops, return_exceptions=True)
        return f"{len(living)} workers stopped"

    async def _resume(self, action: Resume) -> tuple[str, tuple[str, ...]]:
        job = self._state.jobs[action.job]
        if job.generation != action.generation or job.stage is JobStage.BROKEN:
            return "superseded", ()
        doors = {n.id: (n.address, n.port) for n in self._state.nodes.values() if not n.silent and n.port}
        ring = sorted({seat.node for seat in action.seats if seat.node in doors})
        seats = [
            {
                "worker": seat.worker,
                "rank": seat.rank,
                "gpu": seat.gpu,
                "address": doors[seat.node][0],
                "holders": [doors[seat.node], *(door for node, door in doors.items() if node != seat.node)],
                "peer": self._peer(ring, seat.node, doors),
            }
            for seat in action.seats
            if seat.node in doors
        ]
        if len(seats) != len(action.seats):
            raise ActionError("a seat's node is silent")
        order = {"generation": action.generation, "world": len(seats), "skip": list(action.skip)}
        pause = {"generation": action.generation - 1, "workers": list(action.pause)} if action.pause else None
        answer = await self._hands.link.ask("form", job=action.job, order=order, seats=seats, pause=pause)
        if answer["failed"]:
            raise ActionError(answer["failed"], tuple(f"stuck {worker}" for worker in answer["stuck"]))
        formed = answer["formed"]
        first = formed[0]
        lost = max(answer["lost"] for answer in formed)
        told = f"restored step {first['step']} from {first['source']}"
        return told, (f"lost {lost}", told, *first["damaged"])

    @staticmethod
    def _peer(
        ring: list[NodeId], node: NodeId, doors: Mapping[NodeId, tuple[str, int]]
    ) -> tuple[str, int] | None:
        if len(ring) < 2:
            return next((door for other, door in doors.items() if other != node), None)
        return doors[ring[(ring.index(node) + 1) % len(ring)]]

    # --- agents ----------------------------------------------------------------------------------------

    async def _order(self, node: NodeId, order: KillWorker | StacksNow | Leave, within: float) -> OrderDone:
        done = asyncio.get_running_loop().create_future()
        self._orders[order.order] = done
        if not await self._hands.reports.send(node, order):
            del self._orders[order.order]
            raise ActionError(f"{node}: no agent is connected")
        async with asyncio.timeout(within):
            answer: OrderDone = await done
        if not answer.ok:
            raise ActionError(f"{node}: {answer.detail}")
        return answer

    async def retire(self, nodes: Sequence[NodeId]) -> dict[NodeId, str]:
        """Have agents leave their nodes; returns why, for each that does not."""
        leaving = (self._order(node, Leave(f"leave/{node}"), LEAVE_DEADLINE_S) for node in nodes)
        answers = await asyncio.gather(*leaving, return_exceptions=True)
        failed = zip(nodes, answers, strict=True)
        return {node: str(why) or "no answer" for node, why in failed if isinstance(why, BaseException)}

    async def _stacks(self, action: CollectStacks) -> tuple[str, tuple[str, ...]]:
        by_node: dict[NodeId, list[tuple[int, int]]] = {}
        for node, rank, pid in action.processes:
            by_node.setdefault(node, []).append((rank, pid))
        asked = (
            self._order(
                node, StacksNow(f"{action.id}#{node}", tuple(ranks), action.deadline), action.deadline
            )
            for node, ranks in by_node.items()
        )
        answers = await asyncio.gather(*asked, return_exceptions=True)
        stacks = tuple(s for answer in answers if isinstance(answer, OrderDone) for s in answer.data)
        return f"{len(stacks)} stacks of {len(action.processes)} ranks", stacks

    async def start_agent(self, node: NodeId) -> str:
        """Have Ray launch a node's agent."""
        argv = self._hands.agent_argv(node)
        pid = await self._hands.link.ask("start_agent", timeout=30.0, node=node, argv=argv, env={})
        return f"pid {pid}"

    async def _reach(self, action: Reach) -> str:
        node = self._state.nodes[action.node]
        raylet = self.raylets.get(action.node, (node.address, 0))
        agent, door, step = await asyncio.gather(
            knock(node.address, node.port), knock(*raylet), self._newest_step(action.node)
        )
        self._learned(NodeReached(self._now(), action.node, agent, door, step, action.incident))
        return f"agent {agent}, raylet {door}, step {step}"

    async def _newest_step(self, node: NodeId) -> int:
        """Ask the node's ranks through Ray how far they are; -1 when none answers."""
        steps = [-1]
        for job in self._state.jobs.values():
            workers = [worker.id for _, worker in job.seated() if worker.node == node]
            if not workers:
                continue
            try:
                found = await self._hands.link.ask(
                    "statuses",
                    timeout=RANKS_DEADLINE_S + 0.5,
                    job=job.id,
                    workers=workers,
                    timeout_s=RANKS_DEADLINE_S,
                )
            except LinkError:
                continue
            steps += [status["step"] for status in found.values()]
        return max(steps)
