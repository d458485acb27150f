"""A job's worker processes: started, stopped, formed into a generation."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from sentinel.backends.port import Attempt, BackendError, Member, Pause
from sentinel.core.state import State
from sentinel.core.state.rows import JobStage
from sentinel.gang.orders import Formed, FormOrder, Overtaken
from sentinel.model.action import Evict, Resume, StartWorker, StopJob
from sentinel.model.counted import counted
from sentinel.model.fact import Fact, WorkerReady
from sentinel.model.ids import Instant, JobId, NodeId, Seconds, WorkerId
from sentinel.model.report import KillWorker
from sentinel.runtime.agent_orders import AgentOrders
from sentinel.runtime.hands import ActionError, Hands

KILL_DEADLINE_S = 3.0
RANKS_DEADLINE_S = 0.8
START_S = 120.0
"""Loading torch on a cold node, and the dry step, take tens of seconds."""
FORM_SLACK_S = 90.0
"""What forming may take beside set-up and load: to pause, to open the store, to meet."""
END_S = 60.0
"""The scheduler itself gives up after half of it."""
LAST_BEATS_S = 10.0
"""A killed process is gone, and has freed its GPU, well before."""


class Workers:
    """Acts on workers through the scheduler, and through the agents of their nodes."""

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
        memory = str(self._hands.memory_of(action.node))
        place = action.worker, action.node, action.gpu, memory
        pid = (await self._hands.gang.start_worker(self._hands.spec, *place, START_S)).pid
        self._learned(WorkerReady(self._now(), action.job, action.worker, action.node, action.gpu, pid))
        return f"pid {pid}"

    async def stop(self, job: JobId, worker: WorkerId, node: NodeId, pid: int, order: str) -> str:
        """Kill by the agent, which reaches stopped processes too, and have the scheduler forget it."""
        kill = KillWorker(f"{order}#{worker}", worker, pid)
        results = await asyncio.gather(
            self._agents.order(node, kill, KILL_DEADLINE_S),
            self._hands.gang.stop_worker(job, worker, KILL_DEADLINE_S),
            return_exceptions=True,
        )
        if all(isinstance(result, BaseException) for result in results):
            raise ActionError("; ".join(map(str, results)))
        return "killed"

    async def evict(self, action: Evict) -> str:
        """Empty the node: whatever of ours runs there without a seat goes."""
        workers = self._state.workers.rows.values()
        leaving = [w for w in workers if w.node == action.node and w.rank < 0 and w.pid]
        silent = self._state.nodes[action.node].silent
        stops = (self.stop(w.job, w.id, w.node, w.pid, action.id) for w in leaving)
        results = await asyncio.gather(*stops, return_exceptions=True)
        failed = [str(result) for result in results if isinstance(result, BaseException)]
        if failed and not silent:
            raise ActionError(failed[0])
        return f"{counted(len(leaving), 'worker')} stopped" + (", node unreachable" if failed else "")

    async def stop_job(self, action: StopJob) -> str:
        """Stop all processes of a job."""
        living = [worker for worker in self._state.workers.of(action.job) if worker.pid]
        stops = (self.stop(action.job, w.id, w.node, w.pid, action.id) for w in living)
        await asyncio.gather(*stops, return_exceptions=True)
        return f"{counted(len(living), 'worker')} stopped"

    async def resume(self, action: Resume) -> tuple[str, tuple[str, ...]]:
        """Form a generation; returns when every rank has its state. Raises ActionError with who is stuck."""
        job = self._state.jobs[action.job]
        if job.generation != action.generation or job.stage is JobStage.BROKEN:
            return "superseded", ()
        takes_over = self._ended.get(job.id, "") if job.high_step < 0 else ""
        members = self._members(action, self._hands.slow_phase_s, takes_over)
        resized = len(action.pause) != len(action.seats)
        pause = Pause(action.generation - 1, action.pause, resized) if action.pause else None
        within = self._hands.slow_phase_s + FORM_SLACK_S
        attempt = await self._hands.gang.form(action.job, members, pause, within)
        if overtaken := next((each for each in attempt.formed if isinstance(each, Overtaken)), None):
            job = self._state.jobs[action.job]
            if job.high_step < 0 and job.stage is JobStage.FORMING and job.generation == action.generation:
                await self._end_workers(job.id, overtaken.journal)
            theirs = f"generation {overtaken.newest} of journal {overtaken.journal}"
            why = f"{theirs} has trained in the job's directory"
            raise ActionError(why, (f"overtaken {overtaken.newest}",))
        return _summary(attempt)

    async def _end_workers(self, job: JobId, journal: str) -> None:
        """End what another journal, now lost, has left of a job, so that its GPUs are free and it is alone.

        A process that can't be killed is waited for no longer than `LAST_BEATS_S`.
        """
        if journal == self._hands.spec.journal:
            return
        await self._hands.gang.end_workers(job, journal, END_S)
        give_up = self._now() + LAST_BEATS_S
        while self._now() < give_up and any(
            beat.job == job and beat.worker.endswith(f"-{journal}")
            for node in self._state.nodes
            for beat in self._hands.beats(node)
        ):
            await asyncio.sleep(0.1)
        self._ended[job] = journal

    def _members(self, action: Resume, within_s: Seconds, takes_over: str) -> tuple[Member, ...]:
        """Say for each seat who may hold its snapshots, and which node gets the copies."""
        nodes = self._state.nodes.values()
        there = (node for node in nodes if node.lives or not node.silent)  # survivors keep their seats
        addresses = {node.id: (node.address, node.port) for node in there if node.port}
        if any(seat.node not in addresses for seat in action.seats):
            raise ActionError("a seat's node is silent")
        ring = sorted({seat.node for seat in action.seats})
        peers = _peers(ring, addresses)
        hosted: dict[NodeId, tuple[int, ...]] = dict.fromkeys(ring, ())
        for seat in action.seats:
            hosted[seat.node] += (seat.rank,)
        held = {peer: hosted[node] for node, peer in peers.items() if peer is not None}
        first, _ = addresses[action.seats[0].node]
        return tuple(
            Member(
                seat.worker,
                FormOrder(
                    generation=action.generation,
                    rank=seat.rank,
                    world=len(action.seats),
                    gpu=seat.gpu,
                    store=(first, 0),
                    holders=(
                        addresses[seat.node],
                        *(address for node, address in addresses.items() if node != seat.node),
                    ),
                    peer=addresses[peer] if (peer := peers[seat.node]) else None,
                    skip=action.skip,
                    hosted=hosted[seat.node],
                    held=held.get(seat.node, ()),
                    within_s=within_s,
                    takes_over=takes_over,
                    word=self._hands.word(action.job, action.generation),
                ),
            )
            for seat in action.seats
        )

    async def newest_step(self, node: NodeId) -> int:
        """Ask the node's ranks through the scheduler how far they are; -1 when none answers."""
        steps = [-1]
        for job in self._state.jobs.values():
            workers = tuple(worker.id for _, worker in self._state.seated(job) if worker.node == node)
            if not workers:
                continue
            try:
                found = await self._hands.gang.statuses(job.id, workers, RANKS_DEADLINE_S)
            except (BackendError, ActionError):
                continue
            steps += [status.step for status in found.values()]
        return max(steps)


def _summary(attempt: Attempt) -> tuple[str, tuple[str, ...]]:
    """Say from where the generation goes on. Raises ActionError that names who is stuck."""
    formed = [each for each in attempt.formed if isinstance(each, Formed)]
    restored = f"restored step {formed[0].step} from {formed[0].source}" if formed else ""
    back = (f"lost {max(each.lost for each in formed)}", restored) if formed else ()
    if attempt.failed:  # who has gone back does not count those steps a second time
        raise ActionError(attempt.failed, (*(f"stuck {worker}" for worker in attempt.stuck), *back))
    return restored, (*back, *formed[0].damaged)


def _peers(ring: Sequence[NodeId], others: Iterable[NodeId]) -> dict[NodeId, NodeId | None]:
    """Choose for each node the next one with a rank; a job on one node copies to any other."""
    if len(ring) < 2:
        return {node: next((other for other in others if other != node), None) for node in ring}
    return dict(zip(ring, [*ring[1:], ring[0]], strict=True))
