"""The logbook is written when it can be, and what can't be written stops nobody."""

from pathlib import Path

import pytest

from sentinel import runbooks
from sentinel.adapters.journal import Journal
from sentinel.core.state import Rules
from sentinel.logbook.book import Logbook
from sentinel.logbook.recording import read
from sentinel.model.action import StopJob, action_id
from sentinel.model.fact import FindingReported, JobSubmitted, NodeJoined
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import JobId, NodeId
from sentinel.model.incident import Incident
from sentinel.model.policy import Policy
from sentinel.runtime.ledger import Ledger
from sentinel.runtime.scribe import Scribe


def opened(tmp_path: Path) -> tuple[Ledger, Incident]:
    """A ledger with an incident that is diagnosed and not resolved."""
    journal = Journal(tmp_path / "journal.db")
    rules = Rules(Policy(), runbooks.load())
    ledger = Ledger(journal, rules, "r", lambda _actions: None)
    lost = Finding("gpu", "ecc-uncorrectable", "gpu-0", Health.CRITICAL, "2 errors")
    ledger.absorb(
        [
            *(NodeJoined(1.0, NodeId(node), "127.0.0.1", 1, 1, "boot") for node in ("n1", "n2")),
            JobSubmitted(1.0, JobId("moe"), 1, "m:t", 1, 1),
            FindingReported(2.0, NodeId("n1"), lost),
        ]
    )
    [incident] = [found for found in ledger.state.incidents.values() if found.diagnosis]
    return ledger, incident


def test_a_journal_that_can_t_be_read_keeps_an_entry_from_the_logbook_and_nothing_else(
    tmp_path: Path,
) -> None:
    ledger, incident = opened(tmp_path)
    scribe = Scribe(tmp_path)
    ledger.journal.close()
    scribe.write(ledger, incident)
    assert scribe.logbook.rows() == []


@pytest.mark.parametrize(
    ("stops", "recordings"),
    [pytest.param(False, [], id="more may come"), pytest.param(True, ["I-0001"], id="it stopped its job")],
)
def test_an_open_incident_is_recorded_once_only_people_can_go_on(
    tmp_path: Path, stops: bool, recordings: list[str]
) -> None:
    ledger, incident = opened(tmp_path)
    if stops:
        name = action_id(incident.id, "stop", "moe", 1)
        incident.actions.append(StopJob(name, incident.id, JobId("moe"), "it follows the code"))
    Scribe(tmp_path).write(ledger, incident)
    found = sorted((tmp_path / "recordings").glob("*.jsonl"))
    assert [read(path.read_text()).incident for path in found] == recordings


def test_an_index_that_can_t_be_tidied_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "index.jsonl").write_text("\n".join(["torn"] * 20))
    (tmp_path / ".index.jsonl.new").mkdir()  # a disk that takes nothing, for a test that runs as root
    assert Logbook(tmp_path).rows() == []
