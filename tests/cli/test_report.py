"""Commands about the past: a report of a real journal, a node's ticket, search, export."""

import csv
import json
import tarfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sentinel import runbooks
from sentinel.adapters.journal import Journal
from sentinel.cli import app
from sentinel.core.state import Rules
from sentinel.logbook import tally_file
from sentinel.logbook.book import Logbook
from sentinel.model.ids import IncidentId
from sentinel.model.incident import Incident
from sentinel.model.policy import Policy
from sentinel.rehearse.controller import Decision
from sentinel.rehearse.play import Player
from sentinel.rehearse.reading import of_plain
from sentinel.rehearse.rehearsal import rehearsal_of
from sentinel.runtime.past import of_journal
from sentinel.runtime.rules import contents, policy_hash

BOOKS = runbooks.load()
STEPS = [
    {"crash": [0, "signal 9"]},
    {"run": 300},
    {"gpu": ["n1", 0, {"present": False}]},
    {"run": 100},
    {"crash": [1, "signal 9"]},
    {"run": 60},
]
BEGINS = 1_772_600_000.0
"""2026-03-04 04:53:20 UTC"""
DAY = ("--since", "2026-03-04", "--until", "2026-03-05", "--zone", "UTC")


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory as a controller leaves it: a journal, and a logbook with recordings."""
    folder = tmp_path_factory.mktemp("state")
    scenario = of_plain({"steps": STEPS}, "past")
    rules, books = Rules(scenario.policy_on(Policy()), BOOKS), runbooks.hash_of(BOOKS)
    by = (policy_hash(rules), books, contents(rules, books))
    book, incidents = Logbook(folder / "logbook"), dict[IncidentId, Incident]()
    with closing(Journal(folder / "journal.db")) as journal, rehearsal_of(scenario, rules) as rehearsal:

        def keep(decision: Decision) -> None:
            journal.append_many([(decision.fact, decision.decided)], *by)
            incidents.update({each.id: each for each in rehearsal.controller.state.incidents.values()})

        rehearsal.world.now = rehearsal.stirred = BEGINS
        rehearsal.watched = keep
        rehearsal.warm_up()
        Player(rehearsal).play()
        for incident in incidents.values():
            book.write(incident, (), BOOKS.get(incident.about.cause) if incident.about else None)
    tally_file.append(book.folder, of_journal(folder / "journal.db", rules).entries)
    return folder


@pytest.fixture
def sentinel(lived: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SENTINEL_CLUSTER__STATE_DIR", str(lived))
    monkeypatch.setenv("SENTINEL_CLUSTER__NAME", "blue")
    monkeypatch.setenv("COLUMNS", "200")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def _line(*words: str) -> str:
    """Give the line that a command ends with, as a person sees it."""
    result = run(*words)
    assert result.exit_code in (1, 2)
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.usefixtures("sentinel")
class TestReport:
    def test_the_logbook_and_its_journal_say_the_same(self, lived: Path) -> None:
        of_logbook = run("report", *DAY)
        assert of_logbook.exit_code == 0
        assert of_logbook.stdout == run("report", *DAY, "--journal", str(lived / "journal.db")).stdout
        for part in ("# Report of blue", "| Incidents | 3 |", "| `rank-crash` | 2 |", "moe trained 9"):
            assert part in of_logbook.stdout

    def test_json_has_all_numbers(self) -> None:
        found = json.loads(run("report", *DAY, "--json").stdout)
        assert [(each["cause"], each["count"]) for each in found["causes"]] == [
            ("rank-crash", 2),
            ("gpu-lost", 1),
        ]
        assert found["total"]["low"] < found["total"]["per_1000_gpu_days"] < found["total"]["high"]
        assert [each["node"] for each in found["evictions"]] == ["n1"]

    def test_a_short_one_and_a_week_of_nothing(self) -> None:
        assert run("report", *DAY, "--short").stdout.startswith("blue, 2026-03-04 00:00 UTC to")
        assert "no incident" in run("report", "--weekly").stdout

    def test_a_journal_alone_is_enough(
        self, lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for path in lived.glob("journal.db*"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
        monkeypatch.setenv("SENTINEL_CLUSTER__STATE_DIR", str(tmp_path))
        assert "| Incidents | 3 |" in run("report", *DAY).stdout
        assert not (tmp_path / "logbook").exists()

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--since", "2026-03-05", "--until", "2026-03-04"], "before it begins"),
            (["--since", "soon"], "--since 'soon': expected 12h, 7d"),
            (["--until", "2026-02-31"], "--until '2026-02-31': expected"),
            (["--zone", "Mars"], "--zone: no time zone 'Mars'"),
            (["--weekly", "--since", "7d"], "--weekly is a time of its own"),
            (["--json", "--short"], "choose one"),
            (["--journal", "no.db"], "no.db: no such journal"),
            (["node", "n99"], "no node 'n99': known are n1, n2"),
            (["node", "n1", "--tar", "no/such.tar"], "no/such.tar: No such file"),
        ],
    )
    def test_wrong_use_is_one_line(self, words: Sequence[str], said: str) -> None:
        assert said in _line("report", *words)

    def test_no_state_is_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SENTINEL_CLUSTER__STATE_DIR", str(tmp_path / "none"))
        assert "holds neither a logbook nor a journal" in _line("report")
        assert "there is no logbook" in _line("logbook", "search", "x")
        assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("sentinel")
class TestNode:
    def test_a_ticket_says_what_the_node_did(self) -> None:
        text = run("report", "node", "n1").stdout
        for part in (
            "# n1: 2 incidents",
            "GPU 0 (uuid GPU-n1-0, pci ",
            "gpu/gpu-lost critical",
            "| Address |",
        ):
            assert part in text
        assert "n2" not in text

    def test_an_archive_holds_it_for_people_programs_and_raw(self, tmp_path: Path) -> None:
        assert run("report", "node", "n1", "--tar", "n1.tar.gz").exit_code == 0
        with tarfile.open(tmp_path / "n1.tar.gz") as tar:
            names = [name.partition("/")[2] for name in tar.getnames()]
            (raw,) = (each for each in tar if each.name.endswith("I-0002.jsonl"))
            file = tar.extractfile(raw)
            assert file is not None
            lines = [json.loads(line) for line in file.read().splitlines()]
        assert names == ["ticket.md", "ticket.json", "raw/I-0001.jsonl", "raw/I-0002.jsonl"]
        assert any(line["raw"].get("uuid") == "GPU-n1-0" for line in lines)

    def test_json_is_the_same(self) -> None:
        found = json.loads(run("report", "node", "n1", "--json").stdout)
        assert [each["incident"] for each in found["incidents"]] == ["I-0001", "I-0002"]


@pytest.mark.usefixtures("sentinel")
class TestLogbook:
    def test_it_is_searched_by_words_and_filters(self) -> None:
        assert "I-0002" in run("logbook", "search", "GPU-n1-0").stdout
        found = run("logbook", "search", "--cause", "rank-crash", "--since", "2026-03-04 00:00", "--json")
        assert [json.loads(line)["incident"] for line in found.stdout.splitlines()] == ["I-0003", "I-0001"]
        nothing = run("logbook", "search", "signal", "--node", "n3")
        assert (nothing.exit_code, nothing.stdout) == (1, "nothing was found\n")

    def test_it_is_exported(self, tmp_path: Path) -> None:
        assert run("logbook", "export", "--form", "csv", "--to", "all.csv").exit_code == 0
        with (tmp_path / "all.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["incident"] for row in rows] == ["I-0003", "I-0002", "I-0001"]
        printed = run("logbook", "export", "--node", "n1").stdout
        assert [json.loads(line)["cause"] for line in printed.splitlines()] == ["gpu-lost", "rank-crash"]

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["search", "--since", "soon"], "since:soon: expected"),
            (["search", "node:"], "expected something after it"),
            (["export", "--form", "xml"], "--form 'xml': expected jsonl or csv"),
            (["export", "--to", "no/such.csv"], "no/such.csv: No such file"),
        ],
    )
    def test_wrong_use_is_one_line(self, words: Sequence[str], said: str) -> None:
        assert said in _line("logbook", *words)
