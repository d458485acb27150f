"""What it costs to add something, counted at what was added: CONTRIBUTING says how."""

import re
from pathlib import Path

import pytest
import yaml

from sentinel import runbooks
from sentinel.model.policy import Policy
from sentinel.rehearse.reading import of_plain
from sentinel.rehearse.run import rehearse

SENTINEL = Path(runbooks.__file__).parents[1]
NEW_CAUSE = """\
---
cause: fabric-manager
title: The fabric manager is gone
matches:
  - finding: fabric-manager-dead
blames: node
remedy: drain
page: at-once
confidence: 0.9
---

## Meaning

Nothing but this file says that there is such a cause.
"""


def files_that_name(word: str, *, but: str = "") -> set[str]:
    """Files of Sentinel with this word, without those of who tells or makes it."""
    named = (path for path in SENTINEL.rglob("*.py") if re.search(rf"\b{word}\b", path.read_text()))
    return {str(path.relative_to(SENTINEL)) for path in named} - set(but.split())


@pytest.mark.parametrize(
    ("fact", "teller"),
    [
        ("DefectMet", "runtime/ledger.py"),
        ("WorkerRuns", "core/detect/standbys.py"),
        ("NodeLeft", "runtime/controller.py"),
    ],
)
def test_a_fact_is_four_files(fact: str, teller: str) -> None:
    assert len(files_that_name(fact, but=teller)) <= 4


def test_an_action_is_four_files() -> None:
    assert files_that_name("Readmit") == {
        "model/action.py",
        "core/settle/nodes.py",
        "core/record.py",
        "runtime/perform.py",
    }


def test_a_remedy_is_two_files() -> None:
    assert files_that_name("SKIP_BATCH") == {"model/runbook.py", "core/settle/remedies.py"}


def test_a_cause_of_a_finding_is_one_file(tmp_path: Path) -> None:
    for path in (SENTINEL / "runbooks").glob("*.md"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "fabric-manager.md").write_text(NEW_CAUSE)
    found = {
        "check": "fabric",
        "code": "fabric-manager-dead",
        "component": "fabric",
        "health": "critical",
        "summary": "nv-fabricmanager has ended",
    }
    steps = yaml.safe_load(f"[{{finding: [n1, {found}]}}, {{run: 60}}]")
    verdict, _ = rehearse(of_plain({"steps": steps}, "fabric"), Policy(), runbooks.load(tmp_path))
    assert [(each.cause, each.suspects[0].node) for each in verdict.incidents] == [("fabric-manager", "n1")]
    assert (verdict.evicted, len(verdict.pages)) == (["n1"], 1)


def test_a_scheduler_is_one_folder() -> None:
    """The one of the tests is named nowhere, and Ray's by nobody but the demo, which starts Ray."""
    assert files_that_name("file_backend") == set()
    naming = files_that_name(r"sentinel\.backends\.ray")
    assert {Path(name).parts[0] for name in naming if not name.startswith("backends/ray/")} == {"demo"}
