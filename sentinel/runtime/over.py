"""The last page of what no incident of this journal will ever end."""

from collections.abc import Iterable

from msgspec.structs import replace

from sentinel.core.state import State
from sentinel.model.action import Page, action_id

NOBODY_REPAIRS = ", and nobody repairs it"
"""How the line of a job ends in a page about Sentinel itself."""
THAWED = "Actions are frozen no more, and this journal knows no more of it; what still stands is paged anew."


def over(shown: Iterable[Page], state: State) -> tuple[Page, ...]:
    """End what is still shown of no incident here, such as a doubt, or what a lost journal told.

    While actions are frozen nobody has looked, and all of it stands.
    """
    if state.frozen:
        return ()
    told = {each.incident for each in state.unfinished.values() if isinstance(each, Page)}
    ended = (page for page in shown if page.incident not in {*state.incidents, *told})
    return tuple(resolved(page, THAWED) for page in ended)


def resolved(page: Page, why: str) -> Page:
    """Give the page that follows and says why it is over."""
    revision = page.revision + 1
    jobs = (line for line in page.body.splitlines() if line.startswith("Job: "))
    body = "\n".join([why, *(line.removesuffix(NOBODY_REPAIRS) for line in jobs), "Asked of you: nothing"])
    named = action_id(page.incident, "page", "on-call", revision)
    return replace(page, id=named, revision=revision, body=body, stage="resolved", thread="")
