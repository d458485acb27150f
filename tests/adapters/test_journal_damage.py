"""A damaged journal is refused in one line, or reads exactly as it was written: never as something else."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from depth import tries
from whole_journal import FILES, Whole, all_of

from sentinel.adapters.journal import Journal
from sentinel.adapters.journal_file import JournalError
from sentinel.model.codec import encode
from sentinel.model.fact import NodeHeard
from sentinel.model.ids import NodeId

FLIPS = tries(30, 600)
"""In each of the files; a search by hand took thousands."""


class Kept:
    """A whole journal, as its writer left it when it was closed or when it was killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.whole = Whole(folder / "alive")
        self.whole.copy(folder / "alive", folder / "killed")
        self.whole.journal.close()
        self.whole.copy(folder / "alive", folder / "closed")
        self.content = all_of(folder / "alive", self.whole)

    def copy(self, which: str) -> Path:
        """Give a fresh copy."""
        path = self._folder / "copy"
        for end in FILES:
            path.with_name(path.name + end).unlink(missing_ok=True)
        self.whole.copy(self._folder / which, path)
        return path

    def read(self, path: Path, *, read_only: bool = False) -> str:
        """Read everything; gives the refusal, or nothing where all is as it was."""
        try:
            found = all_of(path, self.whole, read_only=read_only)
        except JournalError as error:
            said = str(error)
            assert "\n" not in said
            assert str(path) in said
            return said
        assert found == self.content
        return ""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("journal"))


def flipped(file: Path, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("which", "end"),
    [
        pytest.param("closed", "", id="file"),
        pytest.param("killed", "", id="file with a log beside it"),
        pytest.param("killed", "-wal", id="log"),
        pytest.param("killed", ".head", id="note"),
    ],
)
@pytest.mark.parametrize("read_only", [False, True], ids=["writer", "reader"])
def test_a_flipped_bit_changes_nothing_unseen(kept: Kept, which: str, end: str, read_only: bool) -> None:
    chance, refused = random.Random(f"{which}{end}"), 0
    for _ in range(FLIPS):
        path = kept.copy(which)
        file = path.with_name(path.name + end)
        flipped(file, chance.randrange(file.stat().st_size * 8))
        refused += bool(kept.read(path, read_only=read_only))
    hidden = (which, end) == (
        "killed",
        "",
    ) or end == ".head"  # the log holds all pages again; a note's loss is none
    assert hidden or refused > FLIPS / 4


@pytest.mark.parametrize(("which", "end"), [("closed", ""), ("killed", "-wal")])
def test_a_file_that_ends_early_is_refused(kept: Kept, which: str, end: str) -> None:
    chance = random.Random(1)
    for _ in range(40):
        path = kept.copy(which)
        file = path.with_name(path.name + end)
        file.write_bytes(file.read_bytes()[: chance.randrange(file.stat().st_size)])
        assert kept.read(path)


def sql(*statements: str) -> Callable[[sqlite3.Connection], None]:
    def run(db: sqlite3.Connection) -> None:
        for statement in statements:
            assert db.execute(statement).rowcount > 0, statement

    return run


def swapped(db: sqlite3.Connection) -> None:
    (one,), (other,) = (
        db.execute("SELECT body FROM line WHERE seq = ?", (seq,)).fetchone() for seq in (90, 91)
    )
    db.executemany("UPDATE line SET body = ? WHERE seq = ?", [(other, 90), (one, 91)])


