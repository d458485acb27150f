"""A new controller believes what the last one did: the past is folded by the rules of then."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from small_cluster import JOB, Cluster

from sentinel import runbooks
from sentinel.adapters import journal_chain
from sentinel.adapters.journal import Journal
from sentinel.adapters.journal_schema import sum_up
from sentinel.core.fold import retell
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import JobStage
from sentinel.logbook.recording import read
from sentinel.model.action import Evict, Page, Refusal
from sentinel.model.codec import from_plain
from sentinel.model.decision import Cordoned, Decision, deeds
from sentinel.model.fact import Commanded, DefectMet, Fact, FindingReported, JobAdvanced
from sentinel.model.journal import from_body, to_body
from sentinel.model.policy import Policy
from sentinel.runtime.ledger import Ledger

RECORDINGS = sorted((Path(__file__).parents[1] / "incidents").glob("*.jsonl"))


def test_a_node_that_was_only_observed_is_not_cordoned_when_actions_are_allowed(tmp_path: Path) -> None:
    observed = Cluster(tmp_path, Policy(observe_only=True))
    observed.trains()
    home = observed.home
    observed.breaks(home)
    assert any(isinstance(action, Refusal) for action in observed.performed)
    acting = observed.restarted(tmp_path, Policy())
    assert acting.ledger.state == observed.ledger.state
    assert acting.ledger.state.nodes[home].cordon is None
    assert acting.ledger.state.jobs[JOB].stage is JobStage.RUNNING
    assert acting.pages == ()


def test_an_eviction_stays_where_a_new_policy_would_not_evict(tmp_path: Path) -> None:
    first = Cluster(tmp_path, Policy())
    first.trains()
    home = first.home
    first.breaks(home)
    assert any(isinstance(action, Evict) for action in first.performed)
    careful = first.restarted(tmp_path, Policy(evict_confidence=0.99))
    assert careful.ledger.state == first.ledger.state
    assert careful.ledger.state.nodes[home].cordon is not None
    assert careful.ledger.state.jobs[JOB].generation == 2


def test_changed_runbooks_do_not_change_the_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Cluster(tmp_path, Policy())
    first.trains()
    first.breaks(first.home)
    books = {cause: replace(book, confidence=0.1) for cause, book in runbooks.load().items()}
    monkeypatch.setattr(runbooks, "load", lambda: books)
    assert first.restarted(tmp_path, Policy()).ledger.state == first.ledger.state


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in RECORDINGS])
def test_an_incident_is_believed_as_it_was_whatever_the_policy_says_now(tmp_path: Path, path: Path) -> None:
    recording = read(path.read_text())
    rules = Rules(from_plain(Policy, recording.policy), runbooks.load())
    state = State.from_plain(recording.state) if recording.state else State()
    journal = Journal(tmp_path / "journal.db")
    before = Ledger(journal, rules, "books", lambda _actions: None)
    before.state = state
    journal.save_snapshot(0, state.to_bytes())
    before.absorb([line.fact for line in recording.lines])
    today = Rules(Policy(observe_only=True, gather_s=9.0, evict_confidence=1.0), runbooks.load())
    after = Ledger(journal, today, "others", lambda _actions: None)
    assert after.load() == ()
    # A loss in it may be no number, which equals nothing.
    assert repr(after.state.stored()) == repr(before.state.stored())
    journal.close()


def decided_otherwise(path: Path) -> None:
    """Make the record say that nothing was done, as if an old release had decided less than this one."""
    with sqlite3.connect(path / "journal.db") as db:
        (total,) = db.execute("SELECT sum FROM chain WHERE what = 'tail'").fetchone()
        rows = "SELECT seq, at, hashes, body FROM line JOIN decided_by ON decided_by = id ORDER BY seq"
        for seq, at, by, body in db.execute(rows).fetchall():
            fact, decisions, _ = from_body(body)
            actions = () if any(isinstance(each, Evict) for each in decisions) else deeds(decisions)
            other = to_body(fact, actions, is_whole=False)
            total = journal_chain.of_line(total, seq, at, by.encode(), other)
            db.execute("UPDATE line SET body = ?, sum = ? WHERE seq = ?", (other, total, seq))
        db.execute("UPDATE chain SET sum = ? WHERE what = 'head'", (total,))


def test_a_past_that_would_be_decided_otherwise_freezes_actions_and_pages_once(tmp_path: Path) -> None:
    first = Cluster(tmp_path, Policy())
    first.trains()
    first.breaks(first.home)
    decided_otherwise(tmp_path)
    second = first.restarted(tmp_path, Policy())
    assert second.ledger.state.frozen.startswith("line ")
    assert "FindingReported" in second.ledger.state.frozen
    assert [page.incident for page in second.pages] == [f"sentinel-restart-{first.journal.last_seq}"]
    assert not any(isinstance(action, Evict) for action in second.ledger.state.unfinished.values())
    third = second.restarted(tmp_path, Policy())
    assert (third.ledger.state, third.pages) == (second.ledger.state, ())


def test_what_another_release_recorded_is_believed_and_nothing_is_decided_again(tmp_path: Path) -> None:
    first = Cluster(tmp_path, Policy())
    first.trains()
    first.breaks(first.home)
    with sqlite3.connect(tmp_path / "journal.db") as db:
        (total,) = db.execute("SELECT sum FROM chain WHERE what = 'tail'").fetchone()
        rows = "SELECT seq, at, hashes, body FROM line JOIN decided_by ON decided_by = id ORDER BY seq"
        for seq, at, by, body in db.execute(rows).fetchall():
            fact, decisions, _ = from_body(body)
            held_back = any(isinstance(each, Cordoned) for each in decisions)
            other = to_body(fact, () if held_back else decisions)
            total = journal_chain.of_line(total, seq, at, by.encode(), other)
            db.execute("UPDATE line SET body = ?, sum = ? WHERE seq = ?", (other, total, seq))
        db.execute("UPDATE chain SET sum = ? WHERE what = 'head'", (total,))
    second = first.restarted(tmp_path, Policy())
    assert second.ledger.state.frozen == ""
    assert second.ledger.state.nodes[first.home].cordon is None


def test_a_human_who_resumes_actions_settles_what_was_in_doubt(tmp_path: Path) -> None:
    first = Cluster(tmp_path, Policy())
    first.trains()
    first.breaks(first.home)
    first.tell(lambda at: Commanded(at, "resume-actions", "", "ada"))
    decided_otherwise(tmp_path)
    assert first.restarted(tmp_path, Policy()).ledger.state.frozen == ""


def test_a_fact_that_this_release_can_t_fold_freezes_and_ends_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Cluster(tmp_path, Policy())
    first.trains()

    def fails(state: State, fact: Fact, decisions: tuple[Decision, ...], rules: Rules) -> None:
        if isinstance(fact, JobAdvanced):
            raise KeyError("n9")
        retell(state, fact, decisions, rules)

    monkeypatch.setattr("sentinel.runtime.recall.retell", fails)
    assert "KeyError: 'n9'" in first.restarted(tmp_path, Policy()).ledger.state.frozen


def test_a_defect_pages_once_and_stays_frozen_over_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Cluster(tmp_path, Policy())
    first.trains()
    first.performed.clear()
    monkeypatch.setattr("sentinel.core.fold._is_learned", lambda *_: 1 / 0)
    first.breaks(first.home)
    first.breaks(first.home)
    monkeypatch.undo()
    assert [action.incident for action in first.performed if isinstance(action, Page)] == [
        f"sentinel-defect-{first.journal.last_seq}"
    ]
    assert "ZeroDivisionError" in first.restarted(tmp_path, Policy()).ledger.state.frozen


@pytest.mark.parametrize(
    ("stage", "is_kept"),
    [
        ("learn", False),
        ("diagnose.decide", True),
        ("record", True),
        ("settle.parts", True),
        ("settle.pages", True),
    ],
)
def test_a_defect_in_any_stage_costs_one_fact_and_one_page_and_no_start(
    tmp_path: Path, stage: str, is_kept: bool
) -> None:
    first = Cluster(tmp_path, Policy())
    first.trains()
    first.performed.clear()
    intact, name = first.journal.last_seq, f"sentinel.core.fold.{stage}"
    broken = pytest.MonkeyPatch()
    broken.setattr(name, fails_unless_restored(name))
    first.breaks(first.home)
    first.breaks(first.home)
    broken.undo()
    lines = list(first.journal.lines(after=intact))
    met = [line.fact for line in lines if isinstance(line.fact, DefectMet)]
    assert {(fact.fact, fact.error) for fact in met} == {("FindingReported", "ZeroDivisionError: planted")}
    findings = sum(isinstance(line.fact, FindingReported) for line in lines)
    assert findings == 1 + is_kept, "the second is as ever"
    pages = [action.incident for action in first.performed if isinstance(action, Page)]
    assert len([name for name in pages if name.startswith("sentinel-")]) == 1
    assert not any(isinstance(action, Evict) for action in first.performed)
    second = first.restarted(tmp_path, Policy())
    assert "a defect in Sentinel: ZeroDivisionError: planted" in second.ledger.state.frozen
    assert (second.ledger.state, second.pages) == (first.ledger.state, ())


def fails_unless_restored(name: str) -> Callable[..., Any]:
    """Make a stage that fails, but for the word that there is a defect."""
    intact = resolve_name(name.replace("fold.", "fold:", 1))

    def fails(*given: Any) -> Any:
        state = next(each for each in given if isinstance(each, State))
        if state.frozen.startswith("a defect") or any(isinstance(each, DefectMet) for each in given):
            return intact(*given)
        raise ZeroDivisionError("planted")

    return fails


def test_a_journal_without_the_rules_of_then_is_folded_by_today_s(tmp_path: Path) -> None:
    first = Cluster(tmp_path, Policy())
    first.trains()
    first.breaks(first.home)
    first.journal.close()
    with sqlite3.connect(tmp_path / "journal.db") as db:
        db.execute("DELETE FROM rules")
        sum_up(db, "rules")  # as where an older release wrote it
    assert Cluster(tmp_path, Policy()).ledger.state == first.ledger.state


def test_after_a_saved_state_nothing_is_folded(tmp_path: Path) -> None:
    first = Cluster(tmp_path, Policy())
    first.trains()
    first.ledger.save()
    assert first.journal.since_snapshot == 0
    assert first.restarted(tmp_path, Policy()).ledger.state == first.ledger.state
