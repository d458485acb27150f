"""A runbook's front matter is a closed schema, and what is wrong is said in one line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sentinel.cli import app
from sentinel.model.ids import Cause
from sentinel.runbooks import RunbookError, hash_of, load, prose

GOOD = """---
cause: rank-crash
title: A rank died
matches:
  - predicate: rank_exited
blames: rank
remedy: replace
page: at-once
confidence: 0.5
---

## Meaning
"""


def write(directory: Path, text: str, name: str = "rank-crash.md") -> Path:
    (directory / name).write_text(text)
    return directory


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param(
            "title:", "titel:", "unknown key 'titel'; allowed are asks, behind, blames", id="unknown key"
        ),
        pytest.param(
            "remedy: replace", "remedy: reboot", "remedy: 'reboot' is no Remedy: replace, move", id="remedy"
        ),
        pytest.param("blames: rank", "blames: me", "blames: 'me' is no Blame: rank, gpu", id="blame"),
        pytest.param("0.5", "high", "Expected `float`, got `str` - at `$.confidence`", id="wrong type"),
        pytest.param("0.5", "1.5", "confidence: 1.5 is not between 0 and 1", id="confidence out of range"),
        pytest.param(
            "predicate: rank_exited", "predicate: nope", "unknown predicate 'nope'; there are", id="predicate"
        ),
        pytest.param(
            "predicate: rank_exited",
            "xid: 79",
            "Expected `array`, got `int` - at `$.matches[0].xid`",
            id="xid no list",
        ),
        pytest.param(
            "predicate: rank_exited", "log: '('", "log: '(' is no regular expression", id="bad pattern"
        ),
        pytest.param(
            "predicate: rank_exited", "log: '.*'", "log: '.*' matches everything, such as", id="all"
        ),
        pytest.param("predicate: rank_exited", "log: '[a-z]'", "'[a-z]' matches everything", id="letters"),
        pytest.param(
            "predicate: rank_exited", "xids: [1]", "unknown key 'xids'; allowed are again", id="match key"
        ),
        pytest.param("rank_exited", "rank_exited\n    xid: [1]", "exactly one of", id="two in one match"),
        pytest.param("page: at-once\n", "", "missing key 'page'", id="missing key"),
        pytest.param(
            "page: at-once",
            "page: at-once\nseverity: high",
            "severity: 'high' is no Severity: critical, warning, info",
            id="severity",
        ),
        pytest.param(
            "page: at-once",
            "page: at-once\nseverity: [critical]",
            "severity: ['critical'] is no Severity: critical, warning, info",
            id="severity as a list",
        ),
        pytest.param("cause: rank-crash", "cause: other", "must be the file's name, 'rank-crash'", id="name"),
        pytest.param(
            "confidence: 0.5", "confidence: 0.5\nexplains: [nothing]", "no runbook 'nothing'", id="explains"
        ),
        pytest.param("confidence: 0.5", "confidence: 0.5\nasks: pair", "asks and behind: the one", id="asks"),
        pytest.param(
            "confidence: 0.5",
            "confidence: 0.5\nasks: pair\nbehind: [nothing]",
            "no runbook 'nothing'",
            id="behind",
        ),
        pytest.param("title: A", "title: [A", "front matter is not YAML", id="not yaml"),
        pytest.param("---\ncause", "cause", "does not begin with front matter", id="no front matter"),
        pytest.param(
            "matches:\n  - predicate: rank_exited", "matches: []", "only 'unknown' may be empty", id="empty"
        ),
    ],
)
def test_a_wrong_front_matter_is_refused_in_one_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    with pytest.raises(RunbookError) as error:
        load(write(tmp_path, GOOD.replace(old, new)))
    message = str(error.value)
    assert says in message
    assert str(tmp_path / "rank-crash.md") in message
    assert "\n" not in message


def test_unknown_needs_no_match(tmp_path: Path) -> None:
    text = GOOD.replace("rank-crash", "unknown").replace("\n  - predicate: rank_exited", " []")
    assert list(load(write(tmp_path, text, "unknown.md"))) == ["unknown"]


def test_predicates_may_be_given(tmp_path: Path) -> None:
    text = GOOD.replace("rank_exited", "mine")
    assert load(write(tmp_path, text), predicates={"mine"})


def test_the_hash_follows_the_decision_and_not_the_prose(tmp_path: Path) -> None:
    first = hash_of(load(write(tmp_path, GOOD)))
    assert hash_of(load(write(tmp_path, GOOD + "more words\n"))) == first
    assert hash_of(load(write(tmp_path, GOOD.replace("0.5", "0.6")))) != first


def own(folder: Path, text: str, name: str) -> Path:
    folder.mkdir(mode=0o700)
    write(folder, text, name).chmod(0o700)
    return folder


MINE = GOOD.replace("rank-crash", "mine")


def test_a_clusters_own_runbooks_come_beside_the_bundled_ones(tmp_path: Path) -> None:
    (drafts := own(tmp_path / "own", MINE, "mine.md") / "drafts").mkdir()
    (drafts / "wrong.md").write_text("no runbook, and nobody asks")
    assert load(own=tmp_path / "own").keys() == {*load(), "mine"}
    assert load(own=tmp_path / "none").keys() == load().keys()
    assert "## Meaning" in prose(Cause("mine"), own=tmp_path / "own")


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        pytest.param(GOOD, "rank-crash.md", "cause: 'rank-crash' has a runbook already: ", id="cause"),
        pytest.param(
            MINE.replace("predicate: rank_exited", "xid: [79]"),
            "mine.md",
            "matches: xid 79 is gpu-lost's already: ",
            id="xid",
        ),
        pytest.param(
            MINE.replace("0.5\n", "0.5\nexplains: [x]\n"),
            "mine.md",
            "explains: no runbook 'x'",
            id="explains",
        ),
    ],
)
def test_one_that_is_there_already_or_names_what_is_not_is_refused(
    tmp_path: Path, text: str, name: str, says: str
) -> None:
    with pytest.raises(RunbookError) as error:
        load(own=own(tmp_path / "own", text, name))
    assert str(error.value).startswith(f"{tmp_path}/own/{name}: {says}")
    assert "\n" not in str(error.value)
    ended = CliRunner().invoke(app, ["runbook", "check", f"{tmp_path}/own/{name}"])
    assert (ended.exit_code, ended.stderr) == (2, f"sentinel: {error.value}\n")


def test_an_own_runbook_that_others_can_write_is_not_believed(tmp_path: Path) -> None:
    folder = own(tmp_path / "own", MINE, "mine.md")
    (folder / "mine.md").chmod(0o666)
    with pytest.raises(RunbookError, match=r"mine.md: others can write to it \(mode 0666\)"):
        load(own=folder)


def test_a_good_one_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTINEL_CLUSTER__STATE_DIR", str(tmp_path / "state"))
    file = write(tmp_path, MINE, "mine.md") / "mine.md"
    ended = CliRunner().invoke(app, ["runbook", "check", str(file)])
    said = f"{file}: mine: A rank died (blames rank, remedy replace, confidence 0.5)\n"
    assert (ended.exit_code, ended.stdout) == (0, said)
