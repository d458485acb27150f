"""An older journal is rewritten once, with all that it held, and kept whatever happens meanwhile."""

import contextlib
import json
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from whole_journal import INCIDENTS, rules_then

from sentinel.adapters.journal import Journal
from sentinel.adapters.journal_file import JournalError
from sentinel.core.fold import decide
from sentinel.core.state import State
from sentinel.logbook.recording import read
from sentinel.model.action import Action
from sentinel.model.codec import from_plain
from sentinel.model.fact import Fact, NodeHeard
from sentinel.model.ids import IncidentId, NodeId
from sentinel.model.incident import Incident
from sentinel.model.journal import line_from_plain
from sentinel.model.policy import Policy
from sentinel.runtime.recall import recall

DUMP = (Path(__file__).parents[1] / "captures" / "journal_v1.sql").read_text()
TODAYS = rules_then("control-cut")
RULES = replace(TODAYS, policy=replace(TODAYS.policy, settled_s=Policy().settled_s))
"""What an older policy says nothing of is today's default."""
OLD_RULES = replace(RULES, policy=replace(RULES.policy, settled_s=0.0))
"""The old release called an incident resolved as soon as its trouble was gone."""
RECORDED = read((INCIDENTS / "control-cut.jsonl").read_text()).lines
FIRST, KEPT, LAST = 109, (34, 96), 121


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return old_journal(tmp_path / "journal.db")


def old_journal(path: Path) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(DUMP)
        db.execute("PRAGMA journal_mode = WAL")
    return path


