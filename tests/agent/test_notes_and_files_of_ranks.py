"""No note, and no file of an agent's own, ends, stops or silences an agent: each costs itself and a line."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from sentinel import private
from sentinel.adapters import agent_card as card
from sentinel.adapters.bookmark import Bookmark, boot_number
from sentinel.adapters.kernel_log import FileFollower, KmsgFollower
from sentinel.gang.notices import lease_age
from sentinel.model.codec import to_plain
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import JobId, WorkerId
from sentinel.model.report import AT_START, Event, ExitSeen, FindingSeen, OrderDone, ProbedSeen, RaisedSeen
from sentinel.runtime.agent import folder
from sentinel.runtime.agent.findings import FindingBook
from sentinel.runtime.agent.lease import Lease
from sentinel.runtime.agent.notes import Notes
from sentinel.runtime.agent.spool import Spool

FULL = FindingSeen(Finding("trainer", "disk-full", "checkpoints", Health.WARNING, "full"))
RAISED = RaisedSeen(JobId("j"), 3, WorkerId("w3"), 77, 1, 0, 12, "user", "TypeError: x", "Traceback…")
LOST = Finding("xid", "gpu-lost", "gpu-0", Health.CRITICAL, "a GPU is lost", event=True)


class OneRank:
    """A node on which w3 lives, as process 77."""

    def is_known(self, worker: WorkerId, pid: int) -> bool:
        return (worker, pid) == ("w3", 77)


@pytest.fixture
def errors(tmp_path: Path) -> Path:
    return private.make_folder(tmp_path / "errors")


@pytest.fixture
def spool() -> Spool:
    return Spool()


def reported(spool: Spool) -> list[Event]:
    return [event for _, event in spool.pending()]


def leave(errors: Path, event: Any, name: str = "note") -> None:
    (errors / f"{name}.json").write_text(json.dumps(to_plain(event)))


def refused(shown: pytest.CaptureFixture[str]) -> int:
    return shown.readouterr().out.count("rank-note-refused")


@pytest.mark.parametrize(
    "note",
    [
        pytest.param(replace(RAISED, rank=-5), id="a rank of -5"),
        pytest.param(replace(RAISED, rank=-1), id="a standby"),
        pytest.param(replace(RAISED, pid=1), id="another process"),
        pytest.param(replace(RAISED, worker=WorkerId("w4")), id="another worker"),
        pytest.param(ExitSeen(JobId("j"), 3, WorkerId("w3"), 77, 1, 0, "signal 9"), id="an end"),
        pytest.param(ProbedSeen(("gpu",), "exit:77"), id="a probe"),
        pytest.param(OrderDone("resume-1", True, "done"), id="an order done"),
        pytest.param(FindingSeen(LOST), id="a lost GPU"),
        pytest.param(FindingSeen(replace(LOST, check="gpu")), id="a finding of the gpu check"),
    ],
)
def test_a_rank_tells_what_is_its_own(
    errors: Path, spool: Spool, note: Event, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = Notes(errors, spool, OneRank())
    leave(errors, note)
    leave(errors, RAISED, "another")
    for _ in range(3):
        notes.collect()
    assert reported(spool) == [RAISED]
    assert refused(capsys) == 1


def test_a_worker_that_has_no_rank_yet_tells_what_keeps_it_from_starting(errors: Path, spool: Spool) -> None:
    notes = Notes(errors, spool, OneRank())
    ours = replace(RAISED, rank=-1, generation=-1, step=-1, kind=AT_START)
    leave(errors, ours, "ours")
    leave(errors, replace(ours, worker=WorkerId("w4")), "another's")
    notes.collect()
    assert reported(spool) == [ours]


NOTES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a link": lambda path: path.symlink_to("/proc/self/status"),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a device": lambda path: path.symlink_to("/dev/null"),
    "nested": lambda path: path.write_text("[" * 400_000),
    "nested objects": lambda path: path.write_text('{"a":' * 80_000),
    "17 MB": lambda path: path.write_text(json.dumps(to_plain(replace(RAISED, traceback="x" * (17 << 20))))),
    "not UTF-8": lambda path: path.write_bytes(b'{"type": "\xff"}'),
    "a number without end": lambda path: path.write_text("9" * 400_000),
    "a pid of 2**80": lambda path: path.write_text(json.dumps({**to_plain(RAISED), "pid": 2**80})),
}


@pytest.mark.parametrize("what", NOTES)
@pytest.mark.timeout(30)
def test_a_note_that_is_none_costs_one_line(
    errors: Path, spool: Spool, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    NOTES[what](errors / "note.json")
    leave(errors, RAISED, "real")
    notes = Notes(errors, spool, OneRank())
    for _ in range(3):
        notes.collect()
    assert reported(spool) == [RAISED]
    said = capsys.readouterr().out
    assert said.count("rank-note-refused") == 1
    assert len(said) < 1000


def test_thousands_of_notes_are_taken_a_few_at_a_time(
    errors: Path, spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = Notes(errors, spool, OneRank())
    for number in range(folder.MOST + 100):
        (errors / f"{number}.json").write_text("[]")
    for _ in range(3):
        before = capsys.readouterr().out.count("refused")
        notes.collect()
        assert before <= folder.AT_ONCE
    for path in errors.iterdir():
        path.unlink()
    notes.collect()
    leave(errors, RAISED)
    notes.collect()
    assert reported(spool) == [RAISED]


def test_too_many_files_are_said_once(errors: Path, spool: Spool, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(folder.MOST + 1):
        (errors / f"{number}.json").touch()
    notes = Notes(errors, spool, OneRank())
    for _ in range(3):
        notes.collect()
    assert capsys.readouterr().out.count(f"holds more than {folder.MOST} files") == 1


def test_a_missing_folder_is_said_once_and_looked_for_again(
    errors: Path, spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = Notes(errors, spool, OneRank())
    errors.rmdir()
    for _ in range(3):
        notes.collect()
    assert capsys.readouterr().out.count("rank-notes-unreadable") == 1
    leave(private.make_folder(errors), RAISED)
    notes.collect()
    assert reported(spool) == [RAISED]


def test_a_note_is_told_once_and_gone_when_it_is_heard(errors: Path, spool: Spool) -> None:
    notes = Notes(errors, spool, OneRank())
    leave(errors, FULL)
    notes.collect()
    notes.collect()
    assert reported(spool) == [FULL]
    spool.acknowledge(1)
    assert not list(errors.iterdir())


def test_a_note_that_nobody_was_there_to_read_says_how_old_it_is(errors: Path, spool: Spool) -> None:
    leave(errors, replace(RAISED, age_s=-5.0))
    written = time.time() - 12.0
    os.utime(errors / "note.json", (written, written))
    Notes(errors, spool, OneRank()).collect()
    (told,) = reported(spool)
    assert isinstance(told, RaisedSeen)
    assert 12.0 <= told.age_s < 15.0


def test_losses_that_are_no_numbers_are_told(errors: Path, spool: Spool) -> None:
    leave(errors, replace(RAISED, kind="nan", values=(1.0, float("nan"), float("inf"))))
    Notes(errors, spool, OneRank()).collect()
    (event,) = reported(spool)
    assert isinstance(event, RaisedSeen)
    assert repr(event.values) == "(1.0, nan, inf)"


GARBAGE = [
    b"",
    b"7",
    b"7 " * 40,
    b"9" * 5000,
    b"-1 -1 -1",
    b"\xff\xfe\x00",
    b"[" * 400_000,
    b"{" * 17_000_000,
    b'{"told": 7, "unheard": [], "bursts": []}',
    b'{"told": [], "unheard": [], "bursts": [{}]}',
]
garbled = pytest.mark.parametrize("content", GARBAGE, ids=lambda content: repr(content[:16]))


@garbled
def test_a_garbled_file_of_its_own_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    memory = private.make_folder(tmp_path / "m")
    for name in ("agent.json", "findings.json", "lease", "kernel-log"):
        (memory / name).write_bytes(content)
    assert card.read(memory) is None
    assert FindingBook(memory / "findings.json").standing() == ()
    Lease(memory / "lease").renew()
    assert lease_age(memory) < 60
    assert Bookmark(memory / "kernel-log", 1).found() == Bookmark(memory / "kernel-log", 3).found() == ()


@pytest.mark.parametrize("place", ["", "7", "7 7", "-7 -7 -7", f"{2**70} " * 3, "7 7 7 7", "1 x 2"])
def test_a_bookmark_that_is_too_short_or_out_of_range_is_none(tmp_path: Path, place: str) -> None:
    memory = private.make_folder(tmp_path / "m")
    log = tmp_path / "kern.log"
    log.write_text("[    1.000000] one\n")
    (memory / "kernel-log").write_text(f"{boot_number()} {place}")
    assert FileFollower(log, memory / "kernel-log").read() == ["[    1.000000] one"]
    if place != "7":
        (memory / "kernel-log").write_text(f"{boot_number()} {place}")
        assert Bookmark(memory / "kernel-log", 1).found() == ()


CUT = """
import os, sys
from pathlib import Path
from sentinel.gang.notices import lease_age
from sentinel.runtime.agent.lease import Lease
memory = Path(sys.argv[1])
lease = Lease(memory / "lease")
for length in (0, 3):
    os.truncate(memory / "lease", length)
    print(lease_age(memory))
    lease.renew()
    print(lease_age(memory) < 60)
"""


def test_a_lease_that_is_cut_short_ends_nobody(tmp_path: Path) -> None:
    """In a process of its own: what writes through a map of it is ended by SIGBUS."""
    memory = private.make_folder(tmp_path / "m")
    done = subprocess.run([sys.executable, "-c", CUT, memory], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["inf", "True"] * 2)


@pytest.mark.timeout(30)
def test_a_kernel_log_that_is_a_pipe_or_a_device_is_said_to_be_unreadable(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    follower = FileFollower(tmp_path / "pipe")
    assert (follower.read(), str(tmp_path / "pipe") in follower.error) == ([], True)


def test_a_record_of_the_kernel_that_is_none_is_passed_over() -> None:
    follower = KmsgFollower(Path("/nonexistent"))
    long = b"3,1,1" + b"1" * 4000 + b",-;x"
    for record in (b"", b";", b"x,y,z;w", b"1,2", b"9" * 8000, long, b"\xff;\xff"):
        assert follower._message(record) is None
