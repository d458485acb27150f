"""The bundled runbooks agree with the catalogue, with the policy and with each other."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel import checks, runbooks
from sentinel.checks import xid
from sentinel.checks.xid import health_of
from sentinel.core.diagnose.predicates import NAMES
from sentinel.model.finding import Health
from sentinel.model.ids import Cause
from sentinel.model.incident import Blame
from sentinel.model.policy import Policy
from sentinel.model.runbook import PageWhen, Remedy
from sentinel.model.severity import Severity

BOOKS = runbooks.load()
CATALOGUE = Path(runbooks.__file__).parents[1] / "checks" / "xid_catalog.csv"
AWAY = {Remedy.EVICT, Remedy.DRAIN}


def xids(book: Cause) -> set[int]:
    return {number for match in BOOKS[book].matches for number in match.xid}


def in_use(action: str) -> set[int]:
    with CATALOGUE.open(encoding="utf-8") as rows:
        return {
            int(row["xid"])
            for row in csv.DictReader(rows)
            if row["immediate_action"] == action and row["in_use"] == "yes"
        }


def test_every_predicate_of_the_core_is_used_by_a_runbook() -> None:
    used = {match.predicate for book in BOOKS.values() for match in book.matches}
    assert used - {""} == set(NAMES)


def test_program_xids_are_those_that_the_catalogue_answers_with_restart_app_and_a_few_more() -> None:
    assert xids(Cause("gpu-app-xid")) | {13, 31} == in_use("RESTART_APP") | {13, 31} | {*xid.PROGRAMS}
    assert {number for number in range(1, 300) if xid.is_programs(number)} == xids(Cause("gpu-app-xid"))


@pytest.mark.parametrize("action", ["RESET_GPU", "RESTART_BM", "RESTART_VM", "CHECK_MECHANICALS"])
def test_every_xid_that_asks_for_reset_or_reboot_takes_the_node_away(action: str) -> None:
    away = {number for cause, book in BOOKS.items() if book.remedy in AWAY for number in xids(cause)}
    assert in_use(action) <= away


def test_no_xid_that_the_catalogue_ignores_causes_anything() -> None:
    causes = {number for cause in BOOKS for number in xids(cause)}
    assert in_use("IGNORE") & causes == {*xid.PROGRAMS}, "a program's error is replaced, and accuses nobody"


def test_every_cause_that_a_check_declares_has_a_runbook() -> None:
    every = [*checks.load().values(), *checks.load_collective().values()]
    assert {cause for each in every for cause in each.causes} <= set(BOOKS)


def test_what_a_runbook_asks_can_find_its_cause() -> None:
    collective = checks.load_collective()
    asking = {cause: book.asks for cause, book in BOOKS.items() if book.asks}
    assert asking
    assert all(cause in collective[asked].causes for cause, asked in asking.items())


def test_every_xid_of_a_runbook_is_one_that_the_check_calls_bad() -> None:
    every = {number for cause in BOOKS for number in xids(cause)}
    assert {health_of(number) for number in every} <= {Health.WARNING, Health.CRITICAL}


def test_every_xid_that_the_check_calls_critical_has_a_cause() -> None:
    every = {number for cause in BOOKS for number in xids(cause)}
    assert {number for number in xid.catalogue() if health_of(number) is Health.CRITICAL} <= every


def test_no_xid_has_two_causes() -> None:
    every = [number for cause in BOOKS for number in xids(cause)]
    assert sorted(every) == sorted(set(every))


def test_only_a_gpu_or_a_node_is_taken_away_and_only_when_sure_enough() -> None:
    for cause, book in BOOKS.items():
        if book.remedy in AWAY:
            assert book.blames in (Blame.GPU, Blame.NODE), cause
            assert book.confidence >= Policy().evict_confidence, cause


def test_unknown_evicts_nobody_and_pages() -> None:
    unknown = BOOKS[runbooks.UNKNOWN]
    assert (unknown.remedy, unknown.blames, unknown.confidence) == (Remedy.RESTART, Blame.NOBODY, 0)
    assert unknown.page is PageWhen.AT_ONCE


@pytest.mark.parametrize("cause", BOOKS)
def test_each_says_how_urgent_it_is(cause: Cause) -> None:
    text = (Path(runbooks.__file__).parent / f"{cause}.md").read_text(encoding="utf-8")
    assert f"\nseverity: {BOOKS[cause].severity}\n" in text


def test_what_stops_a_job_or_sentinel_needs_a_hand_and_what_moves_ranks_does_not() -> None:
    for cause, book in BOOKS.items():
        if book.remedy is Remedy.STOP or (book.remedy is Remedy.FREEZE and book.page is PageWhen.AT_ONCE):
            assert book.severity is Severity.CRITICAL, cause
        elif book.remedy is not Remedy.NONE:
            assert book.severity is not Severity.CRITICAL, cause
        if book.remedy in AWAY:
            assert book.severity is Severity.WARNING, f"{cause}: a node awaits repair"


def _beneath(cause: Cause, above: tuple[Cause, ...] = ()) -> Iterator[Cause]:
    assert cause not in above, f"{' explains '.join((*above, cause))}"
    for symptom in BOOKS[cause].explains:
        yield symptom
        yield from _beneath(symptom, (*above, cause))


def test_no_cause_explains_itself_through_others() -> None:
    for cause in BOOKS:
        list(_beneath(cause))


def test_what_explains_a_cause_is_at_least_as_sure() -> None:
    for cause, book in BOOKS.items():
        for symptom in book.explains:
            assert book.confidence >= BOOKS[symptom].confidence - 0.1, (cause, symptom)


@pytest.mark.parametrize(
    ("cause", "line"),
    [
        pytest.param("out-of-memory", "torch.OutOfMemoryError: CUDA out of memory.", id="torch"),
        pytest.param("out-of-memory", "torch.cuda.OutOfMemoryError: x", id="older torch"),
    ],
)
def test_log_patterns_find_the_real_lines(cause: str, line: str) -> None:
    assert any(match.log and re.search(match.log, line) for match in BOOKS[Cause(cause)].matches)


def test_rays_own_memory_error_is_not_the_gpus() -> None:
    [match] = BOOKS[Cause("out-of-memory")].matches
    assert not re.search(match.log, "ray.exceptions.OutOfMemoryError: Task was killed")


@pytest.mark.parametrize("cause", BOOKS)
def test_each_tells_people_meaning_impact_diagnosis_and_mitigation(cause: Cause) -> None:
    text = runbooks.prose(cause)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert 10 <= sum(bool(line.strip()) for line in text.splitlines()) <= 25


@pytest.mark.parametrize("cause", BOOKS)
def test_each_begins_with_what_was_done_and_what_is_asked_of_the_reader(cause: Cause) -> None:
    text = runbooks.prose(cause).lstrip()
    assert re.match(r"- \*\*Done:\*\* .+\.\n- \*\*You:\*\* .+\.\n\n## Meaning\n", text)


WHEN = {
    Severity.CRITICAL: r"(?!nothing).*\bnow\b",
    Severity.WARNING: r"(?!nothing|wait).*\bin working hours\b",
    Severity.INFO: r"nothing\b|only if you were paged",
}


@pytest.mark.parametrize("cause", BOOKS)
def test_what_is_asked_of_the_reader_is_as_urgent_as_its_severity(cause: Cause) -> None:
    (asked,) = re.findall(r"^- \*\*You:\*\* (.+)$", runbooks.prose(cause), re.MULTILINE)
    assert re.match(WHEN[BOOKS[cause].severity], asked)


def test_commands_that_runbooks_name_exist() -> None:
    from sentinel.cli import app

    known = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    named = {word for cause in BOOKS for word in re.findall(r"`sentinel ([a-z-]+)", runbooks.prose(cause))}
    assert named
    assert named <= known


def test_what_lies_between_nodes_makes_no_crash_loop_of_the_hangs_that_it_explains() -> None:
    between = {cause for cause, book in BOOKS.items() if "link-suspect" in (*book.explains, cause)}
    assert between >= {"link-suspect", "link-slow", "rack-slow", "port-down"}
    assert all({"crash-loop", "crash-follows-rank"} <= {*BOOKS[cause].explains} for cause in between)
