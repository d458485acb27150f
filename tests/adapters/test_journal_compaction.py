"""Compaction drops what is old and nothing that a recording needs, and nobody waits long for it."""

import random
import threading
from pathlib import Path

import pytest
from depth import tries

from sentinel.adapters.journal import Journal
from sentinel.adapters.journal_file import JournalError
from sentinel.model.codec import encode
from sentinel.model.fact import Fact, NodeHeard
from sentinel.model.ids import IncidentId, NodeId
from sentinel.model.incident import Incident
from sentinel.model.journal import Recording

DAY = 86400.0


def heard(at: float) -> NodeHeard:
    return NodeHeard(at, NodeId("node-7"))


def append(journal: Journal, *times: float) -> None:
    journal.append_many([(heard(at), ()) for at in times], "p", "r")


def incident(opened: float, resolved: float | None = None) -> Incident:
    evidence: list[Fact] = [heard(opened)]
    times = {} if resolved is None else {"resolved": resolved}
    return Incident(IncidentId(f"I-{opened:g}"), opened, evidence=evidence, times=times)


def seqs(recording: Recording) -> list[int]:
    return [line.seq for line in recording.lines]


def snapshot(journal: Journal) -> None:
    journal.save_snapshot(journal.last_seq, encode({"at": journal.last_seq}))


def test_an_append_waits_for_one_batch_at_most(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    for at in range(0, 200_000, 20_000):
        append(journal, *map(float, range(at, at + 20_000)))
    snapshot(journal)
    compaction = threading.Thread(target=journal.compact, args=([],), kwargs={"max_lines": 0})
    compaction.start()
    waited = []
    while compaction.is_alive():
        before = journal._tail.seq
        append(journal, 1e9)
        waited.append(journal._tail.seq - before)
    compaction.join()
    assert len(waited) > 20
    assert max(waited) <= 2 * 5_000  # the one that was under way, and its end
    assert [line.fact.at for line in journal.lines()] == [1e9] * len(waited)
    journal.close()


def test_a_reader_beside_the_writer_sees_what_was_there_when_it_came(tmp_path: Path) -> None:
    writer = Journal(tmp_path / "j")
    append(writer, *map(float, range(3_000)))
    snapshot(writer)
    with pytest.raises(JournalError, match="has a writer already"):
        Journal(tmp_path / "j")
    reader = Journal(tmp_path / "j", read_only=True)
    lines = reader.lines()
    first = next(lines)
    writer.compact([], max_lines=0)
    append(writer, 1e9)
    snapshot(writer)
    assert [first.seq, *(line.seq for line in lines)] == list(range(1, 3_001))
    assert reader.snapshots() == [(3_000, 2_999.0)]
    later = Journal(tmp_path / "j", read_only=True)
    assert [line.seq for line in later.lines()] == [3_001]
    for journal in (reader, later, writer):
        journal.close()


@pytest.mark.parametrize("empty", [False, True], ids=["absent", "empty"])
def test_a_reader_says_that_there_is_no_journal(tmp_path: Path, empty: bool) -> None:
    if empty:
        (tmp_path / "j").write_bytes(b"")
    with pytest.raises(JournalError, match="j: no such journal"):
        Journal(tmp_path / "j", read_only=True)
    assert not (tmp_path / "j.lock").exists()


def test_an_incident_before_any_snapshot_keeps_its_recording(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    append(journal, *map(float, range(30)))
    begun = incident(5.0, 12.0)
    before = journal.recording(begun)
    assert (before.state_seq, before.state, seqs(before)) == (0, None, list(range(1, 14)))
    snapshot(journal)
    for _ in range(2):
        journal.compact([begun], max_lines=0)
        assert journal.recording(begun) == before
    journal.close()


def test_an_incident_s_first_snapshot_outlives_the_others_of_its_day(tmp_path: Path) -> None:
    journal, begun = Journal(tmp_path / "j"), incident(25.5)
    for at in range(0, 100, 10):
        append(journal, *map(float, range(at, at + 10)))
        if at == 20:
            append(journal, 25.5)
        snapshot(journal)
    before = journal.recording(begun)
    assert before.state == {"at": 20}
    journal.compact([begun], max_lines=0)
    assert journal.recording(begun) == before
    assert [seq for seq, _ in journal.snapshots()] == [20, 101]
    journal.compact([], max_lines=0)
    assert [seq for seq, _ in journal.snapshots()] == [101]
    journal.close()


def test_one_snapshot_a_day_stays_behind_the_oldest_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    for hour in range(0, 96, 6):
        append(journal, hour * 3600.0)
        snapshot(journal)
    journal.compact([], older_than=DAY)
    assert [at / 3600 for _, at in journal.snapshots()] == [24 - 6, 24, 48, 72, 90]
    journal.close()


def test_an_incident_that_stays_open_for_weeks_keeps_how_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentinel.adapters.journal_prune.COPY_AT_MOST", 100)
    journal, begun = Journal(tmp_path / "j"), incident(5.0)
    for at in range(0, 500, 50):
        append(journal, *map(float, range(at, at + 50)))
        snapshot(journal)
        journal.compact([begun], max_lines=10)
    assert seqs(journal.recording(begun)) == list(range(1, 101))
    journal.close()


@pytest.mark.soak
def test_recordings_come_out_the_same_whatever_was_compacted_between(tmp_path: Path) -> None:
    for seed in range(tries(4, 100)):
        chance = random.Random(seed)
        plain, kept = Journal(tmp_path / f"plain-{seed}"), Journal(tmp_path / f"kept-{seed}")
        now, incidents = 0.0, []
        for _ in range(60):
            now += chance.choice([0.0, 1.0, 1.0, DAY / 3])
            for journal in (plain, kept):
                append(journal, now, max(0.0, now - 0.5))
            match chance.randrange(6):
                case 0:
                    incidents.append(incident(now))
                case 1 if incidents:
                    chance.choice(incidents).times.setdefault("resolved", now)
                case 2:
                    snapshot(plain)
                    snapshot(kept)
                case 3:
                    kept.compact(incidents, older_than=now - DAY, max_lines=chance.randrange(40))
                case 4:
                    kept.close()
                    kept = Journal(tmp_path / f"kept-{seed}")
            for each in incidents:
                assert kept.recording(each) == plain.recording(each), (seed, each)
        plain.close()
        kept.close()
