"""A page on its way out, with what those who route it ask for: its job, its nodes, and who has it."""

from msgspec.structs import replace

from sentinel.core.state import State
from sentinel.model.action import Page

MOST_NODES = 20
"""That one page names."""


def addressed(page: Page, state: State) -> Page:
    """Say of a page whom it concerns; one of no incident here stays as it is."""
    incident = state.incidents.get(page.incident)
    if incident is None:
        return page
    job = state.job_of(incident)
    nodes = tuple(sorted({node for found in incident.where for node in found.nodes}))[:MOST_NODES]
    return replace(page, job=job.id if job else "", nodes=nodes, acked_by=incident.acked_by)