def old_rows(path: Path) -> dict[int, tuple[Fact, tuple[Action, ...]]]:
    """Read the lines of an old file."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT seq, fact, actions FROM line").fetchall()
    loads = json.loads
    return {
        seq: line_from_plain(1, {"fact": loads(fact), "actions": loads(acts)}) for seq, fact, acts in rows
    }


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Journal]:
    journal = Journal(path)
    try:
        yield journal
    finally:
        journal.close()


def is_whole(path: Path, last: int = LAST) -> bool:
    """Say whether a journal holds what the old one held, line by line."""
    rows = old_rows(path.with_name(path.name + ".v1"))
    with opened(path) as journal:
        lines = {line.seq: (line.fact, line.decisions, line.is_whole) for line in journal.lines()}
    return lines == {seq: rows[seq] for seq in range(FIRST, last + 1)}


def folded(upto: int) -> State:
    """Fold what the old release folded when the dump was made, up to that line."""
    state, recorded = State(), iter(RECORDED)
    for seq in range(1, upto + 1):
        fact: Fact = NodeHeard(state.now + (96 < seq <= 118), NodeId("n1" if seq <= 117 else "n2"))
        if seq <= 96 and seq not in (21, 22, 23, *range(64, 69)):
            fact = next(recorded).fact
        decide(state, fact, OLD_RULES)
    return state


def believed(state: State) -> dict[str, object]:
    """What both releases know of nodes, jobs and incidents."""
    nodes = state.nodes.values()
    return {
        "nodes": [(n.id, n.boot, n.cordon, n.silent, n.findings, n.failures, n.recent) for n in nodes],
        "jobs": [(j.id, j.stage, j.generation, j.world, j.high_step, j.skip) for j in state.jobs.values()],
        "seats": [state.workers.seats(job) for job in state.jobs],
        "incidents": [(i.id, i.stage, i.topic.partition(":")[0]) for i in state.incidents.values()],
        "evictions": (state.evictions, state.frozen, state.stopped),
    }


def incident_of(journal: Journal) -> Incident:
    """Give the incident that the dump kept lines for, as the last state before it was forgotten has it."""
    state = State.from_bytes(journal.snapshot(108) or b"")
    return state.incidents[IncidentId("I-0001")]


def test_lines_states_and_rules_are_as_they_were(path: Path) -> None:
    with opened(path) as journal:
        states = {seq: State.from_bytes(journal.snapshot(seq) or b"") for seq, _ in journal.snapshots()}
        (line,) = journal.lines(after=LAST - 1)
        assert from_plain(Policy, journal.content(line.policy_hash)) == RULES.policy
        assert journal.content(line.runbooks_hash)
        recalled = recall(journal, RULES)
    assert is_whole(path)
    assert list(states) == [33, 108, 117]
    for seq, state in states.items():
        assert believed(state) == believed(folded(seq)), seq
    assert (believed(recalled.state), recalled.doubt) == (believed(folded(LAST)), "")


def test_recordings_of_incidents_stay_whole(path: Path) -> None:
    with opened(path) as journal:
        recording = journal.recording(incident_of(journal))
        journal.append(NodeHeard(2e9, NodeId("n1")), (), "p", "r")
        journal.save_snapshot(journal.last_seq, b"")
        journal.compact([incident_of(journal)], max_lines=0)
    rows = old_rows(path.with_name("journal.db.v1"))
    with opened(path) as journal:
        assert recording.state_seq == KEPT[0] - 1
        assert [(line.fact, line.decisions, line.is_whole) for line in recording.lines] == [
            rows[seq] for seq in range(KEPT[0], KEPT[1] + 1)
        ]


def test_a_second_start_changes_nothing_and_numbers_go_on(path: Path) -> None:
    with opened(path) as journal:
        name = journal.id
    kept = path.with_name("journal.db.v1")
    first = path.read_bytes(), kept.read_bytes(), kept.stat().st_mtime_ns
    with opened(path) as journal:
        assert journal.id == name == "57fe98"
        assert (path.read_bytes(), kept.read_bytes(), kept.stat().st_mtime_ns) == first
        assert journal.append(NodeHeard(2e9, NodeId("n1")), (), "p", "r") == LAST + 1
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "journal.db",
        "journal.db.head",
        "journal.db.lock",
        "journal.db.v1",
    ]


def test_what_lies_in_the_log_beside_it_comes_along(path: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed" / "journal.db"
    killed.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO line SELECT 122, v, at, decided_by, fact, actions FROM line WHERE seq = 121")
        db.commit()
        for end in ("", "-wal"):
            shutil.copy(f"{path}{end}", f"{killed}{end}")
        assert killed.with_name("journal.db-wal").stat().st_size
        shutil.copy(path, tmp_path / "without")
    assert is_whole_after_opening(killed, 122)


def is_whole_after_opening(path: Path, last: int = LAST) -> bool:
    with opened(path):
        pass
    return is_whole(path, last)


def sql(statement: str) -> Callable[[sqlite3.Connection], None]:
    def run(db: sqlite3.Connection) -> None:
        assert db.execute(statement).rowcount > 0

    return run


def without_tables(db: sqlite3.Connection) -> None:
    db.execute("DROP TABLE identity")
    db.execute("DROP TABLE rules")


def emptied(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM line")
    db.execute("DELETE FROM kept")
    db.execute("UPDATE sqlite_sequence SET seq = 117")


def test_a_journal_from_before_names_and_rules_gets_a_name(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        without_tables(db)
        db.commit()
    with opened(path) as journal:
        assert len(journal.id) == 6
        (line,) = journal.lines(after=LAST - 1)
        assert journal.content(line.policy_hash) is None
        assert believed(recall(journal, RULES).state) == believed(folded(LAST))


def test_a_journal_whose_lines_were_all_dropped_goes_on_from_its_snapshot(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        emptied(db)
        db.commit()
    with opened(path) as journal:
        assert list(journal.load().tail) == []
        assert believed(recall(journal, RULES).state) == believed(folded(117))
        assert journal.append(NodeHeard(2e9, NodeId("n1")), (), "p", "r") == 118


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param("UPDATE line SET fact = '{' WHERE seq = 119", "line 119: ", id="no JSON"),
        pytest.param("UPDATE line SET fact = '[1]' WHERE seq = 119", "line 119: ", id="no object"),
        pytest.param(
            'UPDATE line SET fact = \'{"kind": "Eclipse"}\' WHERE seq = 119', "line 119: ", id="unknown"
        ),
        pytest.param(
            "UPDATE line SET actions = replace(hex(zeroblob(9999)), '00', '[') WHERE seq = 119",
            "line 119: ",
            id="nested without end",
        ),
        pytest.param("UPDATE line SET fact = x'ff80' WHERE seq = 119", "line 119: ", id="no text"),
        pytest.param("UPDATE line SET at = 'noon' WHERE seq = 119", "line 119: ", id="no time"),
        pytest.param("UPDATE line SET v = 'x' WHERE seq = 119", "line 119: ", id="no version"),
        pytest.param("UPDATE line SET decided_by = 9 WHERE seq = 119", "line 119: ", id="decided by nobody"),
        pytest.param("DELETE FROM line WHERE seq = 119", "line 119 is gone", id="a hole after the snapshot"),
        pytest.param("DELETE FROM line WHERE seq = 50", "line 50 is gone", id="a hole in what is kept"),
        pytest.param("UPDATE snapshot SET state = '[' WHERE seq = 117", "snapshot 117: ", id="no state"),
        pytest.param("UPDATE snapshot SET state = '7' WHERE seq = 117", "snapshot 117: ", id="a number"),
        pytest.param("UPDATE rules SET content = '{'", "", id="no rules"),
        pytest.param("DELETE FROM sqlite_sequence", "line 0 is not the newest one", id="no newest line"),
        pytest.param("DELETE FROM line WHERE seq > 119", "line 121 is not the newest one", id="newest lines"),
    ],
)
def test_what_can_t_be_read_is_refused_in_one_line_and_left_alone(path: Path, change: str, said: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        sql(change)(db)
        db.commit()
    before = old_rows_or_nothing(path)
    with pytest.raises(JournalError, match="is of an older release and can't be rewritten: ") as caught:
        Journal(path)
    assert caught.value.permanent
    assert said in str(caught.value)
    assert str(caught.value).endswith("; move it away: a new one goes on from the job's newest state")
    assert "\n" not in str(caught.value)
    assert old_rows_or_nothing(path) == before
    assert not path.with_name("journal.db.v1").exists()
    assert not path.with_name("journal.db.new").exists()


def old_rows_or_nothing(path: Path) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT * FROM line").fetchall()


def test_a_full_disk_says_try_again_and_loses_nothing(path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (0, 4096, 20_000, 60_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))  # a write beyond this fails in the kernel
        try:
            with pytest.raises(JournalError) as caught:
                Journal(path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not caught.value.permanent
        assert "\n" not in str(caught.value)
        assert not path.with_name("journal.db.v1").exists()
    assert is_whole_after_opening(path)


KILLED = """
import os, signal, sys
from sentinel.adapters import journal, journal_v1
left = 0
MOMENTS = {"os.rename", "os.remove", "sqlite3.connect", "open"}
def at(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
write = journal_v1.to_body
def slowly(*line, **how):
    at() if line[0].at % 5 < 1 else None
    return write(*line, **how)
journal_v1.to_body = slowly
for path in map(str.rstrip, sys.stdin):
    left += 1
    if (child := os.fork()) == 0:
        sys.addaudithook(lambda event, _: at() if event in MOMENTS else None)
        journal.Journal(path).close()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Opens a journal in a process that is killed at the first moment, the next at the second, and so on."""


def test_a_kill_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    moment, ended, pipe = 0, -signal.SIGKILL, subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", KILLED], stdin=pipe, stdout=pipe, text=True) as opens:
        assert opens.stdin is not None
        assert opens.stdout is not None
        while ended == -signal.SIGKILL:
            moment += 1
            folder = tmp_path / str(moment)
            folder.mkdir()
            path = old_journal(folder / "journal.db")
            print(path, file=opens.stdin, flush=True)
            ended = int(opens.stdout.readline())
            assert is_whole_after_opening(path), moment
            assert not path.with_name("journal.db.new").exists()
        opens.stdin.close()
    assert (ended, moment > 60) == (0, True), "also where the new one takes the old one's place"


def test_a_reader_leaves_an_older_journal_to_the_controller(path: Path) -> None:
    with pytest.raises(JournalError, match="of an older release: a controller of this one rewrites it when"):
        Journal(path, read_only=True)
    assert not path.with_name("journal.db.v1").exists()
