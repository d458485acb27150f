"""What can be pressed below a page at this moment, and what people did that the page does not say."""

from collections.abc import Iterator

from sentinel.adapters.slack_controls import Button, Controls
from sentinel.core.state import State
from sentinel.core.state.rows import Node
from sentinel.logbook.markdown import utc
from sentinel.model.action import Page
from sentinel.model.ids import IncidentId, NodeId
from sentinel.model.incident import UNKNOWN
from sentinel.model.judgement import NOT_CAUSE, NOT_NODE

MOST_UNDRAINS = 3
"""Nodes of one page that have a button."""
MOST_NAMES = 3
"""Nodes that a form names."""


def controls(page: Page, state: State) -> Controls:
    """Look at the state; of an incident that is forgotten there, what is left can still be pressed."""
    return Controls(tuple(_buttons(page, state)), tuple(_said(page, state)))


def _buttons(page: Page, state: State) -> Iterator[Button]:
    if page.news:
        return
    incident = state.incidents.get(IncidentId(page.incident))
    is_over = incident is None or incident.is_over
    if incident is not None and not incident.acked_by and not (is_over and not incident.left):
        yield Button("ack", "Acknowledge", style="primary")
    target = _of(page)
    if target and not is_over and not _is_silenced(target, state):
        yield Button("silence", f"Silence {target} for 1 h", target)
    for node in _out(page, state):
        if node.proof is None or not node.proof.is_under_way:
            asks = f"{node.id} is used again once it has passed its proof."
            yield Button("prove", f"Undrain {node.id}", node.id, confirm=asks)
    if state.stopped or state.frozen:
        yield Button(
            "resume-actions", "Resume actions", confirm="Sentinel acts again, on what is still true."
        )
    elif not is_over:
        asks = "Sentinel watches and pages, and does nothing else until somebody resumes."
        yield Button("stop-actions", "Stop actions", style="danger", confirm=asks)
    yield from _judging(page, state)


def _judging(page: Page, state: State) -> Iterator[Button]:
    said = {each.what for each in state.judgements.get(IncidentId(page.incident), ())}
    if page.cause and page.nodes and NOT_NODE not in said:
        more = f" and {len(page.nodes) - MOST_NAMES} more" if len(page.nodes) > MOST_NAMES else ""
        yield Button(NOT_NODE, "Not this node…", ", ".join(page.nodes[:MOST_NAMES]) + more)
    if page.cause and page.cause != UNKNOWN and NOT_CAUSE not in said:
        yield Button(NOT_CAUSE, "Not this cause…", page.cause)


def _said(page: Page, state: State) -> Iterator[str]:
    if page.news:
        return
    for target in dict.fromkeys(filter(None, (_of(page), page.cause, *page.nodes))):
        if (quiet := state.silences.get(target)) is not None and quiet.until > state.now:
            yield f"{target} is silenced until {utc(quiet.until)} by {quiet.who or 'somebody'}"
    for node in _out(page, state):
        if node.proof is not None and node.proof.is_under_way:
            yield f"{node.id}: its proof is under way, asked for by {node.proof.who}"
    if state.stopped:
        yield f"Actions are stopped: {state.stopped}"
    if state.frozen:
        yield f"Actions are frozen: {state.frozen}"
    for each in state.judgements.get(IncidentId(page.incident), ()):
        yield f"Judged at {utc(each.at)}: {each}"


def _of(page: Page) -> str:
    """Say what is silenced for a page's sake: its node, or its cause where it blames several or none."""
    return page.nodes[0] if len(page.nodes) == 1 else page.cause


def _is_silenced(target: str, state: State) -> bool:
    quiet = state.silences.get(target)
    return quiet is not None and quiet.until > state.now


def _out(page: Page, state: State) -> list[Node]:
    """Give the nodes that the page's incident has taken out of use."""
    known = (state.nodes.get(NodeId(name)) for name in page.nodes)
    out = [node for node in known if node is not None and node.cordon is not None]
    return [node for node in out if node.cordon and node.cordon.by == page.incident][:MOST_UNDRAINS]
