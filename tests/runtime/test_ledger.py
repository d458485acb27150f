"""Decisions and the journal: committed before performed, kept while the disk is full, taken over later."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel import runbooks
from sentinel.adapters.journal import Journal
from sentinel.core.state import Rules
from sentinel.model.action import Action, Page
from sentinel.model.fact import Fact, FindingReported, JobSubmitted, NodeJoined
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import JobId, NodeId
from sentinel.model.policy import Policy
from sentinel.runtime.ledger import RETRY_S, Ledger

ROOMY_PAGES = 1_000_000


class Stand:
    """A ledger whose performed actions are kept for looking at."""

    def __init__(self, journal: Journal) -> None:
        self.performed: list[Action] = []
        rules = Rules(Policy(), runbooks.load())
        self.ledger = Ledger(journal, rules, runbooks.hash_of(rules.runbooks), self.performed.extend)
        self.ledger.load()


def joined(node: str, at: float) -> Fact:
    return NodeJoined(at, NodeId(node), "127.0.0.1", 1, 1, f"boot-{node}")


def broken_gpu(node: str, at: float, text: str = "2 errors") -> Fact:
    finding = Finding("gpu", "ecc-uncorrectable", "gpu-0", Health.CRITICAL, text)
    return FindingReported(at, NodeId(node), finding)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.db", max_bytes=200_000)
    yield opened
    opened.close()


def fill(stand: Stand) -> None:
    at = 10.0
    while stand.ledger.absorb([broken_gpu("n1", at, "x" * 5_000)]):
        at += 1.0


def test_a_full_journal_freezes_actions_and_pages(journal: Journal) -> None:
    stand = Stand(journal)
    stand.ledger.absorb([joined("n1", 1.0), joined("n2", 1.0)])
    fill(stand)
    titles = [action.title for action in stand.performed if isinstance(action, Page)]
    assert stand.ledger.state.frozen
    assert any("journal" in title.lower() for title in titles)


def test_what_was_decided_while_the_disk_was_full_is_not_lost(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentinel.runtime.ledger.RETRY_S", 0.0)
    stand = Stand(journal)
    stand.ledger.absorb([joined("n1", 1.0), joined("n2", 1.0)])
    fill(stand)
    waiting = [fact for fact, _ in stand.ledger.uncommitted]
    journal._db.execute(f"PRAGMA max_page_count={ROOMY_PAGES}")
    assert stand.ledger.absorb([])
    kept = [line.fact for line in journal.lines()]
    assert all(fact in kept for fact in waiting)
    assert stand.ledger.state.frozen == ""


def test_a_page_does_not_wait_for_the_journal(journal: Journal) -> None:
    stand = Stand(journal)
    stand.ledger.absorb([joined("n1", 1.0), joined("n2", 1.0)])
    fill(stand)
    stand.performed.clear()
    stand.ledger.absorb([broken_gpu("n2", 1000.0)])
    assert [action.title for action in stand.performed if isinstance(action, Page)]
    assert all(isinstance(action, Page) for action in stand.performed)


def test_a_journal_that_fails_is_tried_once_a_second(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(journal)
    stand.ledger.absorb([joined("n1", 1.0), joined("n2", 1.0)])
    fill(stand)
    attempts: list[object] = []
    monkeypatch.setattr(journal, "append_many", lambda *line: attempts.append(line))
    for number in range(100):
        assert not stand.ledger.absorb([broken_gpu("n2", 1000.0 + number)])
    assert attempts == []
    later = time.monotonic() + RETRY_S
    monkeypatch.setattr("sentinel.runtime.ledger.time.monotonic", lambda: later)
    assert stand.ledger.absorb([])
    assert len(attempts) == 2  # all that was kept, and that the journal is back


def test_a_new_controller_does_again_what_has_no_outcome(tmp_path: Path) -> None:
    first = Journal(tmp_path / "journal.db")
    stand = Stand(first)
    job = JobSubmitted(1.0, JobId("moe"), 1, "m:t", 1, 1)
    stand.ledger.absorb([joined("n1", 1.0), joined("n2", 1.0), job, broken_gpu("n1", 2.0)])
    decided = {action.id for action in stand.performed}
    first.close()
    second = Journal(tmp_path / "journal.db")
    assert decided
    assert decided <= set(Stand(second).ledger.state.unfinished)
    second.close()


def test_a_snapshot_that_does_not_fit_on_the_disk_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentinel.runtime.ledger.SNAPSHOT_EVERY_LINES", 5)
    journal = Journal(tmp_path / "journal.db")
    stand = Stand(journal)
    stand.ledger.absorb([joined(f"n{number}", 1.0) for number in range(1, 200)])
    assert journal.snapshot_seq
    used = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count={used + 3}")  # room for a line, not for a snapshot
    before = journal.snapshot_seq
    for at in range(10, 30):
        assert stand.ledger.absorb([broken_gpu("n1", float(at))])
    assert journal.snapshot_seq == before
    assert stand.ledger.state.frozen == ""
    journal.close()


def test_a_fact_that_has_no_written_form_freezes_actions_and_takes_no_other_with_it(journal: Journal) -> None:
    stand = Stand(journal)
    finding = Finding("gpu", "ecc-uncorrectable", "gpu-0", Health.CRITICAL, "2 errors", {"count": object()})
    unwritten = FindingReported(2.0, NodeId("n1"), finding)
    assert stand.ledger.absorb([joined("n1", 1.0), unwritten, joined("n2", 3.0)])
    *written, met = [line.fact for line in journal.lines()]
    assert (written, type(met).__name__) == ([joined("n1", 1.0), joined("n2", 3.0)], "DefectMet")
    assert "can't be written" in stand.ledger.state.frozen
    assert [page.title for page in stand.performed if isinstance(page, Page)][-1].startswith(
        "Sentinel doubts"
    )
    assert stand.ledger.absorb([joined("n3", 4.0)])
