"""What paged is resolved by whoever comes after: a doubt that is settled, a journal that is gone."""

from pathlib import Path

import pytest
from small_cluster import Cluster

from sentinel.adapters.console_pages import ConsolePages
from sentinel.adapters.dispatcher import Dispatcher
from sentinel.model.action import Page, action_id
from sentinel.model.fact import Commanded
from sentinel.model.ids import IncidentId
from sentinel.model.policy import Policy
from sentinel.runtime.over import over


@pytest.fixture
def dispatcher(tmp_path: Path) -> Dispatcher:
    return Dispatcher(tmp_path, [ConsolePages(tmp_path / "pages.log")], [], lambda *_: None)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """A new journal where people were told of 7 incidents: it doubts."""
    doubting = Cluster(tmp_path, Policy())
    doubting.ledger.job = "moe"
    doubting.pages = doubting.ledger.load(reported=7)
    return doubting


def page_of(incident: str, stage: str = "open") -> Page:
    name = IncidentId(incident)
    body = "words\nJob: moe is running, with 3 of 3 ranks\nAsked of you: to repair it"
    return Page(action_id(name, "page", "on-call", 4), name, 4, "title", body, stage)


def test_a_doubt_says_which_job_goes_on_and_what_is_asked(cluster: Cluster) -> None:
    [page] = cluster.pages
    *_, job, asked = page.body.splitlines()
    assert job == "Job: moe goes on, and nobody repairs it"
    assert asked == "Asked of you: to look at the nodes and the job, then: sentinel resume-actions"


def test_a_doubt_and_what_a_lost_journal_told_end_when_actions_are_resumed(
    cluster: Cluster, dispatcher: Dispatcher
) -> None:
    for page in (*cluster.pages, page_of("I-0007"), page_of("I-0006", "resolved")):
        dispatcher.keep(page)
    assert over(dispatcher.open(), cluster.ledger.state) == ()
    cluster.tell(lambda at: Commanded(at, "resume-actions", "", "ada", ""))
    ended = over(dispatcher.open(), cluster.ledger.state)
    doubt, lost = ended
    assert (doubt.incident, doubt.stage, doubt.revision) == (cluster.pages[0].incident, "resolved", 2)
    assert "Job: moe goes on\nAsked of you: nothing" in doubt.body
    assert (lost.incident, lost.stage, lost.revision) == ("I-0007", "resolved", 5)
    for page in ended:
        dispatcher.keep(page)
    assert dispatcher.open() == []


def test_an_incident_of_this_journal_ends_by_itself(cluster: Cluster, dispatcher: Dispatcher) -> None:
    cluster.tell(lambda at: Commanded(at, "resume-actions", "", "ada", ""))
    cluster.trains()
    cluster.breaks(cluster.home)
    for page in cluster.performed:
        if isinstance(page, Page):
            dispatcher.keep(page)
    assert dispatcher.open()
    assert over(dispatcher.open(), cluster.ledger.state) == ()
