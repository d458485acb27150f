"""Wheel and sdist hold what the linked folders hold, data files included."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = {
    "sentinel/runbooks/unknown.md",
    "sentinel/runbooks/__init__.py",
    "sentinel/dashboards/__init__.py",
    "sentinel/dashboards/json/run.json",
    "sentinel/dashboards/provisioning/dashboards.yaml",
    "sentinel/checks/xid_catalog.csv",
}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(where), "-t", "wheel", "-t", "sdist"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return where


def _templates() -> set[str]:
    return {str(file.relative_to(ROOT)) for file in ROOT.glob("sentinel/web/templates/*")}


def test_the_wheel_holds_runbooks_checks_dashboards_and_templates(archives: Path) -> None:
    [wheel] = archives.glob("*.whl")
    assert NEEDED | _templates() <= set(zipfile.ZipFile(wheel).namelist())


def test_the_sdist_holds_the_same(archives: Path) -> None:
    [sdist] = archives.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive}
    assert NEEDED | _templates() | {"README.md", "LICENSE", "pyproject.toml"} <= names
