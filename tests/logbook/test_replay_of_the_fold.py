"""The real fold: an incident that went through the journal is decided again in the same way."""

from pathlib import Path

from sentinel import runbooks
from sentinel.adapters.journal import Journal
from sentinel.core.fold import decide
from sentinel.core.replay import replay
from sentinel.core.state import Rules, State
from sentinel.logbook.recording import export, read
from sentinel.model.action import Action, Resume, StartWorker
from sentinel.model.fact import (
    DeadlinePassed,
    Fact,
    JobAdvanced,
    JobSubmitted,
    NodeJoined,
    NodeProbed,
    Outcome,
    RankExited,
    WorkerReady,
)
from sentinel.model.ids import JobId, NodeId
from sentinel.model.policy import Policy

RULES = Rules(Policy(), runbooks.load())
JOB = JobId("moe")


class Cluster:
    """Folds facts into a state and a journal, and answers actions as a healthy cluster would."""

    def __init__(self, journal: Journal) -> None:
        self.state, self.journal, self.at, self.pid = State(), journal, 1000.0, 100

    def tell(self, fact: Fact) -> None:
        actions = decide(self.state, fact, RULES)
        self.journal.append(fact, actions, "p", "r")
        for action in actions:
            self.answer(action)

    def answer(self, action: Action) -> None:
        if isinstance(action, StartWorker):
            self.pid += 1
            self.tell(WorkerReady(self.now(), JOB, action.worker, action.node, action.gpu, self.pid))
        if isinstance(action, StartWorker | Resume):
            self.tell(Outcome(self.now(), action.id, ok=True, detail=""))

    def now(self) -> float:
        self.at += 0.01
        return self.at

    def pass_time(self) -> None:
        for at, name in sorted((at, name) for name, at in self.state.deadlines.items()):
            self.at = max(self.at, at)
            self.tell(DeadlinePassed(self.at, name))


def test_an_incident_replays_to_the_same_decisions(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    cluster = Cluster(journal)
    for name in ("a", "b", "c"):
        cluster.tell(NodeJoined(cluster.now(), NodeId(name), "127.0.0.1", 1, 1, "boot"))
    cluster.tell(JobSubmitted(cluster.now(), JOB, 2, "x:y", 1, 1))
    cluster.pass_time()
    cluster.tell(JobAdvanced(cluster.now(), JOB, 1, 0))
    journal.save_snapshot(journal.last_seq, cluster.state.to_bytes())
    job = cluster.state.jobs[JOB]
    worker = cluster.state.workers.at(job.id, 0)
    assert worker is not None
    cluster.tell(
        RankExited(cluster.now(), JOB, 0, worker.id, worker.node, 0, worker.pid, job.generation, "signal 9")
    )
    cluster.tell(NodeProbed(cluster.now(), worker.node, f"exit:{worker.pid}"))
    cluster.pass_time()
    (incident,) = cluster.state.incidents.values()

    recording = read(export(journal, incident))
    journal.close()
    state = State.from_plain(recording.state)
    again = lambda state, facts: [(fact, decide(state, fact, RULES)) for fact in facts]  # noqa: E731
    decisions = list(replay(recording.lines, state, again))
    assert any(decision.decided for decision in decisions)
    assert not any(decision.differs for decision in decisions)
    assert state == cluster.state
