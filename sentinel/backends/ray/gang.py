"""Sentinel's own gang on Ray: workers are detached actors, asked through the link."""

from collections.abc import Mapping, Sequence

from sentinel.backends.port import Attempt, Member, Pause
from sentinel.backends.ray.link import Link
from sentinel.backends.ray.requests import EndWorkers, Form, StartWorker, Statuses, StopWorker
from sentinel.gang.orders import WorkerSpec, WorkerStatus
from sentinel.model.ids import JobId, NodeId, Seconds, WorkerId

KILLED_WITHIN_S = 3.0
"""A worker that was not warm in time is killed before that is answered."""
ANSWERED_WITHIN_S = 0.5
"""So much longer than its workers the link itself may take."""


class RayGang:
    """Workers of jobs on Ray."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def start_worker(
        self, spec: WorkerSpec, worker: WorkerId, node: NodeId, gpu: int, memory: str, within: Seconds
    ) -> WorkerStatus:
        """Start a worker, or find it."""
        asked = StartWorker(spec, worker, node, gpu, memory, within_s=within)
        return await self._link.order(asked, within + KILLED_WITHIN_S)

    async def stop_worker(self, job: JobId, worker: WorkerId, within: Seconds) -> None:
        """Kill its actor, and free its name."""
        await self._link.ask(StopWorker(job, worker), within)

    async def end_workers(self, job: JobId, journal: str, within: Seconds) -> None:
        """Kill what another journal has left."""
        await self._link.order(EndWorkers(job, journal), within)

    async def statuses(
        self, job: JobId, workers: Sequence[WorkerId], within: Seconds
    ) -> Mapping[WorkerId, WorkerStatus]:
        """Ask all at once."""
        return await self._link.ask(Statuses(job, tuple(workers), within), within + ANSWERED_WITHIN_S)

    async def form(
        self, job: JobId, members: Sequence[Member], pause: Pause | None, within: Seconds
    ) -> Attempt:
        """Form a generation."""
        return await self._link.order(Form(job, tuple(members), pause), within)
