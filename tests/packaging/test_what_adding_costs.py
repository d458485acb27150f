"""What it costs to add something, counted at what was added: CONTRIBUTING says how."""

import asyncio
import pkgutil
import re
from pathlib import Path

import pytest
import yaml

from sentinel import config, runbooks
from sentinel.adapters import receivers
from sentinel.adapters.console_pages import ConsolePages
from sentinel.adapters.dispatcher import Dispatcher
from sentinel.adapters.page_channel import Sender
from sentinel.model.action import Page
from sentinel.model.ids import ActionId, IncidentId
from sentinel.model.policy import Policy
from sentinel.rehearse.reading import of_plain
from sentinel.rehearse.run import rehearse

KINDS = [module.name for module in pkgutil.iter_modules(receivers.__path__)]
SENTINEL = Path(runbooks.__file__).parents[1]
NEW_RECEIVER = """\
from pathlib import Path

from sentinel import config
from sentinel.adapters.receivers import Kind


class Settings(config.Table):
    path: Path


class Pager:
    looks_up = False

    def __init__(self, name, path):
        self.name, self.path = f"pager:{name}", path

    async def open(self, page):
        self.path.write_text(page.title)
        return page.incident

    async def edit(self, page, ref): ...

    async def detail(self, page, ref): ...

    async def find(self, page, since): ...

    async def find_detail(self, page, ref): ...


RECEIVER = Kind(Settings, lambda name, settings, sender: [Pager(name, settings.path)])
"""
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


NEW_CHECK = """\
from sentinel.model.collective import CollectiveCheck, MemberFinding
from sentinel.model.finding import Finding, Health

def judge(samples):
    for each in samples:
        if each.values and each.values["mb_per_s"] < 500:
            yield MemberFinding(each.node, Finding("rate", "rate-low", "link", Health.WARNING, "it is low"))

CHECK = CollectiveCheck("rate", 5.0, lambda meeting: {}, judge, causes=("rate-low",))
"""
ITS_CAUSE = """\
---
cause: rate-low
title: Nodes get less than they should
matches:
  - finding: rate-low
blames: link
remedy: none
page: at-once
confidence: 0.9
explains: [job-slow]
asks: rate
behind: [job-slow]
---

## Meaning

Nothing but this file and its check say that there is such a cause.
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


def test_a_receiver_is_one_file_and_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here of another package, as `sentinel/adapters/receivers/pager.py` would be."""
    (tmp_path / "pager.py").write_text(NEW_RECEIVER)
    (about := tmp_path / "pager-1.0.dist-info").mkdir()
    (about / "METADATA").write_text("Name: pager\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[sentinel.receivers]\npager = pager:RECEIVER\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "sentinel.toml").write_text(f'[receivers.pager]\npath = "{tmp_path}/beeps"\n')
    found = receivers.load(config.load(tmp_path / "sentinel.toml", {}), Sender())
    dispatcher = Dispatcher(tmp_path, [ConsolePages(tmp_path / "pages.log")], found, lambda *_: None)
    name = IncidentId("I-0001")
    dispatcher.keep(Page(ActionId("I-0001/page/on-call/1"), name, 1, "gpu-lost on n1", "", "open"))

    async def beeps() -> None:
        running = asyncio.create_task(dispatcher.run())
        async with asyncio.timeout(20):
            while dict(dispatcher.standing())["pager"].undelivered:
                assert not running.done(), running
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(beeps())
    assert (tmp_path / "beeps").read_text() == "gpu-lost on n1"


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "slack"])
def test_no_other_file_names_a_kind_of_receiver(kind: str) -> None:
    # as an example, and in what an address looks like
    elsewhere = "config/tables.py config/reading.py secret_patterns.py demo/steady.py demo/monitoring.py"
    assert files_that_name(kind, but=elsewhere) == {f"adapters/receivers/{kind}.py"}


def test_a_scheduler_is_one_folder() -> None:
    """The one of the tests is named nowhere, and Ray's by nobody but the demo, which starts Ray."""
    assert files_that_name("file_backend") == set()
    naming = files_that_name(r"sentinel\.backends\.ray")
    assert {Path(name).parts[0] for name in naming if not name.startswith("backends/ray/")} == {"demo"}


def test_a_collective_check_and_its_cause_are_two_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site" / "elsewhere-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sentinel.checks]\nrate = rate_of_nodes:CHECK\n")
    (tmp_path / "site" / "rate_of_nodes.py").write_text(NEW_CHECK)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    books = tmp_path / "runbooks"
    books.mkdir()
    for path in (SENTINEL / "runbooks").glob("*.md"):
        (books / path.name).write_text(path.read_text())
    (books / "rate-low.md").write_text(ITS_CAUSE)
    steps = yaml.safe_load("[{run: 60}, {drags: 3}, {slow_link: [n2, 3, n3]}, {run: 60}]")
    verdict, _ = rehearse(of_plain({"steps": steps}, "rate"), Policy(), runbooks.load(books))
    (incident,) = verdict.incidents
    assert (incident.cause, sorted(str(each.node) for each in incident.suspects)) == (
        "rate-low",
        ["n2", "n3"],
    )
    assert verdict.evicted == []
