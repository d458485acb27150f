"""A job's worker processes: started, stopped, formed into a generation."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sentinel.core.state import JobStage, State
from sentinel.model.action import Evict, Resume, Seat, StartWorker, StopJob
from sentinel.model.fact import Fact, WorkerReady
from sentinel.model.ids import Instant, JobId, NodeId
from sentinel.model.report import KillWorker
from sentinel.runtime.agent_orders import AgentOrders
from sentinel.runtime.hands import ActionError, Hands
from sentinel.runtime.link import LinkError

KILL_DEADLINE_S = 3.0
RANKS_DEADLINE_S = 0.8
START_S = 120.0
"""Loading torch on a cold node, and the dry step, take tens of seconds."""
FORM_SLACK_S = 90.0
"""What forming may take beside set-up and load: to pause, to open the store, to meet."""
LAST_BEATS_S = 10.0
"""A killed process is gone, and has freed its GPU, well before."""


class Workers:
    """Acts on workers through Ray, and through the agents of their nodes."""

    def __init__(
        self,
        hands: Hands,
        agents: AgentOrders,
        state: State,
        learned: Callable[[Fact], None],
        now: Callable[[], Instant],
    ) -> None:
        self._hands, self._agents, self._state, self._learned, self._now = hands, agents, state, learned, now
        self._ended: dict[JobId, str] = {}
        """The other journal whose workers of a job have been ended."""

    async def start(self, action: StartWorker) -> str:
        """Start a warm standby; it is ready when this returns."""
        status = await self._hands.link.ask(
            "start_worker",
            timeout=START_S + KILL_DEADLINE_S,
            within_s=START_S,
            spec=dataclasses.asdict(self._hands.spec),
            worker=action.worker,
            node=action.node,
            gpu=action.gpu,
            memory=str(self._hands.memory_of(action.node)),
        )
        pid = status["pid"]
        self._learned(WorkerReady(self._now(), action.job, action.worker, action.node, action.gpu, pid))
        return f"pid {pid}"

    async def stop(self, job: JobId, worker: str, node: NodeId, pid: int, order: str) -> str:
        """Kill by the agent, which reaches stopped processes too, and free the actor's name in Ray."""
        kill = KillWorker(f"{order}#{worker}", worker, pid)  # type: ignore[arg-type]
        results = await asyncio.gather(
            self._agents.order(node, kill, KILL_DEADLINE_S),
            self._hands.link.ask("stop_worker", timeout=KILL_DEADLINE_S, job=job, worker=worker),
            return_exceptions=True,
        )
        if all(isinstance(result, BaseException) for result in results):
            raise ActionError("; ".join(map(str, results)))
        return "killed"

    async def evict(self, action: Evict) -> str:
        """Empty the node: whatever of ours still runs there goes."""
        leaving = [
            (job.id, worker)
            for job in self._state.jobs.values()
            for worker in job.workers.values()
            if worker.node == action.node and worker.id not in job.seats and worker.pid
        ]
        silent = self._state.nodes[action.node].silent
        stops = (self.stop(job, w.id, w.node, w.pid, action.id) for job, w in leaving)
        results = await asyncio.gather(*stops, return_exceptions=True)
        failed = [str(result) for result in results if isinstance(result, BaseException)]
        if failed and not silent:
            raise ActionError(failed[0])
        return f"cordoned, {len(leaving)} workers stopped" + (", node unreachable" if failed else "")

    async def stop_job(self, action: StopJob) -> str:
        """Stop all processes of a job."""
        job = self._state.jobs[action.job]
        living = [worker for worker in job.workers.values() if worker.pid]
        stops = (self.stop(job.id, w.id, w.node, w.pid, action.id) for w in living)
        await asyncio.gather(*stops, return_exceptions=True)
        return f"{len(living)} workers stopped"

    async def resume(self, action: Resume) -> tuple[str, tuple[str, ...]]:
        """Form a generation; returns when every rank has its state. Raises ActionError with who is stuck."""
        job = self._state.jobs[action.job]
        if job.generation != action.generation or job.stage is JobStage.BROKEN:
            return "superseded", ()
        seats = self._places(action.seats)
        order = {
            "generation": action.generation,
            "world": len(seats),
            "skip": list(action.skip),
            "within_s": self._hands.slow_phase_s,
            "takes_over": self._ended.get(job.id, "") if job.high_step < 0 else "",
        }
        pause = {"generation": action.generation - 1, "workers": list(action.pause)} if action.pause else None
        within = self._hands.slow_phase_s + FORM_SLACK_S
        answer = await self._hands.link.ask(
            "form", timeout=within, job=action.job, order=order, seats=seats, pause=pause
        )
        formed = answer["formed"]
        if overtaken := next((each for each in formed if "newest" in each), None):
            newest, journal = overtaken["newest"], overtaken["journal"]
            if job.high_step < 0 and job.stage is JobStage.FORMING and job.generation == action.generation:
                await self._end_workers(job.id, journal)
            told = f"generation {newest} of journal {journal} has trained in the job's directory"
            raise ActionError(told, (f"overtaken {newest}",))
        if answer["failed"]:
            raise ActionError(answer["failed"], tuple(f"stuck {worker}" for worker in answer["stuck"]))
        first = formed[0]
        lost = max(answer["lost"] for answer in formed)
        told = f"restored step {first['step']} from {first['source']}"
        return told, (f"lost {lost}", told, *first["damaged"])

    async def _end_workers(self, job: JobId, journal: str) -> None:
        """End what another journal, now lost, has left of a job, so that its GPUs are free and it is alone.

        A process that can't be killed is waited for no longer than `LAST_BEATS_S`.
        """
        if journal == self._hands.spec.journal:
            return
        await self._hands.link.ask("end_workers", job=job, suffix=journal)
        give_up = self._now() + LAST_BEATS_S
        while self._now() < give_up and any(
            beat.job == job and beat.worker.endswith(f"-{journal}")
            for node in self._state.nodes
            for beat in self._hands.beats(node)
        ):
            await asyncio.sleep(0.1)
        self._ended[job] = journal

    def _places(self, seats: Sequence[Seat]) -> list[dict[str, Any]]:
        """Say for each seat where it is, who may hold its snapshots, and which node gets the copies."""
        nodes = self._state.nodes.values()
        doors = {node.id: (node.address, node.port) for node in nodes if not node.silent and node.port}
        if any(seat.node not in doors for seat in seats):
            raise ActionError("a seat's node is silent")
        ring = sorted({seat.node for seat in seats})
        peers = _peers(ring, doors)
        hosted: dict[NodeId, list[int]] = {node: [] for node in ring}
        for seat in seats:
            hosted[seat.node].append(seat.rank)
        held = {peer: hosted[node] for node, peer in peers.items() if peer is not None}
        return [
            {
                "worker": seat.worker,
                "rank": seat.rank,
                "gpu": seat.gpu,
                "address": doors[seat.node][0],
                "holders": [doors[seat.node], *(door for node, door in doors.items() if node != seat.node)],
                "peer": doors[peer] if (peer := peers[seat.node]) else None,
                "hosted": hosted[seat.node],
                "held": held.get(seat.node, []),
            }
            for seat in seats
        ]

    async def newest_step(self, node: NodeId) -> int:
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


def _peers(ring: Sequence[NodeId], others: Iterable[NodeId]) -> dict[NodeId, NodeId | None]:
    """Choose for each node the next one with a rank; a job on one node copies to any other."""
    if len(ring) < 2:
        return {node: next((other for other in others if other != node), None) for node in ring}
    return dict(zip(ring, [*ring[1:], ring[0]], strict=True))
