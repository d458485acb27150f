"""What routes and receivers ask of a page is said on its way out: job, suspected nodes, who has it."""

from sentinel.model.action import Page, action_id
from sentinel.model.ids import IncidentId
from sentinel.runtime.addressed import addressed
from tests.core.simulated import Simulated, ecc


def test_a_page_says_whom_it_concerns_and_who_has_acknowledged() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    cluster.run(60)
    (incident,) = cluster.incidents()
    page = page_of(incident.id)
    found = addressed(page, cluster.state)
    assert (found.job, found.nodes, found.acked_by) == (cluster.job.id, (bad,), "")
    cluster.command("ack", incident.id)
    assert addressed(page, cluster.state).acked_by == "ann"


def test_a_page_of_no_incident_stays_as_it_is() -> None:
    page = page_of("I-0099")
    assert addressed(page, Simulated().state) == page


def page_of(name: str) -> Page:
    incident = IncidentId(name)
    return Page(action_id(incident, "page", "on-call", 1), incident, 1, "title", "body", "open")
