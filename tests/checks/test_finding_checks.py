import sys
from pathlib import Path

import pytest

from sentinel import checks
from sentinel.checks import CheckError, load, load_collective

RUNBOOKS = Path(checks.__file__).parents[1] / "runbooks"


def install(site: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A package from elsewhere that offers one check."""
    (site / "elsewhere.py").write_text(body)
    info = site / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sentinel.checks]\nextra = elsewhere:CHECK\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "elsewhere", raising=False)


def test_every_file_is_one_check_by_its_name() -> None:
    files = {path.stem for path in Path(checks.__file__).parent.glob("[!_]*.py")}
    assert {*load(), *load_collective()} == files
    assert not {*load()} & {*load_collective()}


def test_every_cause_has_a_runbook() -> None:
    every = [*load().values(), *load_collective().values()]
    causes = {cause for check in every for cause in check.causes}
    assert causes <= {path.stem for path in RUNBOOKS.glob("*.md")}


def test_installed_packages_add_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "from sentinel.model.check import Check\nCHECK = Check('fan', 1.0, 1.0, id, iter, ())\n"
    install(tmp_path, monkeypatch, body)
    assert "fan" in load()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("CHECK = 3\n", "extra = elsewhere:CHECK: is int, not a Check"),
        ("import nothing_of_that_name\n", "extra = elsewhere:CHECK: ModuleNotFoundError"),
        ("from sentinel.checks.gpu import CHECK\n", "a check named 'gpu' exists already"),
    ],
)
def test_a_malformed_check_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    install(tmp_path, monkeypatch, body)
    with pytest.raises(CheckError) as error:
        load()
    assert said in str(error.value)
    assert "\n" not in str(error.value)
