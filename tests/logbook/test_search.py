"""Search: all words of entries and filters, in an index that can be made anew whatever happens to it."""

import csv
import json
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest
from depth import tries
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from test_entry import T0, incident
from test_statistics import a_row

from sentinel.logbook import search
from sentinel.logbook.book import Logbook
from sentinel.logbook.export import COLUMNS, lines
from sentinel.logbook.search import Query, QueryError, parse
from sentinel.model.ids import DAY_S, IncidentId
from sentinel.model.incident import Stage


@pytest.fixture
def book(tmp_path: Path) -> Logbook:
    found = Logbook(tmp_path / "logbook")
    found.write(incident())
    return found


def names(book: Logbook, query: str) -> list[str]:
    return [row.incident for row in book.search(query)]


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("fallen off the bus", True),
        ("Xid 79", True),
        ("NVRM: Xid", True),
        ("node-7", True),
        ("fall", True),
        ("signal 11", False),
        ("node:node-7", True),
        ("node:node-70", False),
        ("node:node", False),
        ("cause:gpu-lost job:moe", True),
        ("cause:gpu", False),
        ("since:2026-03-04 until:2026-03-05", True),
        ("until:2026-03-04", False),
        ("since:20y xid", True),
        ('"; DROP TABLE words', False),
        ("* OR NEAR( ^ -", True),
        ("- ? !", True),
    ],
)
def test_words_and_filters_find_what_they_say(book: Logbook, query: str, is_found: bool) -> None:
    if "OR" in query:
        is_found = "or" in (book.entry("INC-7") or "").casefold().split()
    assert names(book, query) == (["INC-7"] if is_found else [])


def test_a_gpus_serial_in_raw_evidence_is_found(book: Logbook) -> None:
    path = book.folder / "INC-7.md"
    path.write_text(f"{path.read_text()}\n```text\nserial: 1650000000123\nuuid: GPU-5f3a-11\n```\n")
    assert names(book, "1650000000123 gpu-5f3a") == ["INC-7"]


def test_what_is_written_anew_is_searched_anew(book: Logbook) -> None:
    assert names(book, "resolved") == ["INC-7"]
    book.write(replace(incident(), stage=Stage.OPEN, acked_by="zoe"))
    assert names(book, "zoe") == ["INC-7"]
    book.write(replace(incident(), id=IncidentId("INC-8"), opened=T0 + 9.0))
    assert names(book, "xid") == ["INC-8", "INC-7"]


@pytest.mark.parametrize("how", ["gone", "no database", "another schema", "torn"])
def test_the_index_is_made_anew(book: Logbook, how: str) -> None:
    assert names(book, "xid") == ["INC-7"]
    path = book.folder / search.NAME
    if how == "gone":
        path.unlink()
    elif how == "no database":
        path.write_bytes(b"not a database " * 500)
    elif how == "torn":
        os.truncate(path, path.stat().st_size // 2)
    else:
        path.unlink()
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE known (what TEXT)")
        path.chmod(0o600)
    assert names(book, "xid") == ["INC-7"]
    assert names(Logbook(book.folder), "xid") == ["INC-7"]
    assert path.stat().st_mode & 0o077 == 0


def test_a_disk_that_takes_no_index_keeps_nobody_from_searching(book: Logbook) -> None:
    (book.folder / search.NAME).mkdir()
    assert names(book, "xid") == ["INC-7"]


@pytest.mark.parametrize("word", ["since:", "node:", "since:never", "until:2026-02-31"])
def test_a_filter_without_sense_is_one_line(word: str) -> None:
    with pytest.raises(QueryError, match=rf"^{word}: [^\n]+$"):
        parse(word, T0)


@settings(max_examples=tries(60, 600), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40))
def test_no_text_breaks_a_search(book: Logbook, text: str) -> None:
    with suppress(QueryError):
        assert names(book, text) in ([], ["INC-7"])


def test_another_cause_of_an_incident_is_found_by_it() -> None:
    row = a_row(1, T0, others=("rank-crash: rank 3 on n2",))
    assert Query(cause="rank-crash").fits(row)
    assert not Query(cause="rank").fits(row)


# --- export ----------------------------------------------------------------------------------------------


def test_json_lines_hold_all_of_a_row(book: Logbook) -> None:
    (line,) = lines(book.rows(), "jsonl")
    found = json.loads(line)
    assert found["opened_utc"] == "2026-03-04T05:06:07.250+00:00"
    assert (found["incident"], found["evicted"], found["refused"]) == ("INC-7", ["node-7"], 1)


def test_csv_is_a_line_for_each_incident_and_computes_nothing() -> None:
    rows = [
        a_row(
            1,
            T0,
            title='=HYPERLINK("http://x")',
            where="n1,\nn2",
            times={"new_step": 2.5},
            evicted=("n1",),
        ),
        a_row(2, T0 + DAY_S, title="+1"),
    ]
    header, one, other = csv.reader(lines(rows, "csv"))
    assert tuple(header) == COLUMNS
    found = dict(zip(header, one, strict=True))
    assert (found["title"], found["where"]) == ('\'=HYPERLINK("http://x")', "n1, n2")
    assert (found["new_step_s"], found["evicted"], found["steps_lost"]) == ("2.5", "n1", "")
    assert dict(zip(header, other, strict=True))["title"] == "'+1"
