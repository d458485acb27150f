"""A cluster to look at: what the controller would show, quiet or in trouble."""

import math
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import httpx
import uvicorn
from fastapi import FastAPI

from sentinel.logbook import tally_file
from sentinel.logbook.book import Logbook
from sentinel.logbook.row import Row
from sentinel.logbook.tally import Entry
from sentinel.model.fact import FindingReported
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import Cause, IncidentId, NodeId
from sentinel.model.incident import Diagnosis, Incident, Suspect
from sentinel.web.view import (
    Command,
    CommandRefusedError,
    DecisionView,
    IncidentView,
    JobView,
    NodeView,
    SeatView,
    Status,
)

T0 = 1_772_600_767.25
"""2026-03-04 05:06:07.25 UTC"""
TOKEN = "correct-horse"

SEATS = tuple(SeatView(rank, f"node-{rank // 2 + 1}", rank % 2, f"moe-{rank}", 1234) for rank in range(8))
LOSSES = tuple((1184 + n, 2.0 + 3.0 * math.exp(-n / 20) + 0.05 * math.sin(n)) for n in range(50))
JOB = JobView("moe", "running", 11, 1234, 8, SEATS, (("moe-9", "node-5"),), LOSSES, 0.42, 0.2, 1233)
NODES = tuple(NodeView(f"node-{n}", Health.OK, 0.1 * n, gpus=2) for n in range(1, 13))
QUIET = Status(T0, "cluster-a", T0 - 93_000, NODES, (JOB,))

INCIDENT = IncidentView(
    incident="INC-7",
    opened=T0 - 3.2,
    stage="mitigating",
    title="GPU fell off the bus: node-3 gpu-1 (rank 5)",
    cause="gpu-lost",
    where="node-3 gpu-1 (rank 5)",
    why="Xid 79 on gpu-1 0.1 s before rank 5 ended with signal 9",
    confidence=0.95,
    done=("evict node-3: its GPU 1 is lost", "resume moe as generation 12 with 8 ranks on 4 nodes"),
)
TROUBLE = replace(
    QUIET,
    nodes=(
        *NODES[:2],
        NodeView(
            "node-3",
            Health.CRITICAL,
            0.3,
            cordon="INC-7: its GPU 1 is lost",
            gpus=2,
            findings=(
                "gpu-1 xid/xid-79: GPU has fallen off the bus",
                "gpu-1 gpu/lost: the handle does not answer",
            ),
        ),
        *NODES[3:6],
        NodeView(
            "node-7", Health.WARNING, 0.2, gpus=2, findings=("gpu-0 gpu/throttle: hardware slowdown, 91 °C",)
        ),
        NodeView("node-8", Health.UNKNOWN, 12.0, silent=True, gpus=2),
        *NODES[8:],
    ),
    jobs=(replace(JOB, stage="forming", generation=12, step_age_s=3.4),),
    incidents=(INCIDENT,),
    decisions=(
        DecisionView(T0 - 2.7, "resume moe as generation 12 with 8 ranks on 4 nodes", "INC-7"),
        DecisionView(T0 - 2.8, "evict node-3: its GPU 1 is lost", "INC-7", outcome="done: cordoned"),
        DecisionView(T0 - 2.9, "page, revision 1: GPU fell off the bus", "INC-7", outcome="done: sent"),
        DecisionView(T0 - 400, "evict node-7: confidence 0.40 is below 0.70", "INC-6", refused=True),
    ),
)


@dataclass
class Cluster:
    """A view as the controller implements it, with a real logbook."""

    book: Logbook
    now: Status = QUIET
    asked: list[Command] = field(default_factory=list)
    lately: tuple[Entry, ...] = ()

    def status(self) -> Status:
        return self.now

    def why(self, name: str) -> list[tuple[str, str]] | None:
        return [("is", "in use"), ("guard", "actions are [b]stopped[/b]: ann")] if name == "node-1" else None

    def search(self, query: str) -> Sequence[Row]:
        return self.book.search(query)

    def row(self, incident: str) -> Row | None:
        return self.book.row(incident)

    def entry(self, incident: str) -> str | None:
        return self.book.entry(incident)

    def counted(self) -> Sequence[Entry]:
        return tally_file.read(self.book.folder)

    def uncounted(self) -> Sequence[Entry]:
        return self.lately

    async def command(self, command: Command) -> str:
        if command.target == "node-99":
            raise CommandRefusedError("no node 'node-99'")
        self.asked.append(command)
        return f"{command.command} {command.target}".strip()


@contextmanager
def served(app: FastAPI) -> Iterator[httpx.Client]:
    """Serve an app over a real socket."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            deadline = time.monotonic() + 20
            while not server.started and time.monotonic() < deadline:
                time.sleep(0.01)
            yield httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", verify=False)
        finally:
            server.should_exit = True
            thread.join(20)


def an_incident() -> Incident:
    where = Suspect(NodeId("node-7"), 29, 3, 0.95)
    finding = Finding("xid", "xid-79", "gpu-3", Health.CRITICAL, "GPU has fallen off the bus", event=True)
    return Incident(
        IncidentId("INC-7"),
        T0,
        diagnosis=Diagnosis(Cause("gpu-lost"), (where,), 0.95, "Xid 79 on gpu-3, then rank 29 ended"),
        evidence=[FindingReported(T0, NodeId("node-7"), finding)],
        times={"detected": T0, "new_step": T0 + 2.5},
        steps_lost=1,
    )
