"""The controller's part in watching: reports in, facts watched and decided, all of it journalled.

Left out are Ray, pages and the web, which run on the head node and do nothing while all is well.
"""

import argparse
import asyncio
import time
from pathlib import Path

from sentinel import runbooks
from sentinel.adapters.journal import Journal
from sentinel.adapters.keys import ensure_keys
from sentinel.adapters.transport import Reports
from sentinel.core.detect.watch import Watch
from sentinel.core.state import Rules
from sentinel.model.action import Action, StartWorker
from sentinel.model.fact import DeadlinePassed, Fact, JobSubmitted, NodeJoined, WorkerReady
from sentinel.model.ids import JobId, NodeId
from sentinel.model.policy import Policy
from sentinel.model.report import Ack, Hello, Report
from sentinel.runtime.ledger import Ledger

JOB = JobId("bench")
TICK_S = 0.05


class Desk:
    """A controller whose actions are nobody's work: what it decides to start is said to be there."""

    def __init__(self, root: Path, world: int) -> None:
        books = runbooks.load()
        rules = Rules(Policy(), books)
        self._asked: list[Action] = []
        self._ledger = Ledger(
            Journal(root / "journal.db"), rules, runbooks.hash_of(books), self._asked.extend
        )
        self._watch = Watch(rules.policy, time.time())
        self._learn([JobSubmitted(time.time(), JOB, world, "bench:Bench", 0, 1)])

    async def listen(self, reports: Reports) -> None:
        """Take reports in and acknowledge them."""
        while True:
            node, message = await reports.recv()
            self._learn(self._read(message))
            await reports.send(node, Ack(max((n for n, _ in getattr(message, "events", ())), default=0)))

    async def tick(self) -> None:
        """Say what the passing of time shows, as often as the controller does."""
        while True:
            await asyncio.sleep(TICK_S)
            now, state = time.time(), self._ledger.state
            facts: list[Fact] = list(self._watch.tick(state, now))
            due = state.next_deadline()
            if due is not None and due[0] <= now:
                facts.append(DeadlinePassed(now, due[1]))
            self._learn(facts)

    def _read(self, message: Hello | Report) -> list[Fact]:
        now = time.time()
        if isinstance(message, Hello):
            joined = (message.node, message.address, message.port, message.gpus, message.boot)
            return [NodeJoined(now, *joined)] if message.gpus else []
        return list(self._watch.report(message, self._ledger.state, now))

    def _learn(self, facts: list[Fact]) -> None:
        self._ledger.absorb(facts)
        asked, self._asked[:] = self._asked[:], []
        ready = [
            WorkerReady(time.time(), a.job, a.worker, a.node, a.gpu, 1)
            for a in asked
            if isinstance(a, StartWorker)
        ]
        if ready:
            self._learn(list(ready))


async def serve(root: Path, world: int) -> None:
    """Be the desk until killed; the endpoint is left in `root/endpoint`."""
    async with (
        Reports("tcp://127.0.0.1:0", ensure_keys(root / "keys")) as reports,
        asyncio.TaskGroup() as tasks,
    ):
        reports.enrolment.enroll(NodeId("bench"))
        (root / "endpoint").write_text(reports.endpoint)
        desk = Desk(root, world)
        tasks.create_task(desk.listen(reports))
        tasks.create_task(desk.tick())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--world", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(serve(given.root, given.world))


if __name__ == "__main__":
    main()
