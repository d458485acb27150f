"""What the status shows of what the controller believes: each decision's own time, and what is left."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from sentinel import runbooks
from sentinel.core.fold import fold
from sentinel.core.state import Rules, State
from sentinel.model.decision import deeds
from sentinel.model.fact import (
    Commanded,
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
from sentinel.model.ids import ActionId, JobId, NodeId, WorkerId
from sentinel.model.journal import Line
from sentinel.model.policy import Policy
from sentinel.model.report import RankBeat
from sentinel.runtime.recent import Recent
from sentinel.runtime.view import ControllerView
from sentinel.web.view import Silence

RULES = Rules(Policy(evict_share=1.0), runbooks.load())
LOST = Finding("gpu", "gpu-lost", "gpu-0", Health.CRITICAL, "GPU is lost")
N1, N2, N3 = (NodeId(f"n{number}") for number in (1, 2, 3))


class Nobody:
    """Knows no reports but the given beats, no jobs and no trouble."""

    trouble = ""

    def heard_age(self, node: NodeId, now: float) -> None:
        return None

    def __init__(self, beats: Mapping[NodeId, Sequence[RankBeat]] | None = None) -> None:
        self._beats = beats or {}

    def beats(self, node: NodeId) -> Sequence[RankBeat]:
        return self._beats.get(node, ())

    def losses(self, job: JobId) -> tuple[tuple[int, float], ...]:
        return ((104, 2.5), (105, 2.4)) if job else ()

    def median_step(self, job: JobId) -> None:
        return None

    def step_age(self, job: JobId, now: float) -> None:
        return None


def status_after(*facts: Fact, beats: Mapping[NodeId, Sequence[RankBeat]] | None = None) -> Any:
    """Give the status after these facts, and after what was decided from them."""
    state, recent = State(0.0), Recent()
    for fact in facts:
        recent.changed(fact, deeds(fold(state, fact, RULES)))
    ledger: Any = SimpleNamespace(state=state, rules=RULES)
    nobody: Any = Nobody(beats)
    return ControllerView("a", ledger, nobody, nobody, nobody, lambda: 99.0, recent).status()


JOINED = tuple(NodeJoined(1.0, node, "10.0.0.1", 1, 1, "boot") for node in (N1, N2, N3))


def test_each_decision_has_its_own_time_and_the_newest_comes_first() -> None:
    stop, resume = Commanded(10.0, "stop-actions", "", "ann"), Commanded(30.0, "resume-actions", "", "ann")
    status = status_after(
        *JOINED, FindingReported(5.0, N1, LOST), stop, FindingReported(20.0, N2, LOST), resume
    )
    times = [decision.at for decision in status.decisions]
    assert times == sorted(times, reverse=True)
    evicted = {each.what.split(":")[0]: each.at for each in status.decisions if each.what.startswith("evict")}
    assert evicted == {"evict n1": 5.0, "evict n2": 30.0}
    assert [decision.at for decision in status.decisions if decision.refused] == [20.0]


def test_an_incident_tells_when_each_thing_was_done_and_what_is_left() -> None:
    status = status_after(*JOINED, FindingReported(5.0, N1, LOST))
    (incident,) = status.incidents
    assert any(line.startswith("+0.0 s: evict n1") for line in incident.done)
    assert any("n1 is out and awaits repair" in line for line in incident.left)
    assert incident.left == status.left
    assert incident.severity == "warning"


def test_an_incident_whose_remedy_is_refused_is_critical() -> None:
    status = status_after(*JOINED, Commanded(4.0, "stop-actions", "", "ann"), FindingReported(5.0, N1, LOST))
    assert [incident.severity for incident in status.incidents] == ["critical"]


def test_what_is_left_is_told_without_its_incident() -> None:
    drain = Commanded(6.0, "drain", "n2", "ann")
    status = status_after(*JOINED, FindingReported(5.0, N1, LOST), drain)
    assert any("drained by hand: n2" in line for line in status.left)


def test_what_became_of_each_decision_is_told_with_how_long_it_took() -> None:
    evicted = Outcome(7.5, ActionId("I-0001/evict/n1/1"), ok=True, detail="")
    page = Outcome(6.0, ActionId("I-0001/page/on-call/1"), ok=False, detail="no such channel")
    status = status_after(*JOINED, FindingReported(5.0, N1, LOST), page, evicted)
    outcomes = {each.what.split(":")[0].split(",")[0]: each.outcome for each in status.decisions}
    assert outcomes["evict n1"] == "done 2.5 s later"
    assert outcomes["page"] == "failed 1.0 s later: no such channel"


JOB = JobId("moe")
TRAINING: tuple[Fact, ...] = (
    *JOINED,
    JobSubmitted(2.0, JOB, 3, "m:T", 0, 3),
    DeadlinePassed(3.0, "place/moe"),
    *(WorkerReady(4.0, JOB, WorkerId(f"w{n}"), node, 0, n) for n, node in enumerate((N1, N2, N3), 1)),
    JobAdvanced(5.0, JOB, 1, 105),
)


def test_a_drain_is_a_decision_and_says_what_it_waits_for() -> None:
    drain = Commanded(10.0, "drain", N1, "ann", "fans")
    status = status_after(*TRAINING, drain)
    (row,) = [each for each in status.decisions if each.what.startswith("drain")]
    assert (row.at, row.what) == (10.0, "drain n1, said by ann")
    assert row.outcome.startswith("under way: moe has rank 0 there, to stay: moe needs 3 ranks")
    (node,) = [each for each in status.nodes if each.node == N1]
    assert f"under way: {node.full}" == row.outcome
    (idle,) = [each for each in status_after(*JOINED, drain).decisions if each.what.startswith("drain")]
    assert idle.outcome == "done: no process of a job is left there"


def test_a_job_whose_beats_are_not_heard_has_the_step_that_is_known() -> None:
    (job,) = status_after(*TRAINING).jobs
    assert job.step == 105


def test_silences_say_until_when_and_are_gone_when_they_are_lifted() -> None:
    quiet = Commanded(10.0, "silence", "gpu-lost", "ann", "new GPU on Monday", 3610.0)
    (silence,) = status_after(*JOINED, quiet).silences
    assert silence == Silence("gpu-lost", 3610.0, "ann", "new GPU on Monday")
    assert status_after(*JOINED, quiet, Commanded(11.0, "unsilence", "gpu-lost", "ann")).silences == ()


def test_a_second_word_says_who_gave_it() -> None:
    quiet = Commanded(10.0, "silence", "n1", "ann", "fans", 3610.0)
    longer = Commanded(11.0, "silence", "n1", "bob", "", 7210.0)
    assert status_after(*JOINED, quiet, longer).silences == (Silence("n1", 7210.0, "bob", ""),)


def test_whoever_takes_a_node_out_of_use_is_named() -> None:
    kept = Commanded(10.0, "maintain", "n1", "ann", "new kernel", 3610.0)
    drains = Commanded(10.0, "drain", "n2", "bob", "fans"), Commanded(10.0, "drain", "n3", "cy")
    nodes = {node.node: (node.maintained, node.cordon) for node in status_after(*JOINED, kept, *drains).nodes}
    assert nodes == {
        "n1": ("new kernel (ann)", ""),
        "n2": ("", "fans (operator bob)"),
        "n3": ("", "(operator cy)"),
    }


def test_a_new_controller_tells_what_the_one_before_it_decided() -> None:
    state, lines = State(0.0), []
    for seq, fact in enumerate((*JOINED, FindingReported(5.0, N1, LOST))):
        lines.append(Line(seq, fact, fold(state, fact, RULES), "p", "r"))
    recent = Recent()
    recent.recall(lines)
    made = [each.what for each in recent.views(state, str)]
    assert any(what.startswith("evict n1") for what in made)


def test_ranks_that_another_journal_placed_are_shown_while_this_one_waits() -> None:
    seen = [
        RankBeat(JOB, rank, WorkerId(f"w{rank}"), 100 + rank, 0, 25, 3470 + rank, "compute", 0, 0, 0.0, 0.0,
                 1.0, 0.0, state, 0.0, 3460)
        for rank, state in ((1, "S"), (0, "S"), (2, "X"))
    ]  # fmt: skip
    status = status_after(*JOINED, JobSubmitted(4.0, JOB, 2, "m:t", 0, 1), beats={N1: seen})
    [job] = status.jobs
    assert [(seat.rank, seat.node, seat.step) for seat in job.seats] == [(0, N1, 3470), (1, N1, 3471)]
    assert (job.generation, job.step, job.snapshot_step) == (25, 3470, 3460)
    assert job.needs.endswith("ranks that another journal placed train on")


def test_a_findings_numbers_are_rounded_and_said_to_be_of_when_it_came() -> None:
    """They are told once: a minute later the pressure is another one, and that is no news."""
    found = Finding(
        "host",
        "cpu-short",
        "node",
        Health.WARNING,
        "processes wait for a processor",
        {"pressure": 87.4812, "free": 8005374},
    )
    later = Finding("host", "x", "node", Health.OK, "well")
    [node, *_] = status_after(
        *JOINED, FindingReported(3605.0, N1, found), FindingReported(3665.0, N1, later)
    ).nodes
    assert node.findings == (
        "node: processes wait for a processor (at 01:00:05 UTC: pressure 87.5, free 8005374)",
    )


def test_what_several_checks_say_alike_is_shown_once() -> None:
    """Each check of a GPU that is lost finds that it can't be read."""
    found = [
        Finding(check, f"{check}-unreadable", "gpu-0", Health.UNKNOWN, "GPU 0 can't be read: GPU is lost")
        for check in ("gpu_clocks", "gpu_links", "gpu_memory")
    ]
    [node, *_] = status_after(*JOINED, *(FindingReported(3605.0, N1, each) for each in found)).nodes
    assert node.findings == ("gpu-0: GPU 0 can't be read: GPU is lost",)