def renumbered(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM line WHERE seq = 90")
    db.execute("UPDATE line SET seq = seq - 1 WHERE seq > 90")
    db.execute("UPDATE chain SET seq = seq - 1 WHERE what = 'head'")


def cut_back(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM line WHERE seq > 230")
    newest = db.execute("SELECT seq, at, sum FROM line WHERE seq = 230").fetchone()
    db.execute("UPDATE chain SET seq = ?, at = ?, sum = ? WHERE what = 'head'", newest)


CHANGES = [
    pytest.param(sql("DELETE FROM line WHERE seq = 100"), "line 100 is gone", id="a line deleted"),
    pytest.param(sql("DELETE FROM line WHERE seq > 230"), "line 242 is not the newest", id="newest deleted"),
    pytest.param(cut_back, "written after line 230", id="newest deleted, and the end set back"),
    pytest.param(sql("DELETE FROM line WHERE seq < 70"), "line 61 is not the oldest", id="oldest deleted"),
    pytest.param(sql("DELETE FROM line"), "line 242 is not the newest", id="all deleted"),
    pytest.param(swapped, "line 90 does not fit", id="two lines swapped"),
    pytest.param(renumbered, "written after line 241", id="a line deleted, the rest renumbered"),
    pytest.param(
        sql("INSERT INTO line SELECT 243, at, decided_by, sum, body FROM line WHERE seq = 242"),
        "line 242 is not the newest",
        id="a line twice",
    ),
    pytest.param(sql("UPDATE line SET at = at + 1 WHERE seq = 90"), "line 90 does not fit", id="a time"),
    pytest.param(sql("UPDATE line SET at = x'00' WHERE seq = 90"), "line 90 does not fit", id="no time"),
    pytest.param(
        sql("UPDATE line SET body = 7 WHERE seq = 90"), "line 90 does not fit", id="a number as body"
    ),
    pytest.param(
        sql("UPDATE line SET decided_by = 77 WHERE seq = 90"), "line 90 does not fit", id="who decided"
    ),
    pytest.param(
        sql("UPDATE decided_by SET hashes = replace(hashes, ' ', '  ')"), "line 61 does not fit", id="hashes"
    ),
    pytest.param(
        sql("DELETE FROM snapshot WHERE seq = 92"), "list of snapshot", id="newest snapshot deleted"
    ),
    pytest.param(sql("DELETE FROM snapshot WHERE seq = 30"), "list of snapshot", id="old snapshot deleted"),
    pytest.param(
        sql("UPDATE snapshot SET body = x'80' WHERE seq = 92"), "snapshot 92", id="an empty state as snapshot"
    ),
    pytest.param(
        sql("UPDATE snapshot SET body = (SELECT body FROM snapshot WHERE seq = 60) WHERE seq = 92"),
        "snapshot 92",
        id="an older snapshot's state",
    ),
    pytest.param(
        sql("UPDATE rules SET content = replace(content, '0.7', '0.1')"),
        "hash does not fit",
        id="a rule changed",
    ),
    pytest.param(sql("UPDATE rules SET content = 5"), "rules", id="a rule that is a number"),
    pytest.param(sql("DELETE FROM rules"), "list of rules", id="rules deleted"),
    pytest.param(sql("UPDATE rules SET hash = 'x' || hash"), "list of rules", id="rules renamed"),
    pytest.param(sql("UPDATE identity SET id = 'abcdef'"), "list of identity", id="another journal's name"),
    pytest.param(sql("DELETE FROM identity"), "list of identity", id="no name"),
    pytest.param(sql("DELETE FROM copied WHERE seq = 31"), "lines are gone", id="first copied line deleted"),
    pytest.param(sql("DELETE FROM copied WHERE seq = 60"), "lines are gone", id="last copied line deleted"),
    pytest.param(sql("DELETE FROM copied"), "lines are gone", id="all copied lines deleted"),
    pytest.param(sql("UPDATE copied SET at = at + 1e6"), "lines are gone", id="copied lines' times"),
    pytest.param(sql("DELETE FROM chain WHERE what = 'head'"), "the head of its chain is gone", id="no head"),
    pytest.param(sql("DELETE FROM chain WHERE what = 'tail'"), "the tail of its chain is gone", id="no tail"),
    pytest.param(
        sql("UPDATE chain SET seq = 70 WHERE what = 'tail'"), "line 71 is not the oldest", id="tail moved on"
    ),
    pytest.param(
        sql("UPDATE chain SET seq = 9223372036854775807 WHERE what = 'tail'"), "", id="tail far out"
    ),
    pytest.param(sql("UPDATE chain SET seq = -1 WHERE what = 'tail'"), "", id="tail before the beginning"),
    pytest.param(
        sql("UPDATE chain SET seq = 'x' WHERE what = 'head'"), "the head of its", id="a word as head"
    ),
    pytest.param(sql("UPDATE chain SET sum = x'00' WHERE what = 'tail'"), "line 61", id="tail's checksum"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
@pytest.mark.parametrize("read_only", [False, True], ids=["writer", "reader"])
def test_what_a_hand_changed_is_refused(
    kept: Kept, change: Callable[[sqlite3.Connection], None], said: str, read_only: bool
) -> None:
    path = kept.copy("closed")
    with sqlite3.connect(path) as db:
        change(db)
    db.close()
    refusal = kept.read(path, read_only=read_only)
    assert refusal
    assert said in refusal


def test_a_refused_journal_is_left_as_it_was_found(kept: Kept) -> None:
    path = kept.copy("killed")
    log = path.with_name(path.name + "-wal")
    flipped(log, log.stat().st_size * 4)
    found = path.read_bytes(), log.read_bytes()
    assert "is gone" in kept.read(path)
    assert (path.read_bytes(), log.read_bytes()) == found


def test_people_may_go_on_without_what_is_gone(kept: Kept) -> None:
    path = kept.copy("killed")
    log = path.with_name(path.name + "-wal")
    log.write_bytes(log.read_bytes()[:-5000])
    said = kept.read(path)
    assert said.endswith(f"by removing {path}.head")
    path.with_name(path.name + ".head").unlink()
    journal = Journal(path)
    assert 200 < journal.last_seq < 242
    assert journal.append(NodeHeard(2e9, NodeId("n1")), (), "p", "r") == journal.last_seq
    journal.close()


def test_a_damaged_journal_that_was_moved_away_gives_place_to_a_new_one(kept: Kept) -> None:
    path = kept.copy("killed")
    path.rename(path.with_name("away"))
    with pytest.raises(JournalError, match="copy is gone, but copy-wal is there: put the file back, or move"):
        Journal(path)
    path.with_name("copy-wal").unlink()
    with pytest.raises(JournalError, match=r"copy is gone, but copy.head is there: put"):
        Journal(path)
    path.with_name("copy.head").unlink()
    journal = Journal(path)
    assert (journal.last_seq, journal.snapshots()) == (0, [])
    journal.close()


@pytest.fixture
def interrupted(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "j")
    yield journal
    journal.close()


def test_who_is_interrupted_after_a_commit_goes_on_behind_it(
    interrupted: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    fact = NodeHeard(1.0, NodeId("n1"))
    with monkeypatch.context() as patched:
        patched.setattr("sentinel.adapters.journal.End", stop)
        with pytest.raises(KeyboardInterrupt):
            interrupted.append(fact, (), "p", "r")
    assert interrupted.append(fact, (), "p", "r") == 2
    assert [line.seq for line in interrupted.lines()] == [1, 2]


def test_times_that_fall_or_are_no_numbers_are_read_back(interrupted: Journal) -> None:
    times = [5, -0.0, 4.5, float("nan"), 2**53 + 1, 1.0, float("inf"), 3.0]
    interrupted.append_many([(NodeHeard(at, NodeId("n1")), ()) for at in times], "p", "r")
    interrupted.save_snapshot(5, encode({}))
    interrupted.save_snapshot(8, encode({}))
    again = Journal(interrupted.path, read_only=True)
    assert [repr(line.fact.at) for line in again.lines()] == [repr(float(at)) for at in times]
    assert [seq for seq, _ in again.snapshots()] == [5, 8]
    again.close()
