"""`sentinel learn`: from a day with incidents that nobody knew to runbooks that name the next ones."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from day import lived, told
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from sentinel import runbooks
from sentinel.cli import app
from sentinel.logbook.book import Logbook
from sentinel.model.action import Evict
from sentinel.model.fact import Commanded
from sentinel.model.ids import Cause, IncidentId
from sentinel.model.incident import Blame, Incident
from sentinel.web.app import create_app

GSP = "[{at}.0] NVRM: GPU{gpu} _kgspIsHeartbeatTimedOut: Heartbeat timed out, diff {diff} now {now}"
XID = "[300.0] NVRM: Xid (PCI:0000:01:00): 31, pid={pid2}, name=python3, Ch 00000008, intr 10000000. MMU"
NOISE = "[99.0] watchdog: BUG: soft lockup - CPU#3 stuck for 23s! [kworker/3:1:88]"
"""Nobody has asked for that either, and it is in one incident alone."""
STALL = "RuntimeError: ringlet {} of peer {} stopped after {} us"
Steps = list[dict[str, Any]]


def gsp(node: str, rank: int, at: int) -> Steps:
    """A line of the driver that no runbook knows, and a rank that ends."""
    line = GSP.format(at=at, gpu=at % 8, diff=at * 3, now=at * 7)
    return [{"kernel": [node, line]}, {"crash": [rank, "signal 6"]}, {"run": 120}]


def ringlet(node: str, number: int, peer: str) -> Steps:
    """An exception that no runbook knows."""
    return [{"raise_on_n": [node, STALL.format(number, peer, number * 1000), "user"]}, {"run": 120}]


KNOWN: Steps = [
    {"crash": [0, "signal 9"]}, {"run": 120},
    {"kernel": ["rank2", XID]}, {"crash": [2, "signal 6"]}, {"run": 120},
    {"gpu": ["n6", 0, {"present": False}]}, {"run": 60},
    {"gpu": ["n6", 0, {"present": True}]}, {"command": ["undrain", "n6"]}, {"run": 60},
    {"crash": [1, "signal 11"]}, {"run": 120},
]  # fmt: skip
CAUSES = ["rank-crash", "gpu-app-xid", "gpu-lost", "rank-crash"]


def cause(incident: Incident) -> str:
    return incident.about.cause if incident.about else ""


def by_time(incidents: dict[IncidentId, Incident]) -> list[Incident]:
    return sorted(incidents.values(), key=lambda each: each.opened)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("day")
    unknown = [*ringlet("n3", 17, "n1"), *ringlet("n2", 3, "n3")]
    first = [{"kernel": ["n2", NOISE]}, *gsp("n2", 1, 100)]
    lived_through = lived(folder, *first, *KNOWN, *gsp("n1", 0, 5000), *unknown)
    causes = [cause(each) for each in by_time(lived_through)]
    assert causes == ["rank-crash", *CAUSES, "rank-crash", "rank-exception", "rank-exception"]
    return folder


@pytest.fixture
def state(day: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory after that day, for each test anew."""
    shutil.copytree(day, tmp_path / "state")
    monkeypatch.setenv("SENTINEL_CLUSTER__STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "state"


def sentinel(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def renamed(result: Result) -> dict[str, str]:
    return {each["incident"]: each["judged"] for each in json.loads(result.stdout)["renamed"]}


def test_the_draft_names_the_next_one_and_renames_none_of_the_others(state: Path) -> None:
    own = state / "runbooks"
    learned = sentinel("learn", "I-0001", "--cause", "gsp-hang", "--json")
    assert learned.exit_code == 0, learned.output
    assert renamed(learned) == {"I-0001": "rightly", "I-0006": "rightly"}
    said = json.loads(learned.stdout)
    assert said["matches"] == "kernel-nvrm-gsp", "what another has, too, and not what is this one's alone"
    assert "lockup" in Path(said["file"]).read_text(), "which people are told of"
    assert runbooks.load(own=own).keys() == runbooks.load().keys(), "a draft decides nothing"

    assert sentinel("runbook", "enable", "gsp-hang").exit_code == 0
    books = runbooks.load(own=own)
    book = books[Cause("gsp-hang")]
    assert (book.title, book.blames) == ("A GPU's own processor does not answer, or has crashed", Blame.NODE)

    next_day = by_time(lived(state / "next", *KNOWN, *gsp("n3", 2, 777), books=books))
    assert [cause(each) for each in next_day] == [*CAUSES, "gsp-hang"]
    last = next_day[-1]
    assert last.about is not None
    assert last.about.nodes == ["n3"]
    assert "new_step" in last.times, "the job trains again"
    assert not any(isinstance(action, Evict) for action in last.actions), "a draft evicts nobody"


def test_a_line_of_an_exception_is_matched_whatever_its_numbers_and_nodes(state: Path) -> None:
    learned = sentinel("learn", "I-0007")
    assert learned.exit_code == 0, learned.output
    assert "what sets I-0007, and I-0008 apart: RuntimeError:" in learned.stdout
    assert "renames 2 of 8 incidents, 0 of them wrongly" in learned.stdout
    (draft,) = (state / "runbooks" / "drafts").glob("*.md")
    assert sentinel("runbook", "enable", draft.stem).exit_code == 0
    books = runbooks.load(own=state / "runbooks")
    (incident,) = lived(state / "next", *ringlet("n1", 40_000, "n2"), books=books).values()
    assert incident.about is not None
    assert (cause(incident), incident.about.nodes) == (draft.stem, ["n1"])


def test_the_draft_says_what_it_is_of_and_is_a_page_once_it_is_enabled(state: Path) -> None:
    assert sentinel("learn", "I-0001", "--cause", "gsp-hang", "--title", "A GSP hangs").exit_code == 0
    text = (state / "runbooks" / "drafts" / "gsp-hang.md").read_text()
    for part in (
        "title: A GSP hangs\n",
        "## Meaning",
        "## Mitigation",
        "Drafted from I-0001",
        "_kgspIsHeart",
    ):
        assert part in text
    book, own = Logbook(state / "logbook"), state / "runbooks"
    served = create_app(book, lambda _: None, "t", runbooks=own)  # type: ignore[arg-type]
    page = TestClient(served)
    assert page.get("/runbook/gsp-hang").status_code == 404
    sentinel("runbook", "enable", "gsp-hang")
    assert "_kgspIsHeartbeatTimedOut" in page.get("/runbook/gsp-hang").text
    assert sentinel("runbook", "disable", "gsp-hang").exit_code == 0
    assert page.get("/runbook/gsp-hang").status_code == 404


GREEDY = """---
cause: all-my-crashes
title: Everything is this
matches:
  - finding: xid-31
  - log: '_kgspIsHeartbeatTimedOut'
blames: node
remedy: none
page: at-once
confidence: 0.99
explains: [gpu-app-xid, rank-crash]
---
"""


def test_one_that_would_take_others_causes_is_told_so(state: Path, tmp_path: Path) -> None:
    (file := tmp_path / "all-my-crashes.md").write_text(GREEDY)
    scored = sentinel("runbook", "score", str(file), "--json")
    assert scored.exit_code == 1
    assert renamed(scored) == {"I-0001": "rightly", "I-0003": "wrongly", "I-0006": "rightly"}
    assert "gpu-app-xid explains it" in sentinel("runbook", "score", str(file)).stdout


def test_what_people_have_said_of_a_cause_counts_more(state: Path, tmp_path: Path) -> None:
    (file := tmp_path / "all-my-crashes.md").write_text(GREEDY)
    told(state, Commanded(time.time(), "not-cause", "I-0003", "ann", "it was the switch"))
    told(state, Commanded(time.time(), "right", "I-0001", "ann"))
    scored = sentinel("runbook", "score", str(file), "--json")
    assert renamed(scored) == {"I-0001": "wrongly", "I-0003": "rightly", "I-0006": "rightly"}


def test_a_cause_that_people_say_was_wrong_is_learned_anew(state: Path) -> None:
    refused = sentinel("learn", "I-0003")
    assert "I-0003: nothing in its evidence would name it" in refused.stderr
    told(state, Commanded(time.time(), "not-cause", "I-0003", "ann", "it was the switch"))
    learned = sentinel("learn", "I-0003", "--cause", "switch-says-mmu", "--json")
    assert learned.exit_code == 0, learned.output
    assert renamed(learned) == {"I-0003": "rightly"}
    sentinel("runbook", "enable", "switch-says-mmu")
    assert "gpu-app-xid" in runbooks.load(own=state / "runbooks")[Cause("switch-says-mmu")].explains


def test_an_incident_that_is_open_has_no_recording_and_is_there_all_the_same(state: Path) -> None:
    (state / "recordings" / "I-0008.jsonl").unlink()
    (state / "recordings" / "I-0002.jsonl").write_text("{}")
    learned = sentinel("learn", "I-0008", "--json")
    assert learned.exit_code == 0, learned.output
    assert renamed(learned) == {"I-0007": "rightly", "I-0008": "rightly"}
    assert json.loads(learned.stdout)["incidents"] == 7, "a damaged recording is left out"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["learn", "I-0099"], 1, "I-0099: neither a recording nor the journal tells of it; there are 8"),
        (["learn", "I-0002"], 1, "I-0002: its evidence holds no finding and no line that a runbook could"),
        (["learn", "I-0004"], 1, "I-0004: nothing in its evidence would name it"),
        (["learn", "I-0001", "--cause", "../x"], 2, "cause '../x': expected small letters, digits and"),
        (["learn", "I-0001", "--cause", "gpu-lost"], 2, "cause: 'gpu-lost' has a runbook already: "),
        (["runbook", "enable", "nothing"], 2, "drafts/nothing.md: no such file; in this folder are: none"),
        (["runbook", "disable", "gpu-lost"], 2, "runbooks/gpu-lost.md: no such file"),
        (["runbook", "check", "none.md"], 2, "none.md: cannot be read: "),
    ],
)
def test_what_can_not_be_done_is_one_line(state: Path, words: list[str], code: int, says: str) -> None:
    ended = sentinel(*words)
    assert (ended.exit_code, ended.stdout, ended.stderr.count("\n")) == (code, "", 1)
    assert says in ended.stderr
    assert not list(state.glob("runbooks/**/*.md"))


