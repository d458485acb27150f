"""A journal that is not all that was written is refused or doubted: never begun as if nothing had been."""

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sentinel import runbooks
from sentinel.adapters.journal import Journal
from sentinel.adapters.journal_file import JournalError
from sentinel.core.state import Rules
from sentinel.logbook.book import Logbook
from sentinel.model.action import Page
from sentinel.model.fact import Commanded, NodeHeard
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy
from sentinel.runtime.ledger import Ledger

FILES = ("", "-wal", "-shm", ".head")


def beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def write(path: Path, lines: int) -> Journal:
    """Append to a journal whose writer is then killed: all of it is still in the log."""
    journal = Journal(path)
    for at in range(lines):
        journal.append(NodeHeard(float(at), NodeId("n1")), (), "p", "r")
    return journal


def copy(path: Path, to: Path) -> None:
    for end in FILES:
        beside(to, end).unlink(missing_ok=True)
        if beside(path, end).exists():
            shutil.copy(beside(path, end), beside(to, end))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with 20 lines, as its killed writer left it."""
    with closing(write(tmp_path / "alive.db", 20)):
        copy(tmp_path / "alive.db", tmp_path / "journal.db")
    return tmp_path / "journal.db"


def gone(*ends: str) -> Callable[[Path], None]:
    def remove(path: Path) -> None:
        for end in ends:
            beside(path, end).unlink()

    return remove


def emptied(end: str) -> Callable[[Path], None]:
    return lambda path: os.truncate(beside(path, end), 0)


def older_file(path: Path) -> None:
    older = path.with_name("older.db")
    with closing(Journal(path)) as journal:
        copy(path, older)
        journal.append(NodeHeard(99.0, NodeId("n1")), (), "p", "r")
    beside(older, ".head").unlink()
    shutil.copy(beside(path, ".head"), beside(older, ".head"))
    copy(older, path)


def another_cluster_s(path: Path) -> None:
    other = path.with_name("other.db")
    write(other, 50).close()
    shutil.copy(other, path)
    beside(path, "-wal").unlink()


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        pytest.param(gone("-wal"), "written after line 0", id="log gone"),
        pytest.param(emptied("-wal"), "written after line 0", id="log emptied"),
        pytest.param(gone("", "-wal", "-shm"), "gone, but journal.db.head is there", id="file and log"),
        pytest.param(gone(""), "journal.db is gone, but journal.db-wal is there", id="file gone"),
        pytest.param(older_file, "written after line 20", id="an older copy beside the newest note"),
        pytest.param(another_cluster_s, "it is another journal", id="another cluster's file"),
    ],
)
def test_what_went_back_is_refused_in_one_line(path: Path, attack: Callable[[Path], None], said: str) -> None:
    attack(path)
    for _ in range(2):  # the first attempt leaves nothing that lets a second one in
        with pytest.raises(JournalError, match=said) as refused:
            Journal(path)
        assert "\n" not in str(refused.value)


def spoiled_note(path: Path) -> None:
    beside(path, ".head").write_bytes(b"\xff\xfe\x00 not a note")


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(gone(".head"), id="note gone"),
        pytest.param(gone("-wal", ".head"), id="log and note gone"),
        pytest.param(emptied(".head"), id="note emptied"),
        pytest.param(spoiled_note, id="note spoiled"),
    ],
)
def test_a_journal_whose_end_nobody_knows_freezes_and_pages_until_people_say_go_on(
    path: Path, attack: Callable[[Path], None]
) -> None:
    attack(path)
    for opened in range(2):  # killed after it was opened: the next one doubts it, too
        with closing(Journal(path)) as journal:
            assert "journal.db.head is gone or damaged" in journal.doubt, opened
    frozen, pages = load(path)
    assert "journal.db.head" in frozen
    assert len(pages) == 1
    drawn = past(path)
    assert load(path) == (frozen, ())
    assert past(path) == drawn
    with closing(Journal(path)) as journal:
        ledger = ledger_of(journal)
        ledger.load()
        ledger.absorb([Commanded(1e9, "resume-actions", "", "ada")])
    assert load(path) == ("", ())


def past(path: Path) -> str:
    """Whose everything is that is decided from now on."""
    with closing(Journal(path)) as journal:
        ledger = ledger_of(journal)
        ledger.load()
        assert ledger.past != journal.id
        return ledger.past


def test_the_same_copy_is_doubted_each_time_that_it_is_put_back_and_paged_anew(path: Path) -> None:
    copied = path.with_name("copied.db")
    copy(path, copied)
    pages = set()
    for _ in range(2):
        copy(copied, path)
        beside(path, ".head").unlink()
        pages |= {page.id for page in load(path)[1]}
    assert len(pages) == 2


def ledger_of(journal: Journal) -> Ledger:
    books = runbooks.load()
    return Ledger(journal, Rules(Policy(), books), runbooks.hash_of(books), lambda _: None)


def load(path: Path, reported: int = 0) -> tuple[str, tuple[Page, ...]]:
    with closing(Journal(path)) as journal:
        ledger = ledger_of(journal)
        pages = ledger.load(reported)
        return ledger.state.frozen, pages


@pytest.mark.parametrize("files", [("",), FILES], ids=["closed", "killed"])
def test_a_journal_behind_the_logbook_freezes_and_pages(path: Path, files: tuple[str, ...]) -> None:
    """An older copy of the whole, or none of it: nothing beside it tells, but what people were told does."""
    for end in FILES:
        beside(path, end).unlink(missing_ok=True)
    frozen, pages = load(path, reported=7)
    assert frozen.endswith("its newest incident is number 0, the logbook has number 7")
    assert [page.stage for page in pages] == ["open"]
    assert load(path, reported=7) == (frozen, ()), "until people say go on"
    with closing(Journal(path)) as journal:
        ledger = ledger_of(journal)
        ledger.load(7)
        ledger.absorb([Commanded(1e9, "resume-actions", "", "ada")])
        assert ledger.state.opened == 7, "the next incident takes no other's place in the logbook"
    assert load(path, reported=7) == ("", ()), "and then no more"


def test_an_older_copy_of_all_its_files_is_told_by_the_logbooks_note(tmp_path: Path) -> None:
    path, book = tmp_path / "journal.db", Logbook(tmp_path / "logbook")
    write(path, 3).close()
    for end in FILES:
        if beside(path, end).exists():
            shutil.copy(beside(path, end), tmp_path / f"copy{end}")
    with closing(Journal(path)) as journal:
        ledger = ledger_of(journal)
        ledger.load()
        ledger.absorb([Commanded(1e9, "stop-actions", "", "ada")])
        book.note(journal.id, journal.last_seq)
    for end in FILES:
        beside(path, end).unlink(missing_ok=True)
        if (kept := tmp_path / f"copy{end}").exists():
            shutil.copy(kept, beside(path, end))
    with closing(Journal(path)) as journal:
        ledger = ledger_of(journal)
        (page,) = ledger.load(0, book.noted())
        assert page.stage == "open"
        assert f"and had line {book.noted()[1]}" in ledger.state.frozen
        assert ledger_of(journal).load(0, ("another", 99)) == (), "a note of another journal says nothing"


@pytest.mark.parametrize("content", [b"", b"x", b"\xff 1", b"a b", b"a 1 2", b"a " + b"9" * 5000])
def test_a_note_that_is_none_says_nothing(tmp_path: Path, content: bytes) -> None:
    book = Logbook(tmp_path / "logbook")
    (tmp_path / "logbook" / "journal").write_bytes(content)
    assert book.noted() == ("", 0)


def test_a_page_about_one_journal_is_not_taken_for_one_about_the_next(path: Path) -> None:
    reported = set()
    for _ in range(2):
        for end in FILES:
            beside(path, end).unlink(missing_ok=True)
        reported |= {page.id for page in load(path, reported=7)[1]}
    assert len(reported) == 2


def test_a_new_journal_is_not_in_doubt_wherever_its_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    write(path, 0).close()
    assert load(path) == ("", ())
    path.unlink()  # the note is written first
    assert load(path) == ("", ())


def test_a_note_is_not_written_through_a_link(path: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    beside(path, ".head").unlink()
    beside(path, ".head").symlink_to(precious)
    load(path)
    assert precious.read_text() == "precious"
    assert not beside(path, ".head").is_symlink()
