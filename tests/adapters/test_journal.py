"""The journal: what was acknowledged is there after anything, and bad files are refused in one line."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sentinel.adapters.journal import Journal, JournalError
from sentinel.model.action import Action, Page
from sentinel.model.codec import CodecError, encode
from sentinel.model.fact import DeadlinePassed, Fact, FindingReported, NodeHeard, NodeSilent
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import ActionId, IncidentId, NodeId
from sentinel.model.incident import Incident
from sentinel.model.journal import Line

PAGE = Page(ActionId("INC-1/page/-/1"), IncidentId("INC-1"), 1, "node-7: Xid 79", "gone", "open")


def heard(at: float) -> NodeHeard:
    return NodeHeard(at, NodeId("node-7"))


def filled(path: Path, count: int, start: int = 0) -> Journal:
    journal = Journal(path)
    journal.append_many([(heard(float(at)), ()) for at in range(start, start + count)], "p1", "r1")
    return journal


def seqs(journal: Journal) -> list[int]:
    return [line.seq for line in journal.lines()]


def append_until_full(journal: Journal, acknowledged: list[int]) -> None:
    while True:
        acknowledged += journal.append_many([(heard(float(len(acknowledged))), (PAGE,))] * 20, "p", "r")
        journal.save_snapshot(acknowledged[-1], b"%d" % acknowledged[-1])


def test_facts_and_their_actions_come_back_as_they_went_in(tmp_path: Path) -> None:
    finding = Finding("xid", "xid", "gpu-3", Health.CRITICAL, "Xid 79", {"xid": 79, "t": 1.5}, event=True)
    fact = FindingReported(2.0, NodeId("node-7"), finding)
    journal = Journal(tmp_path / "j")
    journal.append(heard(1.0), (), "p1", "r1")
    assert journal.append(fact, (PAGE,), "p2", "r1") == 2
    journal.close()

    again = Journal(tmp_path / "j")
    loaded = again.load()
    assert loaded.snapshot is None
    assert list(loaded.tail) == [Line(1, heard(1.0), (), "p1", "r1"), Line(2, fact, (PAGE,), "p2", "r1")]
    again.close()


def test_a_restart_reads_the_snapshot_and_only_the_tail(tmp_path: Path) -> None:
    journal = filled(tmp_path / "j", 10)
    journal.save_snapshot(8, b"a state")
    assert journal.since_snapshot == 2
    journal.close()

    again = Journal(tmp_path / "j")
    snapshot, seq, tail = again.load()
    assert (snapshot, seq) == (b"a state", 8)
    assert [line.seq for line in tail] == [9, 10]
    again.close()


def test_more_lines_than_one_read_come_back_in_order(tmp_path: Path) -> None:
    journal = filled(tmp_path / "j", 2_345)
    assert seqs(journal) == list(range(1, 2_346))
    journal.close()


def test_a_batch_is_all_or_nothing(tmp_path: Path) -> None:
    class Unknown:
        at = 3.0

    journal = filled(tmp_path / "j", 1)
    with pytest.raises(CodecError, match="can't be written"):
        journal.append_many([(heard(2.0), ()), (Unknown(), ())], "p", "r")  # type: ignore[list-item]
    assert seqs(journal) == [1]
    journal.close()


def test_sequence_numbers_are_never_given_twice(tmp_path: Path) -> None:
    journal = filled(tmp_path / "j", 3)
    journal.save_snapshot(3, b"")
    assert journal.compact([], max_lines=0) == 3
    journal.close()
    again = Journal(tmp_path / "j")
    assert again.append(heard(9.0), (), "p1", "r1") == 4
    again.close()


def test_a_second_writer_is_refused_by_name(tmp_path: Path) -> None:
    first = Journal(tmp_path / "j")
    with pytest.raises(JournalError, match=rf"has a writer already \(pid {os.getpid()}\)"):
        Journal(tmp_path / "j")
    first.close()
    Journal(tmp_path / "j").close()


def foreign_database(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t (x)")


def newer_journal(path: Path) -> None:
    Journal(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 7")


def torn_line(path: Path) -> None:
    filled(path, 2).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE line SET body = x'93' WHERE seq = 2")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda path: path.write_text("hello, not SQLite"), "^not a journal: ", id="a text file"),
        pytest.param(lambda path: path.mkdir(), r"^not a journal: .*\(Is a directory\)", id="a folder"),
        pytest.param(foreign_database, "^not a journal: ", id="somebody else's database"),
        pytest.param(
            newer_journal,
            r"written by a newer Sentinel \(version 7, this one reads up to 3\)",
            id="a newer journal",
        ),
        pytest.param(torn_line, "line 2 does not fit the one before it", id="a torn line"),
        pytest.param(
            lambda path: path.write_bytes(b"SQLite format 3\0" + b"x" * 5000), "j", id="a damaged header"
        ),
    ],
)
def test_a_bad_journal_is_a_one_line_error(tmp_path: Path, make, message: str) -> None:
    path = tmp_path / "j"
    make(path)
    with pytest.raises(JournalError, match=message) as caught:
        list(Journal(path).load().tail)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.permanent


def test_a_journal_in_a_missing_folder_is_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="No such file or directory"):
        Journal(tmp_path / "absent" / "j")


def test_a_full_journal_says_try_again_and_goes_on_when_space_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", max_bytes=200_000)
    acknowledged: list[int] = []
    with pytest.raises(JournalError, match="full") as caught:
        append_until_full(journal, acknowledged)
    assert not caught.value.permanent
    assert seqs(journal) == acknowledged

    last = acknowledged[-1]
    assert journal.compact([], max_lines=10) > 0
    assert journal.append(heard(1e9), (PAGE,), "p", "other") == last + 1
    journal.close()
    again = Journal(tmp_path / "j")
    assert [line.runbooks_hash for line in again.lines()][-1] == "other"
    again.close()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root")
def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    mount = tmp_path / "disk"
    mount.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", mount], check=False)
    if mounted.returncode:
        pytest.skip("may not mount here")
    try:
        (mount / "ballast").write_bytes(b"x" * 600_000)
        journal = Journal(mount / "j")
        acknowledged: list[int] = []
        with pytest.raises(JournalError, match=r"full|I/O") as caught:
            append_until_full(journal, acknowledged)
        assert not caught.value.permanent
        assert seqs(journal) == acknowledged

        (mount / "ballast").unlink()
        acknowledged.append(journal.append(heard(1e9), (), "p", "r"))
        journal.close()
        again = Journal(mount / "j")
        assert seqs(again) == acknowledged
        again.close()
    finally:
        # Lazily: a failed assertion leaves the journal open, and a busy mount would stay for ever.
        subprocess.run(["umount", "--lazy", mount], check=True)


def test_a_failing_disk_says_try_again_and_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    acknowledged = [journal.append(heard(0.0), (), "p", "r")]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # a write beyond this fails in the kernel
    try:
        with pytest.raises(JournalError, match="disk I/O error") as caught:
            append_until_full(journal, acknowledged)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not caught.value.permanent
    acknowledged.append(journal.append(heard(1e9), (), "p", "r"))
    assert seqs(journal) == acknowledged
    journal.close()


def test_facts_are_committed_while_another_thread_compacts(tmp_path: Path) -> None:
    journal = filled(tmp_path / "j", 20_000)
    journal.save_snapshot(20_000, b"")
    compaction = threading.Thread(target=journal.compact, args=([],), kwargs={"max_lines": 0})
    compaction.start()
    acknowledged = [journal.append(heard(1e9), (), "p", "r")]
    while compaction.is_alive():
        acknowledged.append(journal.append(heard(1e9), (), "p", "r"))
    compaction.join()
    assert seqs(journal) == acknowledged
    journal.close()


WRITER = """
import sys
import threading
from sentinel.adapters.journal import Journal
from sentinel.model.fact import NodeHeard
journal = Journal(sys.argv[1])
while True:
    seq = journal.append_many([(NodeHeard(1.0, "node-7"), ())] * 3, "p", "r")[-1]
    print(seq, flush=True)