def test_a_second_draft_of_a_name_does_not_replace_the_first(state: Path) -> None:
    assert sentinel("learn", "I-0001", "--cause", "gsp-hang").exit_code == 0
    (draft := state / "runbooks" / "drafts" / "gsp-hang.md").write_text("mine")
    again = sentinel("learn", "I-0001", "--cause", "gsp-hang")
    assert (again.exit_code, draft.read_text()) == (2, "mine")
    assert "gsp-hang.md: there already" in again.stderr


def test_where_nothing_was_recorded_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTINEL_CLUSTER__STATE_DIR", str(tmp_path))
    ended = sentinel("learn", "I-0001")
    assert (ended.exit_code, ended.stderr) == (1, f"sentinel: {tmp_path}: no incident is on record here\n")


def test_one_that_is_enabled_is_listed_and_can_be_scored_again(state: Path) -> None:
    assert sentinel("learn", "I-0001", "--cause", "gsp-hang").exit_code == 0
    file = state / "runbooks" / "gsp-hang.md"
    for command, there in (("enable", "enabled"), ("disable", "draft"), ("enable", "enabled")):
        assert sentinel("runbook", command, "gsp-hang").exit_code == 0
        known = {
            each["cause"]: each["state"] for each in json.loads(sentinel("runbook", "list", "--json").stdout)
        }
        assert (known["gsp-hang"], known["gpu-lost"]) == (there, "bundled")
    scored = sentinel("runbook", "score", str(file), "--json")
    assert (scored.exit_code, renamed(scored)) == (0, {"I-0001": "rightly", "I-0006": "rightly"})


def test_without_the_extra_one_line_says_what_to_install(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("drain3", "drain3.drain"):
        monkeypatch.setitem(sys.modules, module, None)
    ended = sentinel("learn", "I-0001")
    assert (ended.exit_code, ended.stderr.count("\n")) == (1, 1)
    assert "pip install 'sentinel-cluster[learn]'" in ended.stderr
