"""`sentinel rehearse` as people and scripts use it."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sentinel import runbooks
from sentinel.cli import app

BOOKS = Path(runbooks.__file__).parent
GOOD = (
    "id: good\nsteps: [{crash: [0, signal 9]}, {run: 10}]\nexpect: {causes: [rank-crash], evicted: false}\n"
)
WRONG = "id: bad\nright: nobody is blamed\nsteps: [{crash: [0, signal 9]}, {run: 10}]\nexpect: {causes: []}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "wrong.yaml").write_text(WRONG)
    return tmp_path


def _run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["rehearse", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def test_it_says_what_would_happen(folder: Path) -> None:
    said = _run(folder / "good.yaml")
    assert "ok    good" in said
    assert "rank-crash (resolved), blames n1 gpu-0 (rank 0)" in said
    assert "does: resume 2, page rank-crash" in said
    assert "1 of 1 scenarios came out as expected" in said


def test_what_is_not_as_expected_is_said_and_exits_with_1(folder: Path) -> None:
    said = _run(folder, code=1)
    assert "wrong: causes: expected none, got rank-crash" in said
    assert "right would be: nobody is blamed" in said
    assert "1 of 2 scenarios came out as expected; not: bad" in said


def test_json_is_an_object_a_line(folder: Path) -> None:
    good, wrong = map(json.loads, _run(folder, "--json", code=1).splitlines())
    assert (good["id"], good["ok"], wrong["id"], wrong["ok"]) == ("good", True, "bad", False)
    (incident,) = good["incidents"]
    assert incident["suspects"] == [{"node": "n1", "rank": 0, "gpu": 0}]
    assert (incident["cause"], incident["stage"]) == ("rank-crash", "resolved")
    assert {"opened_s"} <= incident.keys()
    (page,) = good["pages"]
    assert (page["title"], page["severity"]) == ("A rank's process ended: n1 gpu-0 (rank 0)", "info")
    assert page["at_s"] < 1
    assert (good["evicted"], good["refused"], good["stopped"], good["resumes"]) == ([], [], [], 1)
    assert good["expect"] == {"causes": ["rank-crash"], "evicted": False}
    assert good["fold_s"] < 5


def test_why_is_explained(folder: Path) -> None:
    said = _run(folder / "good.yaml", "--explain")
    assert "RankExited rank 0 on n1" in said
    assert "rank-crash (0.60) accuses n1 gpu-0 (rank 0)" in said
    assert "waits for the probe of a node where a rank ended (I-0001) until 0.300 s" in said
    explained = json.loads(_run(folder / "good.yaml", "--explain", "--json"))["explained"]
    assert any("decided: resume generation 2" in line for line in explained)


def test_another_policy_decides(folder: Path) -> None:
    policy = folder / "candidate.toml"
    policy.write_text("[policy]\nobserve_only = true\n")
    (verdict,) = map(json.loads, _run(folder / "good.yaml", "--policy", policy, "--json").splitlines())
    assert (verdict["resumes"], verdict["trains"]) == (0, False)
    assert verdict["refused"] == [{"what": "replace for rank-crash", "why": "observe-only mode"}]


def test_other_runbooks_decide(folder: Path) -> None:
    books = folder / "books"
    shutil.copytree(BOOKS, books, ignore=shutil.ignore_patterns("__pycache__"))
    crash = books / "rank-crash.md"
    crash.write_text(crash.read_text().replace("remedy: replace", "remedy: stop"))
    (verdict,) = map(json.loads, _run(folder / "good.yaml", "--runbooks", books, "--json").splitlines())
    assert verdict["stopped"] == ["moe"]


def test_a_scenario_names_numbers_of_its_own_and_the_command_overrules_them(folder: Path) -> None:
    observed = folder / "observed.yaml"
    observed.write_text("policy: {observe_only: true}\n" + GOOD.replace("id: good\n", ""))
    assert json.loads(_run(observed, "--json"))["resumes"] == 0
    policy = folder / "candidate.toml"
    policy.write_text("[policy]\nobserve_only = false\n")
    assert json.loads(_run(observed, "--json", "--policy", policy))["resumes"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("steps: [{run: x}]", "step 1, run: Expected `float`, got `str`", id="a wrong step"),
        pytest.param("", "holds no scenario", id="an empty file"),
    ],
)
def test_a_wrong_file_is_one_line_and_exits_with_2(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    output = _run(file, code=2)
    assert output.startswith(f"sentinel: {file}: ")
    assert said in output
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["none.yaml"], "none.yaml: No such file or directory", id="no file"),
        pytest.param(["good.yaml", "--policy", "none.toml"], "none.toml", id="no policy"),
        pytest.param(["good.yaml", "--runbooks", "empty"], "empty: ", id="no runbooks"),
        pytest.param(["empty"], "no .yaml file", id="an empty folder"),
    ],
)
def test_what_is_not_there_is_named(folder: Path, arguments: list[str], said: str) -> None:
    (folder / "empty").mkdir()
    named = [each if each.startswith("--") else folder / each for each in arguments]
    output = _run(*named, code=2)
    assert said in output
    assert len(output.splitlines()) == 1
