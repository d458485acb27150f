"""The logbook is written when it can be, and what can't be written stops nobody."""

import asyncio
import threading
from pathlib import Path

import pytest
from small_cluster import JOB, Cluster

from sentinel import runbooks
from sentinel.core.fold import fold_together
from sentinel.core.replay import replay
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import JobStage
from sentinel.logbook.book import Logbook
from sentinel.logbook.recording import read
from sentinel.model.fact import Commanded, NodeHeard, NodeSilent, RankRaised
from sentinel.model.ids import NodeId
from sentinel.model.incident import Incident, Stage
from sentinel.model.policy import Policy
from sentinel.runtime.scribe import Scribe


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    made = Cluster(tmp_path, Policy())
    made.trains()
    return made


@pytest.fixture
def scribe(tmp_path: Path, cluster: Cluster) -> Scribe:
    made = Scribe(tmp_path)
    cluster.ledger.changed = lambda fact, actions: made.changed(cluster.ledger, fact, actions)
    return made


def writes(scribe: Scribe, cluster: Cluster) -> None:
    """Let the scribe catch up."""
    asyncio.run(scribe.catch_up(cluster.ledger))


def is_silent_for_a_moment(cluster: Cluster, node: str) -> None:
    cluster.tell(lambda at: NodeSilent(at, NodeId(node), 3.0, 0, 2), lambda at: NodeHeard(at, NodeId(node)))


def the_code_raises(cluster: Cluster, error: str = "KeyError: 3") -> Incident:
    """The same step raises the same on one node after the other: that is nobody's hardware."""
    state, cluster.advances = cluster.ledger.state, False
    for _ in range(4):
        job = state.jobs[JOB]
        if job.stage is JobStage.STOPPED:
            break
        [(_, worker)] = state.seated(job)
        place = (0, worker.id, worker.node, 0, worker.pid, job.generation, 7)
        cluster.tell(lambda at, place=place: RankRaised(at, JOB, *place, "user", error, error))
        cluster.pass_time()
    assert state.jobs[JOB].stage is JobStage.STOPPED
    [found] = [each for each in state.open_incidents() if each.diagnosis]
    return found


def test_an_incident_that_resolves_without_a_diagnosis_has_an_entry_and_a_row(
    cluster: Cluster, scribe: Scribe
) -> None:
    is_silent_for_a_moment(cluster, "n2")
    [found] = cluster.ledger.state.incidents.values()
    assert (found.diagnosis, found.stage) == (None, Stage.RESOLVED)
    writes(scribe, cluster)
    assert [(row.incident, row.cause, row.stage) for row in scribe.logbook.rows()] == [
        (found.id, "", "resolved")
    ]
    assert "No cause was found" in (scribe.logbook.entry(found.id) or "")


def test_an_incident_that_stays_open_because_its_job_was_stopped_has_a_recording(
    cluster: Cluster, scribe: Scribe, tmp_path: Path
) -> None:
    found = the_code_raises(cluster)
    writes(scribe, cluster)
    recording = read((tmp_path / "recordings" / f"{found.id}.jsonl").read_text())
    state = State.from_plain(recording.state) if recording.state else State()
    rules = Rules(Policy(), runbooks.load())
    decisions = list(replay(recording.lines, state, lambda known, facts: fold_together(known, facts, rules)))
    assert not any(decision.differs for decision in decisions)
    assert state.jobs[JOB].stage is JobStage.STOPPED


def test_a_recording_of_an_open_incident_is_written_once(
    cluster: Cluster, scribe: Scribe, tmp_path: Path
) -> None:
    found = the_code_raises(cluster)
    writes(scribe, cluster)
    path = tmp_path / "recordings" / f"{found.id}.jsonl"
    written = path.stat().st_mtime_ns
    cluster.tell(lambda at: Commanded(at, "ack", found.id, "ada"))
    writes(scribe, cluster)
    assert "ada" in (scribe.logbook.entry(found.id) or "")
    assert path.stat().st_mtime_ns == written


def test_entries_are_written_beside_the_loop_from_lines_that_are_read_once(
    cluster: Cluster, scribe: Scribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node in ("n1", "n2", "n1"):
        is_silent_for_a_moment(cluster, node)
        cluster.at += 60
    reading: list[int] = []
    threads: set[int] = set()
    lines, write = cluster.journal.lines, scribe.logbook.write

    def reads(*, after: int = 0, last: int | None = None) -> object:
        reading.append(after)
        return lines(after=after, last=last)

    monkeypatch.setattr(cluster.journal, "lines", reads)
    monkeypatch.setattr(cluster.journal, "recording", lambda *_: 1 / 0)  # a defect costs a recording
    monkeypatch.setattr(
        scribe.logbook, "write", lambda *given: threads.add(threading.get_ident()) or write(*given)
    )
    writes(scribe, cluster)
    assert len(scribe.logbook.rows()) == 3
    assert len(reading) == 1
    assert threading.get_ident() not in threads


def test_a_journal_whose_lines_can_t_be_read_keeps_no_entry_from_being_written(
    cluster: Cluster, scribe: Scribe, tmp_path: Path
) -> None:
    """An incident that stays `mitigating` for good though it is over is untrue; its recording is lost."""
    is_silent_for_a_moment(cluster, "n2")
    cluster.journal.close()
    writes(scribe, cluster)
    assert [row.stage for row in scribe.logbook.rows()] == ["resolved"]
    assert not list((tmp_path / "recordings").glob("*.jsonl"))


def test_a_text_that_no_file_takes_as_it_is_is_written_all_the_same(cluster: Cluster, scribe: Scribe) -> None:
    found = the_code_raises(cluster, "KeyError: \ud800")
    writes(scribe, cluster)
    assert "\\ud800" in (scribe.logbook.entry(found.id) or "")


def test_an_index_that_can_t_be_tidied_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "index.jsonl").write_text("\n".join(["torn"] * 20))
    (tmp_path / ".index.jsonl.new").mkdir()  # a disk that takes nothing, for a test that runs as root
    assert Logbook(tmp_path).rows() == []