"""


@pytest.mark.parametrize("after", [1, 17, 60])
def test_sigkill_loses_nothing_that_was_acknowledged(tmp_path: Path, after: int) -> None:
    path = tmp_path / "j"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True)
    assert writer.stdout
    for _ in range(after):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    rest = writer.stdout.read().split()
    writer.wait()
    writer.stdout.close()
    acknowledged = int(rest[-1]) if rest else after * 3

    journal = Journal(path)
    assert journal.last_seq >= acknowledged
    assert journal.last_seq % 3 == 0
    assert seqs(journal) == list(range(1, journal.last_seq + 1))
    journal.close()


def incident(opened: float, resolved: float | None) -> Incident:
    times = {} if resolved is None else {"resolved": resolved}
    evidence: list[Fact] = [heard(opened)]
    return Incident(IncidentId(f"INC-{opened:g}"), opened, evidence=evidence, times=times)


def test_compaction_keeps_what_replays_an_incident(tmp_path: Path) -> None:
    journal = filled(tmp_path / "j", 100)
    journal.save_snapshot(40, encode({"at": 40}))
    journal.save_snapshot(90, encode({"at": 90}))
    kept = incident(opened=50.0, resolved=60.0)
    before = journal.recording(kept)
    assert (before.state_seq, before.state) == (40, {"at": 40})
    assert [line.seq for line in before.lines] == list(range(41, 62))

    assert journal.compact([kept], older_than=1e9) == 90
    assert journal.compact([kept], older_than=1e9) == 0
    assert seqs(journal) == list(range(91, 101))
    assert journal.recording(kept) == before
    journal.close()

    again = Journal(tmp_path / "j")
    assert again.recording(kept) == before
    again.compact([], older_than=1e9)  # it is over, and its recording is written
    with pytest.raises(JournalError, match="some of its lines are gone"):
        again.recording(kept)
    again.close()


def test_an_open_incident_s_recording_grows_with_it(tmp_path: Path) -> None:
    journal = filled(tmp_path / "j", 20)
    journal.save_snapshot(20, b"")
    journal.compact([incident(opened=15.0, resolved=None)], older_than=1e9)
    journal.append_many([(heard(float(at)), ()) for at in range(20, 25)], "p", "r")
    grown = journal.recording(incident(opened=15.0, resolved=22.0))
    assert [line.seq for line in grown.lines] == list(range(1, 24))
    journal.close()


def test_an_incident_that_began_with_a_loss_that_is_no_number_has_a_recording(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    found = Finding("heartbeat", "loss-nan", "rank-0", Health.CRITICAL, "loss", {"loss": float("nan")})
    fact = FindingReported(1.0, NodeId("n1"), found)
    journal.append_many([(fact, ())], "p", "r")
    begun = Incident(IncidentId("I-1"), 1.0, evidence=[fact], times={"resolved": 1.0})
    assert len(journal.recording(begun).lines) == 1
    journal.close()


def test_an_incident_that_began_with_what_follows_from_a_fact_has_a_recording(tmp_path: Path) -> None:
    journal = filled(tmp_path / "j", 20)
    silent = NodeSilent(5.0, NodeId("n1"), 30.0, 0, 4)  # it has been for long, and is now an incident's
    begun = Incident(IncidentId("I-1"), 5.0, evidence=[silent], times={"resolved": 6.0})
    assert {line.fact.at for line in journal.recording(begun).lines} >= {5.0, 6.0}
    journal.close()


def test_a_recording_whose_lines_are_gone_says_so(tmp_path: Path) -> None:
    journal = filled(tmp_path / "j", 20)
    journal.save_snapshot(20, b"")
    journal.compact([], older_than=1e9)
    with pytest.raises(JournalError, match="INC-5: some of its lines are gone"):
        journal.recording(incident(opened=5.0, resolved=None))
    journal.close()


def test_compaction_gives_the_disk_its_space_back(tmp_path: Path) -> None:
    journal = filled(tmp_path / "j", 5_000)
    journal.save_snapshot(5_000, b"")
    journal.close()
    before = (tmp_path / "j").stat().st_size
    journal = Journal(tmp_path / "j")
    journal.compact([], max_lines=0)
    journal.close()
    assert (tmp_path / "j").stat().st_size < before / 4


def test_compaction_never_deletes_what_no_snapshot_contains(tmp_path: Path) -> None:
    journal = filled(tmp_path / "j", 10)
    assert journal.compact([], older_than=1e9, max_lines=0) == 0
    journal.close()


def test_actions_are_recorded_even_for_a_fact_of_their_own_deadline(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    actions: tuple[Action, ...] = (PAGE, PAGE)
    journal.append(DeadlinePassed(1.0, "gather:INC-1"), actions, "p", "r")
    (line,) = journal.lines()
    assert line.actions == actions
    journal.close()
