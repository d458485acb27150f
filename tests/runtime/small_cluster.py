"""A controller's ledger with a real journal, and a cluster that does at once whatever it decides."""

from collections.abc import Callable
from pathlib import Path

from sentinel import runbooks
from sentinel.adapters.journal import Journal
from sentinel.core.state import Rules
from sentinel.core.state.rows import JobStage
from sentinel.model.action import Action, Resume, StartWorker
from sentinel.model.fact import (
    DeadlinePassed,
    Fact,
    FindingReported,
    JobAdvanced,
    JobSubmitted,
    NodeJoined,
    Outcome,
    WorkerReady,
)
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import JobId, NodeId
from sentinel.model.policy import Policy
from sentinel.runtime.ledger import Ledger

JOB = JobId("moe")


class Cluster:
    """Two nodes, and a job of one rank."""

    def __init__(self, folder: Path, policy: Policy) -> None:
        self.journal = Journal(folder / "journal.db")
        self.performed: list[Action] = []
        self.advances = True
        """Whether a generation makes a new step."""
        books = runbooks.load()
        self.ledger = Ledger(self.journal, Rules(policy, books), runbooks.hash_of(books), self.perform)
        self.pages = self.ledger.load()
        self.at = self.ledger.state.now

    def tell(self, *facts: Callable[[float], Fact]) -> None:
        for fact in facts:
            self.at += 0.01
            self.ledger.absorb([fact(self.at)])

    def perform(self, actions: tuple[Action, ...]) -> None:
        self.performed += actions
        for action in actions:
            if isinstance(action, StartWorker):
                self.tell(lambda at, a=action: WorkerReady(at, JOB, a.worker, a.node, a.gpu, 100))
            self.tell(lambda at, a=action: Outcome(at, a.id, ok=True, detail=""))
            if isinstance(action, Resume) and self.advances:
                self.tell(lambda at, a=action: JobAdvanced(at, JOB, a.generation, a.generation))

    def trains(self) -> None:
        """Let the job train on one of the nodes."""
        nodes = [lambda at, n=n: NodeJoined(at, NodeId(n), "10.0.0.1", 1, 1, "boot") for n in ("n1", "n2")]
        self.tell(*nodes, lambda at: JobSubmitted(at, JOB, 1, "m:t", 1, 1))
        self.tell(lambda at: DeadlinePassed(at, f"place/{JOB}"))
        assert self.ledger.state.jobs[JOB].stage is JobStage.RUNNING

    @property
    def home(self) -> NodeId:
        [(_, worker)] = self.ledger.state.seated(self.ledger.state.jobs[JOB])
        return worker.node

    def breaks(self, node: NodeId) -> None:
        broken = Finding("gpu", "ecc-uncorrectable", "gpu-0", Health.CRITICAL, "2 errors")
        self.tell(lambda at: FindingReported(at, node, broken))

    def restarted(self, folder: Path, policy: Policy) -> "Cluster":
        self.journal.close()
        return Cluster(folder, policy)

    def pass_time(self) -> None:
        """Let every deadline pass that is set now."""
        for at, name in sorted((at, name) for name, at in self.ledger.state.deadlines.items()):
            self.at = max(self.at, at)
            self.tell(lambda at, name=name: DeadlinePassed(at, name))
